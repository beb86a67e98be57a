"""One image and its annotation, as every export uses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.colours import label_colour
from latentfm_core.errors import OutputError
from latentfm_core.measures.objects import PixelSize
from latentfm_core.names import shown
from latentfm_core.types import check_labels


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
        Names that were given to labels.
    size
        Size of a pixel; None if it is unknown.
    path
        The image's file; None if the image has none.
    colours
        The model's own colours of labels 1, 2, ...; empty for the default palette.
    classes
        Names of the model's classes; see `label_name`.
    """

    image: str
    labels: NDArray[Any]
    names: Mapping[int, str] = field(default_factory=dict)
    size: PixelSize | None = None
    path: Path | None = None
    colours: tuple[str, ...] = ()
    classes: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_labels(self.labels, f"labels of {self.image}")

    def name(self, label: int) -> str:
        """Return the name of the class of a label."""
        return label_name(self.classes, label, self.names)

    @cached_property
    def present(self) -> tuple[int, ...]:
        """Labels with pixels, in ascending order; computed once, since images may be large."""
        return tuple(int(label) for label in np.unique(self.labels) if label)

    @property
    def class_names(self) -> dict[int, str]:
        """Names of the labels that are classes, marked or not; other labels are objects of one."""
        return dict(enumerate(self.classes, 1)) | dict(self.names)

    def colour(self, label: int) -> str:
        """Return the colour of a label as ``"#rrggbb"``."""
        return label_colour(label, self.colours)


def label_name(classes: Sequence[str], label: int, names: Mapping[int, str] | None = None) -> str:
    """Return the name of the class of a label.

    Parameters
    ----------
    classes
        Of the model. Of a model with one class, every label without its own name is an object
        of that class; of other models, labels 1, 2, ... are the classes.
    label
        From 1 on.
    names
        Names that the annotator gave to labels. That of label 1 renames the only class of a model.

    Returns
    -------
    str
        ``"label 7"`` if it has no name.
    """
    names = names or {}
    if len(classes) == 1:
        return names.get(label) or names.get(1) or classes[0]
    return names.get(label) or dict(enumerate(classes, 1)).get(label) or f"label {label}"


def check_plane(labelled: LabelledImage, kind: str) -> None:
    """Reject a stack for a format for single planes only.

    Raises
    ------
    OutputError
        If the labels have more than two axes.
    """
    if labelled.labels.ndim != 2:
        raise OutputError(
            f"{labelled.image}: {kind} is for single planes, but the annotation has "
            f"{labelled.labels.ndim} axes. Export it as TIFF (.tif) or NIfTI (.nii.gz)."
        )


def check_read_back(path: Path, same: bool, reason: str = "it differs") -> None:
    """Raise `OutputError` unless a new file was read back as it was written."""
    if not same:
        raise OutputError(
            f"{shown(path)}: the new file does not read back as it was written ({reason}). Nothing "
            "was exported; choose another name, folder or format."
        )
