"""Read an image and its masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.datasets.pairs import WORK_LIST, Pair
from latentfm_core.datasets.raters import with_raters
from latentfm_core.datasets.stored import StoredPair
from latentfm_core.errors import ImageError
from latentfm_core.images.decode import decode
from latentfm_core.images.decoded import Decoded
from latentfm_core.images.mask_coding import foreground_coding, level_scale
from latentfm_core.images.mask_rims import rim_grade
from latentfm_core.images.masks import decode_mask, instances_of, labels_of, mask_of
from latentfm_core.images.orientation import drawn_as_read
from latentfm_core.images.read import as_image, read_image
from latentfm_core.images.signature import image_signature
from latentfm_core.measures.size import count_pieces, is_outline
from latentfm_core.names import shown
from latentfm_core.types import Bool, ImageInput


@dataclass(frozen=True)
class ReadPair:
    """An image, its masks ``(M, H, W)``, one for each rater, and how the files store them."""

    image: ImageInput
    masks: NDArray[Any]
    stored: StoredPair


def read_binary(
    pair: Pair, mask_threshold: float | None = None, limits: ReadingConfig = READING
) -> ReadPair:
    """Read an image and its binary masks ``(M, H, W)``, one for each rater.

    All objects that a work list numbers are foreground.

    Raises
    ------
    ImageError
        If a file cannot be read, or sizes differ; the message names the files.
    """
    codings: list[str] = []
    scales: list[float] = []
    numbered = mask_threshold is None and is_of_work_list(pair)

    def convert(path: Path, decoded: Decoded) -> Bool:
        if numbered and decoded.pixels.ndim == 2:
            objects = instances_of(path, decoded) > 0
            codings.append("1" if objects.any() else "")
            scales.append(0)
            return objects
        mask = mask_of(path, decoded, mask_threshold)
        codings.append(foreground_coding(decoded, mask, mask_threshold))
        scales.append(0 if mask_threshold is None else level_scale(decoded))
        return mask

    read = _read(pair, convert, limits)
    stored = replace(
        read.stored, codings=tuple(codings), threshold=mask_threshold, scales=tuple(scales)
    )
    return replace(read, stored=stored)


def read_labelled(pair: Pair, classes: int, limits: ReadingConfig = READING) -> ReadPair:
    """Read an image and its uint8 masks ``(M, H, W)`` of `classes` classes.

    Raises `ImageError` as `read_binary` does, or if a mask contains a label above `classes`.
    """
    return _read(pair, lambda path, decoded: labels_of(path, decoded, classes), limits)


def read_instances(pair: Pair, limits: ReadingConfig = READING) -> ReadPair:
    """Read an image and its uint16 masks ``(M, H, W)`` of numbered objects.

    Raises `ImageError` as `read_binary` does, or if a mask has other than integers up to 65535.
    """
    read = _read(pair, instances_of, limits, _count_numbers)
    pieces = tuple(map(count_pieces, read.masks))
    return replace(read, stored=replace(read.stored, pieces=pieces))


def is_of_work_list(pair: Pair) -> bool:
    """Return whether the masks of a pair are annotations of a work list, which number objects."""
    return all((path.parent / WORK_LIST).is_file() for path in pair.masks)


def read_references(
    pair: Pair, mask_threshold: float | None, classes: int, limits: ReadingConfig = READING
) -> ReadPair:
    """Read an image and its masks ``(M, H, W)``: bool for one class, else uint8 labels."""
    if classes == 1:
        return read_binary(pair, mask_threshold, limits)
    return read_labelled(pair, classes, limits)


def _count_numbers(mask: NDArray[Any]) -> int:
    return int(np.count_nonzero(np.bincount(mask.reshape(-1))[1:]))


def _read(
    pair: Pair,
    convert: Callable[[Path, Decoded], NDArray[Any]],
    limits: ReadingConfig,
    count: Callable[[NDArray[Any]], int] = count_pieces,
) -> ReadPair:
    image, orientation = read_image_of(pair, limits)
    rows, columns = image.pixels.shape[:2]
    masks: list[NDArray[Any]] = []
    orientations: list[int] = []
    for path in pair.masks:
        decoded = decode_mask(path, limits)
        mask = convert(path, decoded)
        if mask.shape != (rows, columns):
            raise ImageError(
                f"{shown(path)}: the mask has {mask.shape[0]} x {mask.shape[1]} pixels (rows x "
                f"columns), its image has {rows} x {columns}. Export both at the same size."
            )
        masks.append(mask)
        lacks = orientation != 1 and decoded.orientation == 1
        fits = lacks and drawn_as_read(path, orientation, image.pixels)
        orientations.append(orientation if fits else decoded.orientation)
    stored = StoredPair(
        pair.name,
        orientation,
        tuple(orientations),
        square=rows == columns,
        pixels=image.pixels.dtype.name,
        signature=image_signature(image.pixels),
        objects=tuple(map(count, masks)),
        outlined=tuple(map(is_outline, masks)),
        rims=() if limits.keep_numbers else tuple(map(rim_grade, masks)),
    )
    drawn = np.stack(masks)
    return ReadPair(image, drawn, with_raters(stored, pair.raters, drawn))


def read_image_of(pair: Pair, limits: ReadingConfig = READING) -> tuple[ImageInput, int]:
    """Read the image of a pair, from one file or one per channel, and its orientation.

    Raises `ImageError` if a file cannot be read, or the channels differ in type or shape.
    """
    decoded = decode(pair.image, limits)
    # Use the pair's name: the file name may end in the channel number.
    first = replace(as_image(decoded, pair.image), name=pair.name)
    if not pair.channels:
        return first, decoded.orientation
    planes = [first.pixels]
    for path in pair.channels:
        plane = read_image(path, limits).pixels
        if plane.shape != first.pixels.shape or plane.dtype != first.pixels.dtype:
            raise ImageError(
                f"{shown(path)} is {plane.dtype} of shape {plane.shape}, the first channel "
                f"{shown(pair.image)} {first.pixels.dtype} of shape {first.pixels.shape}. Export "
                "all channels with the same type and shape."
            )
        planes.append(plane)
    if first.pixels.ndim != 2:
        raise ImageError(
            f"{shown(pair.image)} has several channels, but {len(pair.channels)} more files for "
            "channels exist. Use one grey file per channel, or one colour file."
        )
    return replace(first, pixels=np.stack(planes, axis=-1)), decoded.orientation
