"""Data sets decoded into memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import READING, DataConfig, ReadingConfig
from latentfm_core.datasets.cache import CanvasCache
from latentfm_core.datasets.pairs import Pair
from latentfm_core.datasets.reading_threads import in_threads
from latentfm_core.errors import DatasetError, ImageError, ResourceError
from latentfm_core.files.memory import check_memory
from latentfm_core.images.canvas import labels_to_canvas, to_canvas
from latentfm_core.images.read import read_image, read_instances, read_labels, read_mask, to_rgb
from latentfm_core.names import shown
from latentfm_core.types import Bool, ImageInput

logger = logging.getLogger(__name__)

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class CanvasSet:
    """Images and masks on canvases of one size.

    Attributes
    ----------
    names
        Names of the N pairs read, in the order of the arrays.
    images
        ``(N, S, S, 3)`` uint8, 255 = 1.0 of `to_rgb`.
    masks
        ``(N, M, S, S)`` uint8 class labels, 0 is background; M is the maximum number of
        raters.
    raters
        ``(N,)`` number of masks of each image; the rest of its row is zero.
    skipped
        Error of each skipped pair, by name.
    weights
        ``(N,)`` float64 sampling probabilities, sum 1; None draws every image once in an epoch.
    """

    names: tuple[str, ...]
    images: UInt8
    masks: UInt8
    raters: NDArray[np.intp]
    skipped: dict[str, str]
    weights: NDArray[np.float64] | None = None


def read_pair(
    pair: Pair, mask_threshold: float | None = None, limits: ReadingConfig = READING
) -> tuple[ImageInput, Bool]:
    """Read an image and its binary masks ``(M, H, W)``, one for each rater.

    Raises
    ------
    ImageError
        If a file cannot be read, or sizes differ; the message names the files.
    """
    image = _read_image(pair, limits)
    return image, _read_masks(pair, image, lambda path: read_mask(path, mask_threshold, limits))


def read_labelled_pair(
    pair: Pair, classes: int, limits: ReadingConfig = READING
) -> tuple[ImageInput, UInt8]:
    """Read an image and its masks ``(M, H, W)`` of `classes` classes, one for each rater.

    Raises
    ------
    ImageError
        As `read_pair`, or if a mask holds a label above `classes`.
    """
    image = _read_image(pair, limits)
    return image, _read_masks(pair, image, lambda path: read_labels(path, classes, limits))


def read_instance_pair(
    pair: Pair, limits: ReadingConfig = READING
) -> tuple[ImageInput, NDArray[np.uint16]]:
    """Read an image and its masks ``(M, H, W)`` of numbered objects, one for each rater.

    Raises
    ------
    ImageError
        As `read_pair`, or if a mask does not hold whole numbers up to 65535.
    """
    image = _read_image(pair, limits)
    return image, _read_masks(pair, image, lambda path: read_instances(path, limits))


def read_references(
    pair: Pair, mask_threshold: float | None, classes: int, limits: ReadingConfig = READING
) -> tuple[ImageInput, NDArray[Any]]:
    """Read an image and its masks ``(M, H, W)``: bool for one class, else uint8 labels."""
    if classes == 1:
        return read_pair(pair, mask_threshold, limits)
    return read_labelled_pair(pair, classes, limits)


def _read_image(pair: Pair, limits: ReadingConfig) -> ImageInput:
    """Read the image of a pair, from one file or one per channel."""
    # Use the pair's name: the file name may end in the channel number.
    first = replace(read_image(pair.image, limits), name=pair.name)
    if not pair.channels:
        return first
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
    return replace(first, pixels=np.stack(planes, axis=-1))


_Pixel = TypeVar("_Pixel", np.bool_, np.uint8, np.uint16)


def _read_masks(
    pair: Pair, image: ImageInput, read: Callable[[Path], NDArray[_Pixel]]
) -> NDArray[_Pixel]:
    rows, columns = image.pixels.shape[:2]
    masks: list[NDArray[_Pixel]] = []
    for path in pair.masks:
        mask = read(path)
        if mask.shape != (rows, columns):
            raise ImageError(
                f"{shown(path)}: the mask has {mask.shape[0]} x {mask.shape[1]} pixels (rows x "
                f"columns), its image {shown(pair.image)} has {rows} x {columns}. Export both at "
                "the same size."
            )
        masks.append(mask)
    return np.stack(masks)


def load_canvases(
    pairs: Sequence[Pair],
    data: DataConfig,
    size: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    classes: int = 1,
) -> CanvasSet:
    """Decode all pairs in threads and resize them to canvases.

    Parameters
    ----------
    pairs
        Pairs to read; the order is kept.
    data
        Sets `fit`, `mask_threshold`, `skip_bad`, `cache` and `reading`.
    size
        Side of the canvas; None uses ``data.size``.
    on_progress
        Called in this thread with (pairs done, total pairs).
    classes
        Number of foreground classes of the masks.

    Raises
    ------
    DatasetError
        If a file is bad and `skip_bad` is off (the message lists every bad file), or no pair
        is left.
    ResourceError
        If there is not enough memory.
    OutputError
        If the cache folder cannot be created.
    """
    side = size or data.size
    raters = np.array([len(pair.masks) for pair in pairs], dtype=np.intp)
    most = int(raters.max(initial=1))
    check_memory(
        len(pairs) * side * side * (3 + most),
        f"{len(pairs)} images of {side} x {side} pixels",
        "Lower data.size or use fewer images.",
    )
    try:
        images = np.empty((len(pairs), side, side, 3), dtype=np.uint8)
        masks = np.zeros((len(pairs), most, side, side), dtype=np.uint8)
        cache = _cache(data, side, classes)
        problems = _fill(pairs, data, images, masks, classes, on_progress, cache)
        if cache is not None:
            cache.trim()
    except MemoryError:
        raise ResourceError(
            f"Not enough memory for {len(pairs)} images of {side} x {side} pixels. "
            "Lower data.size or use fewer images."
        ) from None
    report_problems(problems, len(pairs), data.skip_bad)
    keep = [index for index, pair in enumerate(pairs) if pair.name not in problems]
    if not keep:
        raise DatasetError(
            "No usable pair of image and mask is left. Fix the problems logged above."
        )
    names = tuple(pairs[index].name for index in keep)
    if problems:
        images, masks, raters = images[keep], masks[keep], raters[keep]
    return CanvasSet(names, images, masks, raters, problems)


_LISTED = 20
"""Bad pairs described in the message that ends a run."""


def report_problems(problems: Mapping[str, str], count: int, skip_bad: bool) -> None:
    """Reject bad pairs, or log those skipped."""
    if problems and not skip_bad:
        first = list(problems.values())[:_LISTED]
        more = [f"and {len(problems) - _LISTED} more"] if len(problems) > _LISTED else []
        listed = "\n  ".join(first + more)
        raise DatasetError(
            f"{len(problems)} of {count} pairs cannot be used:\n  {listed}\n"
            "Fix or remove them, or skip them: --skip-bad (data.skip_bad = true)."
        )
    for problem in problems.values():
        logger.warning("skipped: %s", problem)


def _cache(data: DataConfig, size: int, classes: int) -> CanvasCache | None:
    if data.cache is None:
        return None
    cache = CanvasCache(data.cache, data, size, classes)
    cache.prepare()
    return cache


def _decoded(pair: Pair, data: DataConfig, side: int, classes: int) -> tuple[UInt8, UInt8]:
    """Return image ``(S, S, 3)`` and masks ``(M, S, S)`` on canvases."""
    image, drawn = read_references(pair, data.mask_threshold, classes, data.reading)
    canvas, _ = to_canvas(to_rgb(image), side, data.fit)
    masks = np.stack([labels_to_canvas(mask, side, data.fit) for mask in drawn])
    return np.rint(canvas * 255).astype(np.uint8), masks.astype(np.uint8)


def _fill(
    pairs: Sequence[Pair],
    data: DataConfig,
    images: UInt8,
    masks: UInt8,
    classes: int,
    on_progress: Callable[[int, int], None] | None,
    cache: CanvasCache | None,
) -> dict[str, str]:
    """Write every pair to its row; return the errors of failed pairs, by name."""

    def fill(index: int) -> str | None:
        pair = pairs[index]
        known = None if cache is None else cache.get(pair)
        try:
            image, drawn = known or _decoded(pair, data, images.shape[1], classes)
        except ImageError as error:
            return str(error)
        if cache is not None and known is None:
            cache.put(pair, image, drawn)
        images[index] = image
        masks[index, : len(drawn)] = drawn
        return None

    problems: dict[str, str] = {}
    with closing(in_threads(fill, len(pairs), min(8, os.cpu_count() or 1))) as found:
        for index, problem in enumerate(found):
            if problem is not None:
                problems[pairs[index].name] = problem
            if on_progress is not None:
                on_progress(index + 1, len(pairs))
    return problems
