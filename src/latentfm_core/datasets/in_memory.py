"""Data sets decoded into memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import DataConfig
from latentfm_core.datasets.cache import CanvasCache, Canvases
from latentfm_core.datasets.nnunet import with_description
from latentfm_core.datasets.pair_reading import read_instances, read_references
from latentfm_core.datasets.pairs import Pair
from latentfm_core.datasets.reading_threads import in_threads
from latentfm_core.datasets.stored import StoredPair
from latentfm_core.errors import ClassesError, DatasetError, ImageError, ResourceError
from latentfm_core.files.memory import check_memory
from latentfm_core.images.canvas import labels_to_canvas, to_canvas
from latentfm_core.images.read import to_rgb
from latentfm_core.names import counted
from latentfm_core.once import Hints, by_cause

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
    stored
        How the files of each pair store image and masks.
    """

    names: tuple[str, ...]
    images: UInt8
    masks: UInt8
    raters: NDArray[np.intp]
    skipped: dict[str, str]
    weights: NDArray[np.float64] | None = None
    stored: tuple[StoredPair, ...] = ()


def load_canvases(
    pairs: Sequence[Pair],
    data: DataConfig,
    on_progress: Callable[[int, int], None] | None = None,
    classes: int = 1,
    numbered: bool = False,
    fill_cache: bool = True,
) -> CanvasSet:
    """Decode all pairs in threads and resize them to canvases.

    Parameters
    ----------
    pairs
        Pairs to read; the order is kept.
    data
        Sets `size`, `fit`, `mask_threshold`, `skip_bad`, `cache` and `reading`.
    on_progress
        Called in this thread with (pairs done, total pairs).
    numbered
        Whether masks of one class number objects, which become foreground.
    fill_cache
        Whether canvases that are not in the cache are added to it.

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
    side = data.size
    raters = np.array([len(pair.masks) for pair in pairs], dtype=np.intp)
    most = int(raters.max(initial=1))
    check_memory(
        len(pairs) * side * side * (3 + most),
        f"{counted(len(pairs), 'image')} of {side} x {side} pixels",
        "Lower data.size or use fewer images.",
    )
    try:
        images = np.empty((len(pairs), side, side, 3), dtype=np.uint8)
        masks = np.zeros((len(pairs), most, side, side), dtype=np.uint8)
        cache = _cache(data, side, classes, fill_cache)
        decode = partial(_decoded, data=data, side=side, classes=classes, numbered=numbered)
        stored, problems = _fill(pairs, decode, images, masks, on_progress, cache, fill_cache)
        if cache is not None and fill_cache:
            cache.trim()
    except MemoryError:
        raise ResourceError(
            f"Not enough memory for {counted(len(pairs), 'image')} of {side} x {side} pixels. "
            "Lower data.size or use fewer images."
        ) from None
    described = report_problems(problems, len(pairs), data)
    keep = [index for index, pair in enumerate(pairs) if pair.name not in problems]
    if not keep:
        raise DatasetError(
            "No usable pair of image and mask is left. Fix the problems logged above."
        )
    names = tuple(pairs[index].name for index in keep)
    if problems:
        images, masks, raters = images[keep], masks[keep], raters[keep]
    return CanvasSet(names, images, masks, raters, described, stored=stored)


_LISTED = 20
"""Problems described in the message that ends a run."""


def report_problems(
    errors: Mapping[str, ImageError], count: int, data: DataConfig
) -> dict[str, str]:
    """Reject bad pairs, or log those skipped; return the message of each."""
    problems = {
        name: with_description(str(error), isinstance(error, ClassesError), data.folder)
        for name, error in errors.items()
    }
    if problems and not data.skip_bad:
        listed = Hints().listed(problems.values(), _LISTED)
        raise DatasetError(
            f"{len(problems)} of {counted(count, 'pair')} cannot be used:\n  {listed}\n"
            + (
                "Fix or remove them, or skip them: --skip-bad (data.skip_bad = true)."
                if len(problems) < count
                else "No pair is left."
            )
        )
    hints = Hints()
    for problem in by_cause(problems.values()):
        logger.warning("skipped: %s", hints.once(problem))
    return problems


def _cache(data: DataConfig, size: int, classes: int, fill: bool) -> CanvasCache | None:
    if data.cache is None:
        return None
    cache = CanvasCache(data.cache, data, size, classes)
    if fill:
        cache.prepare()
    return cache


def _decoded(pair: Pair, data: DataConfig, side: int, classes: int, numbered: bool) -> Canvases:
    if numbered and classes == 1:
        read = read_instances(pair, data.reading)
        read = replace(read, masks=read.masks > 0)
    else:
        read = read_references(pair, data.mask_threshold, classes, data.reading)
    canvas, _ = to_canvas(to_rgb(read.image), side, data.fit)
    masks = np.stack([labels_to_canvas(mask, side, data.fit) for mask in read.masks])
    image = np.rint(canvas * 255).astype(np.uint8)
    return Canvases(image, masks.astype(np.uint8), read.stored)


def _fill(
    pairs: Sequence[Pair],
    decode: Callable[[Pair], Canvases],
    images: UInt8,
    masks: UInt8,
    on_progress: Callable[[int, int], None] | None,
    cache: CanvasCache | None,
    fill_cache: bool,
) -> tuple[tuple[StoredPair, ...], dict[str, ImageError]]:
    """Write every pair to its row; return how it is stored, or its error by name."""
    stored: dict[int, StoredPair] = {}

    def fill(index: int) -> ImageError | None:
        pair = pairs[index]
        known = None if cache is None else cache.get(pair)
        try:
            read = known or decode(pair)
        except ImageError as error:
            return error
        if cache is not None and known is None and fill_cache:
            cache.put(pair, read)
        images[index] = read.image
        masks[index, : len(read.masks)] = read.masks
        stored[index] = read.stored
        return None

    problems: dict[str, ImageError] = {}
    with closing(in_threads(fill, len(pairs), min(8, os.cpu_count() or 1))) as found:
        for index, problem in enumerate(found):
            if problem is not None:
                problems[pairs[index].name] = problem
            if on_progress is not None:
                on_progress(index + 1, len(pairs))
    return tuple(stored[index] for index in sorted(stored)), problems
