"""Data types passed along: image -> `Segmenter` -> samples -> summary."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from latentfm_core.errors import ImageError
from latentfm_core.sampling_record import Recorded
from latentfm_core.sampling_record import SamplingRecord as SamplingRecord
from latentfm_core.sampling_record import is_recorded as is_recorded

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
Mask = NDArray[np.bool_] | NDArray[np.uint8]
"""Boolean with one class, else labels."""


def is_out_of_domain(score: float | None) -> bool:
    """Return whether a domain score means that an image is unlike the training images."""
    return score is not None and score > 1


def is_binary(mask: Mask) -> TypeGuard[Bool]:
    """Return whether a mask is boolean (one class)."""
    return mask.dtype == np.bool_


def reject_masked(values: object, name: str) -> None:
    """Reject a numpy masked array with masked values; as a plain array they would count as valid.

    Raises
    ------
    ImageError
        If pixels are masked.
    """
    count = int(np.ma.getmaskarray(values).sum()) if isinstance(values, np.ma.MaskedArray) else 0
    if count:
        raise ImageError(
            f"{name}: {count:,} values are masked (numpy.ma), and would be "
            "read as if they were not. Give them a value first, for example array.filled(0)."
        )


def check_labels(values: object, name: str) -> None:
    """Reject labels that are masked, as `reject_masked` does, or negative.

    Raises
    ------
    ImageError
        If there are any.
    """
    reject_masked(values, name)
    labels = np.asarray(values)
    if labels.dtype.kind in "if" and labels.size and labels.min() < 0:
        raise ImageError(
            f"{name}: the lowest value is {labels.min()}, and it is unclear what negative values "
            "mark. Use 0 for background and 1, 2, ... for objects or classes."
        )


@dataclass(frozen=True)
class ImageInput:
    """One 2D image as it was opened.

    Attributes
    ----------
    pixels
        ``(H, W)`` or ``(H, W, C)`` with C in 1..4, any real dtype.
    spacing
        Pixel size ``(row, column)`` in `unit`, or None when unknown.
    unit
        Unit of `spacing`, for example ``"micrometer"``.
    name
        Short name for messages and output files (no folder).
    """

    pixels: NDArray[Any]
    spacing: tuple[float, float] | None = None
    unit: str = "pixel"
    name: str = "image"

    def __post_init__(self) -> None:
        reject_masked(self.pixels, self.name)


ImageLike = ImageInput | NDArray[Any]
"""An image, or its pixels alone."""


_OTHER_MODES = ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV")
"""Modes of Pillow images, whose values would be taken for grey levels or colours."""


def as_input(image: ImageLike, name: str = "image") -> ImageInput:
    """Return an image; an array becomes the pixels of an `ImageInput` called `name`.

    Raises
    ------
    ImageError
        If it is neither.
    """
    if isinstance(image, ImageInput):
        return image
    reject_masked(image, name)
    if getattr(image, "mode", None) in _OTHER_MODES:
        raise ImageError(
            f"{name}: the values of a Pillow image of mode {getattr(image, 'mode', '')} are not "
            'grey levels or red, green and blue. Pass image.convert("RGB").'
        )
    pixels = np.asarray(image)
    if not isinstance(image, np.ndarray) and pixels.dtype.kind in "OSU":
        raise ImageError(
            f"{name}: an image must be an array of pixels or an ImageInput, not "
            f"{type(image).__name__}. Read a file with read_image(path), or pass "
            "ImageInput(pixels)."
        )
    return ImageInput(pixels, name=name)


@dataclass(frozen=True)
class Geometry:
    """Position of an image on the square canvas that the network sees.

    Attributes
    ----------
    shape
        ``(H, W)`` of the original image.
    canvas
        Side of the canvas in pixels.
    box
        ``(top, left, height, width)`` of the image's content on the canvas.
    window
        ``(top, left, height, width)`` of the part of the image that the canvas shows, in
        pixels of the image; None for the whole image.
    """

    shape: tuple[int, int]
    canvas: int
    box: tuple[int, int, int, int]
    window: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class SampleSet(Recorded):
    """Samples of one image on the model's canvas.

    Attributes
    ----------
    probabilities
        ``(N, S, S)`` float32 in [0, 1], S = ``geometry.canvas``; one decoded mask each. With
        several classes ``(N, K, S, S)``, the background first, summing to 1 over K.
    geometry
        Maps the canvas back onto the image.
    record
        How they were drawn.
    strokes
        ``(H, W)`` uint8 of the original image, constraints on the samples: 0
        is unmarked, 1 certainly background, k + 1 certainly the k-th class. None without a
        correction.
    domain_score
        How unlike the training images the image is
        (`latentfm_core.uncertainty.domain.TrainingDomain`); None if unknown.
    """

    probabilities: Float32
    geometry: Geometry
    record: SamplingRecord
    strokes: NDArray[np.uint8] | None = None
    domain_score: float | None = None

    def __len__(self) -> int:
        return int(self.probabilities.shape[0])

    def with_settings(self, settings: dict[str, Any]) -> SampleSet:
        """Return the samples with other settings of their summary in the record."""
        return replace(self, record=replace(self.record, settings=settings))

    def without_probabilities(self) -> SampleSet:
        """Return the same without the probabilities, which take most of the memory."""
        return replace(self, probabilities=self.probabilities[..., :0, :0].copy())


@dataclass(frozen=True)
class TiledDraw(Recorded):
    """The drawing of a large image; its maps were passed on in parts.

    Attributes
    ----------
    shape
        ``(H, W)`` of the maps: that of the image times `scale`.
    scale
        Pixels of the maps per image pixel.
    tile, tiles
        Side of a tile in pixels of the maps, and number of tiles that were drawn.
    record
        How they were drawn.
    domain_score
        As of `SampleSet`, of the whole image.
    """

    shape: tuple[int, int]
    scale: float
    tile: int
    tiles: int
    record: SamplingRecord
    domain_score: float | None = None


@dataclass(frozen=True)
class Summary:
    """Maps shown to the annotator; every array has the original image's ``(H, W)``.

    With one class, masks are boolean. With several, they are labels: 0 is background, k the
    k-th class.

    Attributes
    ----------
    mean_probability
        float32, mean over samples of the decoded probability; ``(K, H, W)`` with several
        classes, the background first. Calibrated: the chance of foreground.
    mean_mask
        bool, raw mean probability at or above the threshold; with several classes uint8,
        the most probable.
    variance
        float32 in [0, 0.25], variance over samples of the decoded probability. With several
        classes their sum, in [0, 1 - 1/K].
    confidence
        float32 in [0, 1]. Raw: ``1 - variance / largest possible variance``, which is
        ``1 - 4 * variance`` with one class; 1 where every sample agrees. Calibrated: the
        chance that the mean mask agrees with an expert.
    sample_masks
        ``(N, H, W)`` bool, each sample at probability 0.5; with several classes uint8.
    class_confidence
        With several classes ``(K - 1, H, W)`` float32, ``1 - 4 * variance`` of each
        foreground class; else None.
    calibrated
        Whether confidence and mean probability are calibrated.
    calibration_fits
        False if they are calibrated, but for samples drawn with other settings.
    expected_dice
        Expected quality of the mean mask, in [0, 1]: the mean Dice of the samples with it, and
        if calibrated the Dice that images of such agreement had with an expert. None where the
        agreement is meaningless: of a single sample, of an empty mask or one that covers the
        image, and of an image out of domain. Also None of a stack and of a large image in tiles.
    domain_score
        How unlike the training images the image is, above 1 `out_of_domain`; None if the model
        cannot compute it, of a stack and of a large image in tiles.
    """

    mean_probability: Float32
    mean_mask: Mask
    variance: Float32
    confidence: Float32
    sample_masks: Mask
    class_confidence: Float32 | None = None
    calibrated: bool = False
    calibration_fits: bool = True
    expected_dice: float | None = None
    domain_score: float | None = None

    @property
    def out_of_domain(self) -> bool:
        """Whether the image is unlike the training images."""
        return is_out_of_domain(self.domain_score)

    @property
    def has_confidence(self) -> bool:
        """Whether the confidence means anything: a single sample has no spread."""
        return self.calibrated or len(self.sample_masks) > 1
