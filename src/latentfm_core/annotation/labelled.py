"""One image and its annotation, as every export takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from latentfm_core.colours import label_colour
from latentfm_core.errors import OutputError
from latentfm_core.measures.objects import PixelSize
from latentfm_core.types import refuse_masked


@dataclass(frozen=True)
class LabelledImage:
    """An image and its annotation.

    Attributes
    ----------
    image
        File name of the image, without its folder.
    labels
        ``(H, W)`` integers, 0 is background.
    names
        Names of labels; a label without one is called ``"label 7"``.
    size
        Size of a pixel; None where it is unknown.
    path
        The image's file; None where the image has none.
    colours
        The model's own colours of labels 1, 2, ...; empty for the default palette.
    """

    image: str
    labels: NDArray[Any]
    names: Mapping[int, str] = field(default_factory=dict)
    size: PixelSize | None = None
    path: Path | None = None
    colours: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse_masked(self.labels, f"labels of {self.image}")

    def name(self, label: int) -> str:
        """Return the name of the class of a label."""
        return self.names.get(label) or f"label {label}"

    def colour(self, label: int) -> str:
        """Return the colour of a label as ``"#rrggbb"``."""
        return label_colour(label, self.colours)


def class_names(classes: Sequence[str]) -> dict[int, str]:
    """Return the names of labels 1, 2, ... as a model gives them."""
    return dict(enumerate(classes, 1))


def check_plane(labelled: LabelledImage, kind: str) -> None:
    """Refuse a stack for a format that holds single planes.

    Raises
    ------
    OutputError
        If the labels have more than two axes.
    """
    if labelled.labels.ndim != 2:
        raise OutputError(
            f"{labelled.image}: {kind} holds single planes, and the annotation has "
            f"{labelled.labels.ndim} axes. Export it as TIFF (.tif) or NIfTI (.nii.gz)."
        )
