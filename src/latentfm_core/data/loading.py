"""A whole data set in memory, decoded once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import DataConfig
from latentfm_core.data.canvas import mask_to_canvas, to_canvas
from latentfm_core.data.images import read_image, read_mask, to_rgb
from latentfm_core.data.pairs import Pair
from latentfm_core.errors import DatasetError, ImageError, ResourceError
from latentfm_core.types import Bool, ImageInput

logger = logging.getLogger(__name__)

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class CanvasSet:
    """Images and masks on canvases of one size.

    Attributes
    ----------
    names
        Names of the N pairs that could be read, in the order of the arrays.
    images
        ``(N, S, S, 3)`` uint8, 255 = 1.0 of `to_rgb`.
    masks
        ``(N, S, S)`` uint8, 0 or 1.
    skipped
        What was wrong with the pairs that are left out, by name.
    """

    names: tuple[str, ...]
    images: UInt8
    masks: UInt8
    skipped: dict[str, str]


def read_pair(pair: Pair, mask_threshold: float | None = None) -> tuple[ImageInput, Bool]:
    """Read an image and its mask.

    Raises
    ------
    ImageError
        If one cannot be read, or their sizes differ; the message names the files.
    """
    image = read_image(pair.image)
    mask = read_mask(pair.mask, mask_threshold)
    if image.pixels.shape[:2] != mask.shape:
        rows, columns = image.pixels.shape[:2]
        raise ImageError(
            f"{pair.mask}: the mask has {mask.shape[0]} x {mask.shape[1]} pixels (rows x "
            f"columns), its image {pair.image} has {rows} x {columns}. Export both at one size."
        )
    return image, mask


def load_canvases(
    pairs: Sequence[Pair],
    data: DataConfig,
    size: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> CanvasSet:
    """Decode all pairs once, in threads, and put them on canvases.

    Parameters
    ----------
    pairs
        What to read; the order is kept.
    data
        Gives `fit`, `mask_threshold` and `skip_bad`.
    size
        Side of the canvas; None takes ``data.size``.
    on_progress
        Called in this thread with (pairs done, pairs in all).

    Raises
    ------
    DatasetError
        If a file is bad and `skip_bad` is off (the message lists every bad file), or if
        no pair is left.
    ResourceError
        If the memory does not suffice.
    """
    side = size or data.size
    try:
        images = np.empty((len(pairs), side, side, 3), dtype=np.uint8)
        masks = np.empty((len(pairs), side, side), dtype=np.uint8)
        problems = _fill(pairs, data, images, masks, on_progress)
    except MemoryError:
        raise ResourceError(
            f"The memory does not suffice for {len(pairs)} images of {side} x {side} pixels. "
            "Lower data.size or use fewer images."
        ) from None
    if problems and not data.skip_bad:
        listed = "\n  ".join(problems.values())
        raise DatasetError(
            f"{len(problems)} of {len(pairs)} pairs cannot be used:\n  {listed}\n"
            "Mend or remove them, or go on without them: --skip-bad (data.skip_bad = true)."
        )
    for problem in problems.values():
        logger.warning("left out: %s", problem)
    keep = [index for index, pair in enumerate(pairs) if pair.name not in problems]
    if not keep:
        raise DatasetError("No image and mask is left that could be used. See the log above.")
    names = tuple(pairs[index].name for index in keep)
    if problems:
        images, masks = images[keep], masks[keep]
    return CanvasSet(names, images, masks, problems)


def _fill(
    pairs: Sequence[Pair],
    data: DataConfig,
    images: UInt8,
    masks: UInt8,
    on_progress: Callable[[int, int], None] | None,
) -> dict[str, str]:
    """Write every pair to its row; return the reasons of those that failed, by name."""

    def fill(index: int) -> str | None:
        try:
            image, mask = read_pair(pairs[index], data.mask_threshold)
            rgb = to_rgb(image)
        except ImageError as error:
            return str(error)
        side = images.shape[1]
        canvas, _ = to_canvas(rgb, side, data.fit)
        images[index] = np.rint(canvas * 255)
        masks[index] = mask_to_canvas(mask, side, data.fit)
        return None

    problems: dict[str, str] = {}
    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        for index, problem in enumerate(pool.map(fill, range(len(pairs)))):
            if problem is not None:
                problems[pairs[index].name] = problem
            if on_progress is not None:
                on_progress(index + 1, len(pairs))
    finally:
        # After an error or Ctrl+C, files that nobody waits for are not read any more.
        pool.shutdown(wait=True, cancel_futures=True)
    return problems
