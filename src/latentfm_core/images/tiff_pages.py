"""Find the only image, or the pages of a stack, in a TIFF file.

tifffile makes a series of the pages with one data type and compression, so that pages of a stack
can be in several series.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tifffile

from latentfm_core.errors import ImageError
from latentfm_core.images.tiff import images_of
from latentfm_core.names import counted, shown

logger = logging.getLogger(__name__)


def only_image(tiff: tifffile.TiffFile, path: Path) -> tuple[tifffile.TiffPageSeries, int]:
    """Return the first image, and how many images there are; a warning says if there are others.

    Raises
    ------
    ImageError
        If others have its size.
    """
    every = images_of(tiff)
    alike = _like_the_first(every)
    if len(alike) > 1:
        raise ImageError(stack_message(path, _joined(alike)[-1], "pages"))
    if len(every) > 1:
        logger.warning(
            "%s: %d images of different sizes in one file; reading the first",
            shown(path),
            len(every),
        )
    return every[0], len(every)


def stack_message(path: Path, shape: tuple[int, ...], axes: str) -> str:
    """Return why a stack cannot be read as one image, and what to do."""
    named = "" if set(axes) <= set("TZCYXS") or axes == "pages" else ", of unknown meaning"
    return (
        f"{shown(path)}: a stack of planes (shape {' x '.join(map(str, shape))}, axes "
        f"{axes}{named}). Save one 2D plane, or, if these are channels, save them as RGB or with "
        "the axis C; or segment all planes with latentfm-predict --stack."
    )


def pages_of_stack(
    tiff: tifffile.TiffFile, path: Path
) -> tuple[Sequence[Any], str, tuple[int, ...]]:
    """Return the pages of a stack in their order, and axes and shape of their array.

    A warning counts images that do not belong to the stack.
    """
    every = images_of(tiff)
    alike = _like_the_first(every)
    if len(alike) < len(every):
        logger.warning(
            "%s: %s not part of the stack, because the size or the channels differ",
            shown(path),
            counted(len(every) - len(alike), "further image is", "further images are"),
        )
    return _joined(alike)


def _joined(alike: Sequence[Any]) -> tuple[Sequence[Any], str, tuple[int, ...]]:
    first = alike[0]
    if len(alike) == 1:
        return first.pages, first.axes, first.shape
    pages = [page for each in alike for page in each.pages]
    if not _is_plain(alike):  # planes or stacks that were written one by one
        return pages, f"Q{first.axes}", (len(alike), *first.shape)
    pages.sort(key=lambda page: int(page.index))
    return pages, f"Q{first.keyframe.axes}", (len(pages), *first.keyframe.shape)


def _like_the_first(every: Sequence[Any]) -> list[Any]:
    """Return the series that are, or whose pages are, of the shape of the first one."""
    if _is_plain(every):
        return [each for each in every if each.keyframe.shape == every[0].keyframe.shape]
    return [each for each in every if each.shape == every[0].shape]


def _is_plain(every: Sequence[Any]) -> bool:
    """Return whether the file says nothing about its pages, which tifffile has sorted."""
    return all(each.kind == "generic" for each in every)
