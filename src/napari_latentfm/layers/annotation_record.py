"""The record of an annotation layer: its origin, what was proposed, and how it was edited."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakKeyDictionary

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from latentfm_core.annotation.formats import Space
from latentfm_core.annotation.provenance import CorrectionInfo, ProposalInfo

if TYPE_CHECKING:
    from napari.layers import Image

    from latentfm_core.types import SampleSet

MEAN_MASK = "mean mask"
PAUSE = 60.0
"""A pause between edits of more seconds than this does not count as working time."""

PlaneIndex = tuple[int | None, ...]


@dataclass(frozen=True)
class Proposal:
    """A mask that the model proposed for one plane and the annotator took.

    Attributes
    ----------
    labels
        ``(H, W)`` uint8, as proposed.
    info
        What it was made from; the edited pixels of an annotation are counted when it is saved.
    samples
        The samples that it was made from, as a weak reference; None if it was restored.
    """

    labels: NDArray[np.uint8]
    info: ProposalInfo
    samples: ReferenceType[SampleSet] | None = None


@dataclass(frozen=True)
class TakenStep:
    """Proposals that were taken by one undo step.

    Attributes
    ----------
    boxes
        Parts of the layer that were changed, an index each.
    before, after
        Checksums of their labels.
    old, new
        Proposals of the planes before and after; None for a plane without one.
    """

    boxes: tuple[tuple[slice, ...], ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    old: dict[PlaneIndex, Proposal | None]
    new: dict[PlaneIndex, Proposal | None]


@dataclass(frozen=True)
class Origin:
    """Image, model and settings of an annotation, without the arrays of a result.

    Attributes
    ----------
    image
        File name of the image, or the name of its layer.
    layer
        The image layer, as a weak reference.
    space
        Axes, steps and units of the annotation.
    model_id, model_sha256, seed, sampling, classes, colours
        Of the last result of the image.
    strokes
        ``(H, W)`` uint8, the strokes that samples agree with, by plane.
    corrections
        Provenance of `strokes`, as far as it was computed.
    """

    image: str
    layer: ReferenceType[Image]
    space: Space
    model_id: str
    model_sha256: str
    seed: int
    sampling: dict[str, Any]
    classes: tuple[str, ...]
    strokes: dict[PlaneIndex, NDArray[np.uint8]] = field(default_factory=dict)
    corrections: dict[PlaneIndex, CorrectionInfo] = field(default_factory=dict)
    colours: tuple[str, ...] = ()


@dataclass
class Record:
    """The record of one annotation layer.

    Attributes
    ----------
    source_id, layer_id
        Ids of the image layer and of the annotation layer; a duplicate of the layer has a
        different id and does not count as the annotation.
    protected
        Labels that no proposal may overwrite.
    seconds
        Time spent editing; a pause of more than `PAUSE` does not count.
    proposals
        The last proposal that was taken, by plane.
    taken, undone
        Steps in which proposals were taken, and those of them that were undone; the last of each
        is the newest.
    names
        Names that the user gave to labels.
    origin
        Image and model of the annotation; None if it was never under review.
    resolved
        Uncertain regions that were reviewed, as JSON values.
    carried
        By plane, a proposal restored from a file and the number of pixels that already differed
        from it then.
    recalled
        Strokes of the file that the annotation was restored from, by plane.
    restored
        When the labels that the annotation began with were saved, "" if it began empty.
    counted
        Whether strokes are counted.
    writing
        Whether labels are being written by the program, which does not count as a stroke.
    last_edit
        Time of the last edit in seconds of a monotonic clock.
    """

    source_id: str = ""
    layer_id: str = ""
    protected: set[int] = field(default_factory=set)
    strokes: int = 0
    seconds: float = 0.0
    proposals: dict[PlaneIndex, Proposal] = field(default_factory=dict)
    taken: list[TakenStep] = field(default_factory=list)
    undone: list[TakenStep] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    origin: Origin | None = None
    resolved: tuple[dict[str, Any], ...] = ()
    carried: dict[PlaneIndex, tuple[Proposal, int]] = field(default_factory=dict)
    recalled: dict[PlaneIndex, CorrectionInfo] = field(default_factory=dict)
    restored: str = ""
    counted: bool = False
    writing: bool = False
    last_edit: float | None = None

    @staticmethod
    def is_in(layer: Labels) -> bool:
        """Return whether a layer has a record."""
        return layer in _RECORDS

    def spend(self, now: float) -> None:
        """Count the time since the last edit; `now` in seconds of a monotonic clock."""
        if self.last_edit is not None and 0 <= now - self.last_edit <= PAUSE:
            self.seconds += now - self.last_edit
        self.last_edit = now


_RECORDS: WeakKeyDictionary[Labels, Record] = WeakKeyDictionary()


def record_of(layer: Labels) -> Record:
    """Return the record of a layer, created at the first call; it lives as long as the layer."""
    return _RECORDS.setdefault(layer, Record())


def annotation_with(data: Any) -> Labels | None:
    """Return the annotation layer with exactly this array, if there is one."""
    for layer, record in list(_RECORDS.items()):
        own = record.origin is not None and record.layer_id == str(layer.unique_id)
        if own and layer.data is data:
            return layer
    return None
