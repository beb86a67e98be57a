"""Provenance of an annotation: the JSON file with its origin and editing history."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from latentfm_core.config import Colour, Settings
from latentfm_core.names import is_path
from latentfm_core.output.paths import printable
from latentfm_core.output.sidecar import now, versions

__all__ = [
    "AnnotationSidecar",
    "CorrectionInfo",
    "LabelInfo",
    "ProposalInfo",
    "correction",
    "file_name",
    "now",
    "paint_runs",
    "painted",
    "versions",
]

MAX_RUNS = 50_000
"""Corrections with more runs are recorded by their pixel count only."""

Count = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(max_length=500)]
ClassNames = dict[
    Annotated[int, Field(ge=1, le=2**32 - 1)], Annotated[str, Field(min_length=1, max_length=60)]
]
"""Names by label."""
PlaneIndex = tuple[int | None, ...]
Json = str | int | float | bool | None | list[Any] | dict[str, Any]


class ProposalInfo(Settings):
    """A proposal of the model for one plane that the annotator accepted.

    Attributes
    ----------
    index
        None for the two axes of the plane, its position in pixels on every other axis.
    origin
        ``"mean mask"``, ``"sample 3"``, ``"hypothesis 2"`` or ``"mask"``.
    how
        ``"replace"``, ``"union"`` or ``"intersect"``.
    seed
        Seed of the sample, or of the first one for the mean mask.
    model_id, model_sha256
        The model that drew it.
    settings
        Sampling settings.
    domain_score
        How unlike the training images of the model the image is, above 1 out of domain; None if
        the model could not tell.
    edited_pixels
        Pixels of the plane that differ from the proposal.
    """

    index: PlaneIndex
    origin: Text
    how: Text
    seed: int
    model_id: Text
    model_sha256: Text
    settings: dict[str, Json] = {}
    domain_score: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    edited_pixels: Count = 0


class CorrectionInfo(Settings):
    """Strokes that the samples of one plane were guided by.

    Attributes
    ----------
    index
        Which plane.
    pixels
        Number of painted pixels.
    runs
        Runs ``(value, first pixel, length)`` over the plane's pixels in row order; the value is 1
        for certain background and k + 1 for certain class k. Empty above 50,000 runs.
    """

    index: PlaneIndex
    pixels: Count
    runs: tuple[tuple[int, int, int], ...] = ()


class LabelInfo(Settings):
    """One label of the annotation: its value, name and number of pixels."""

    value: Annotated[int, Field(ge=1)]
    name: Text
    pixels: Count


class AnnotationSidecar(Settings):
    """Provenance of one annotation, without folder names and metadata of the image file.

    Attributes
    ----------
    image
        File name of the image, without its folder.
    image_signature
        `latentfm_core.annotation.fingerprint.image_signature` of the image.
    shape
        Length of every axis of the annotation.
    axes
        One letter per axis: Y and X last, before them C, T or Z.
    spacing, units
        Step along every axis and its unit; spacing is None when unknown.
    model_id, model_sha256
        Name of the model and SHA-256 of its weights file.
    seed, sampling
        Base seed and settings of the last sampling.
    classes
        Names of the model's foreground classes.
    class_colours
        Their colours as ``"#rrggbb"``, if the model has its own; left out of the file if not, so
        that older versions can read it.
    class_names
        Names that the annotator gave to labels; they count before `classes`.
    labels, labels_digest
        The labels in the annotation, and their `labels_digest`.
    proposals
        The last accepted proposal of each plane.
    strokes
        Edits by hand.
    corrections
        Strokes that guided the samples.
    edited_pixels
        Pixels that differ from the proposals; None without proposals.
    seconds
        Time spent editing.
    resolved_regions
        Uncertain regions that the annotator marked as resolved.
    created
        Date and time, UTC, ISO 8601.
    versions
        Of Python and of the packages that affect the results.
    files
        Names of the label files of this annotation, in the same folder.
    orientation
        EXIF orientation applied to the labels on export: the file matches the image as it should
        be displayed, while napari shows it as stored. Proposals and strokes are in layer pixels.
    """

    schema_version: Literal[1] = 1
    kind: Literal["annotation"] = "annotation"
    image: Annotated[str, Field(max_length=255)]
    image_signature: Annotated[str, Field(pattern=r"^([0-9a-f]{32})?$")] = ""
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=2, max_length=8)]
    axes: Annotated[str, Field(pattern=r"^[A-Z]*YX$")]
    spacing: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] | None = None
    units: tuple[Annotated[str, Field(max_length=60)], ...] = ()
    model_id: Text = ""
    model_sha256: Text = ""
    seed: int | None = None
    sampling: dict[str, Json] = {}
    classes: tuple[Text, ...] = ()
    class_colours: Annotated[tuple[Colour, ...], Field(max_length=255)] = ()
    class_names: ClassNames = {}
    labels: tuple[LabelInfo, ...] = ()
    labels_digest: Annotated[str, Field(pattern=r"^([0-9a-f]{32})?$")] = ""
    proposals: tuple[ProposalInfo, ...] = ()
    strokes: Count = 0
    corrections: tuple[CorrectionInfo, ...] = ()
    edited_pixels: Count | None = None
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    resolved_regions: tuple[dict[str, Json], ...] = ()
    created: Text = ""
    versions: dict[str, Text] = {}
    files: tuple[Annotated[str, Field(max_length=255)], ...] = ()
    orientation: Annotated[int, Field(ge=1, le=8)] = 1

    @field_validator("image", "files")
    @classmethod
    def _no_folder(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for name in (value,) if isinstance(value, str) else value:
            if name and is_path(name):
                raise ValueError(f"{name} contains a folder")
        return value

    @model_serializer(mode="wrap")
    def _without_empty_colours(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        if not self.class_colours:
            values.pop("class_colours", None)
        return values

    @model_validator(mode="after")
    def _one_per_axis(self) -> Self:
        lengths = {len(self.shape), len(self.axes), len(self.spacing or self.shape)}
        if len(lengths | {len(self.units or self.shape)}) > 1:
            raise ValueError("shape, axes, spacing and units need one entry per axis")
        return self


def file_name(path_or_name: str) -> str:
    """Return the file name of a path of any system, as `AnnotationSidecar.image` requires it."""
    last = path_or_name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return printable(last)[:255]


def paint_runs(strokes: NDArray[np.uint8]) -> tuple[tuple[int, int, int], ...]:
    """Return runs ``(value, first pixel, length)`` of the non-zero pixels of ``(H, W)``."""
    flat = np.pad(np.asarray(strokes, np.uint8).ravel(), 1)
    borders = np.flatnonzero(flat[1:] != flat[:-1]).tolist()
    return tuple((int(flat[a + 1]), a, b - a) for a, b in pairwise(borders) if flat[a + 1])


def correction(index: PlaneIndex, strokes: NDArray[np.uint8]) -> CorrectionInfo:
    """Return the record of the strokes ``(H, W)`` on one plane."""
    runs = paint_runs(strokes)
    pixels = int(np.count_nonzero(strokes))
    return CorrectionInfo(index=index, pixels=pixels, runs=runs if len(runs) <= MAX_RUNS else ())


def painted(info: CorrectionInfo, shape: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Return the strokes ``(H, W)`` that `correction` recorded.

    None if there were too many to record, or they do not fit into the shape.
    """
    flat = np.zeros(shape[0] * shape[1], np.uint8)
    for value, first, length in info.runs:
        if not (0 < value <= 255 and length > 0 and 0 <= first <= flat.size - length):
            return None
        flat[first : first + length] = value
    return flat.reshape(shape) if flat.any() else None
