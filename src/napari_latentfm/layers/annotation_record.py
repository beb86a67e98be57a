"""What is known of an annotation beyond its pixels: where it came from and what was done to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

MEAN_MASK = "mean mask"
PAUSE = 60.0
"""Seconds without an edit after which the annotator is taken to be doing something else."""

PlaneIndex = tuple[int | None, ...]


@dataclass(frozen=True)
class Proposal:
    """What the model proposed for one plane and the annotator took.

    Attributes
    ----------
    labels
        ``(H, W)`` uint8, as proposed.
    origin
        ``"mean mask"``, ``"sample 3"`` or ``"mask"``.
    how
        ``"replace"``, ``"union"`` or ``"intersect"``.
    seed
        Seed of the sample, or of the first one for the mean mask.
    model, model_sha256
        Which model drew it.
    settings
        Sampling settings as JSON values.
    domain_score
        How unlike the training images the image was, above 1 out of domain; None if not known.
    """

    labels: NDArray[np.uint8]
    origin: str
    how: str
    seed: int
    model: str
    model_sha256: str
    settings: dict[str, Any] = field(default_factory=dict)
    domain_score: float | None = None


@dataclass
class Record:
    """The record of one annotation layer.

    Attributes
    ----------
    source_id, layer_id
        Identity of the image layer and of the annotation layer itself; a duplicate of the
        layer has another one and is not taken for the annotation.
    protected
        Labels that no proposal may overwrite.
    strokes
        Edits by hand.
    seconds
        Time spent editing; a pause of more than `PAUSE` does not count.
    proposals
        The last proposal that was taken, by plane.
    names
        Names that the user gave to labels.
    """

    source_id: str = ""
    layer_id: str = ""
    protected: set[int] = field(default_factory=set)
    strokes: int = 0
    seconds: float = 0.0
    proposals: dict[PlaneIndex, Proposal] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    counted: bool = False
    writing: bool = False
    last_edit: float | None = None

    @staticmethod
    def is_in(layer: Labels) -> bool:
        """Tell whether a layer has a record."""
        return layer in _RECORDS

    def spend(self, now: float) -> None:
        """Count the time since the last edit; `now` in seconds of a monotonic clock."""
        if self.last_edit is not None and 0 <= now - self.last_edit <= PAUSE:
            self.seconds += now - self.last_edit
        self.last_edit = now


_RECORDS: WeakKeyDictionary[Labels, Record] = WeakKeyDictionary()


def record_of(layer: Labels) -> Record:
    """Return the record of a layer, made at the first call; it lives as long as the layer."""
    return _RECORDS.setdefault(layer, Record())
