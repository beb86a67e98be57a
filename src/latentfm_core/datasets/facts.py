"""Statistics of a data set's masks and images: shares, objects, sizes, copies."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import READING
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.datasets.pairs import Pair
from latentfm_core.datasets.stored import TURNS
from latentfm_core.files.regular import open_regular
from latentfm_core.images.limits import open_pillow
from latentfm_core.images.tiff import is_tiff, main_series, open_tiff
from latentfm_core.measures.size import count_pieces

_TURNED = (5, 6, 7, 8)
_BLOCK = 2**20
MAX_SIZES = 500


@dataclass(frozen=True)
class MaskFacts:
    """Statistics of one mask.

    Attributes
    ----------
    shares
        Share of pixels covered by each class.
    objects
        Numbered objects, or connected pieces of the foreground, in the file's pixels.
    corners
        Number of the four corner pixels that are foreground.
    digest
        Equal for equal masks.
    """

    name: str
    shares: tuple[float, ...]
    objects: int
    corners: int
    digest: bytes = b""

    @property
    def foreground(self) -> float:
        """Total share of all classes."""
        return sum(self.shares)

    @property
    def is_empty(self) -> bool:
        """Whether it has no foreground pixel."""
        return self.foreground == 0

    @property
    def vanishes(self) -> bool:
        """Whether the file has objects, and none of them is left at this size."""
        return self.is_empty and self.objects > 0

    @property
    def is_full(self) -> bool:
        """Whether every pixel is foreground."""
        return self.foreground >= 1 - 1e-9


def mask_facts(
    name: str, mask: NDArray[Any], classes: int, objects: int | None = None
) -> MaskFacts:
    """Return the statistics of a mask ``(H, W)``, bool or labels from 0 to `classes`.

    Parameters
    ----------
    objects
        Their number, if the file gives it: `mask` may be smaller. By default they are counted.
    """
    labels = mask.astype(np.uint8, copy=False)
    counts = np.bincount(labels.ravel(), minlength=classes + 1)[1 : classes + 1]
    corners = int(np.count_nonzero(labels[np.ix_((0, -1), (0, -1))]))
    shares = tuple(float(count) / mask.size for count in counts)
    found = count_pieces(mask) if objects is None else objects
    digest = hashlib.blake2b(np.ascontiguousarray(labels).data, digest_size=16).digest()
    return MaskFacts(name, shares, found, corners, digest)


def facts_of_canvases(canvases: CanvasSet, classes: int) -> list[MaskFacts]:
    """Return the statistics of all masks in memory, at the network's resolution."""
    counted = {pair.name: pair.objects for pair in canvases.stored}
    return [
        mask_facts(name, canvases.masks[row, rater], classes, objects)
        for row, name in enumerate(canvases.names)
        for rater, objects in enumerate(counted.get(name, (None,) * int(canvases.raters[row])))
    ]


def image_size(path: Path) -> tuple[int, int] | None:
    """Return rows and columns from an image file's header; None if unreadable."""
    rows, columns, turn = _header(path)
    if not rows:
        return None
    return (columns, rows) if turn in _TURNED else (rows, columns)


def image_orientation(path: Path) -> int:
    """Return the EXIF or TIFF orientation in a file's header; 1 if there is none."""
    turn = _header(path)[2]
    return turn if turn in TURNS else 1


def _header(path: Path) -> tuple[int, int, int]:
    """Return stored rows and columns, 0 if unreadable, and the orientation."""
    try:
        if is_tiff(path):
            with open_tiff(path) as tiff:
                page: Any = main_series(tiff).keyframe
                rows, columns = int(page.imagelength), int(page.imagewidth)
                turn = int(page.tags.valueof(274, 1) or 1)
        else:
            with open_pillow(path, READING) as opened:
                columns, rows = opened.size
                turn = opened.getexif().get(274, 1)
    except Exception:
        # Reading the file reports its errors.
        return 0, 0, 1
    return rows, columns, turn


def image_sizes(pairs: Sequence[Pair]) -> list[tuple[int, int]]:
    """Return the sizes of the images, or of `MAX_SIZES` evenly spaced ones."""
    step = max(1, -(-len(pairs) // MAX_SIZES))
    sizes = [image_size(pair.image) for pair in pairs[::step]]
    return [size for size in sizes if size is not None]


def copies(parts: Mapping[str, Iterable[Pair]]) -> list[tuple[str, ...]]:
    """Return groups of images with identical files, each as ``part: name``.

    Only files of equal size are read.
    """
    by_size: dict[int, list[tuple[str, Path]]] = defaultdict(list)
    for part, pairs in parts.items():
        for pair in pairs:
            try:
                size = pair.image.stat().st_size
            except OSError:
                continue
            by_size[size].append((f"{part}: {pair.name}" if part else pair.name, pair.image))
    by_content: dict[bytes, list[str]] = defaultdict(list)
    for files in by_size.values():
        if len(files) > 1:
            for name, path in files:
                digest = _digest(path)
                if digest is not None:
                    by_content[digest].append(name)
    return sorted(tuple(sorted(names)) for names in by_content.values() if len(names) > 1)


def copied_images(parts: Mapping[str, Mapping[str, NDArray[np.uint8]]]) -> list[tuple[str, ...]]:
    """Return groups of images with identical pixels in memory, each as ``part: name``."""
    by_content: dict[bytes, list[str]] = defaultdict(list)
    for part, images in parts.items():
        for name, image in images.items():
            digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
            by_content[digest].append(f"{part}: {name}")
    return sorted(tuple(sorted(names)) for names in by_content.values() if len(names) > 1)


def _digest(path: Path) -> bytes | None:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open_regular(path) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except OSError:
        return None
    return digest.digest()
