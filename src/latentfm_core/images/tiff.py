"""Open untrusted TIFF files without following references to other files or unbounded memory."""

from __future__ import annotations

import io
import lzma
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import tifffile
from numpy.typing import NDArray

from latentfm_core.config import ReadingConfig
from latentfm_core.errors import ImageError
from latentfm_core.files.untrusted import BoundedReader, read_start
from latentfm_core.images.endings import TIFF_SUFFIXES
from latentfm_core.images.limits import check_bytes_of, check_pixels_of
from latentfm_core.names import shown

MAX_TAGS = 400_000
"""Limit over all pages: about 25,000 pages, which take tifffile seconds."""

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_LAYOUT = {42: ("H", "I", 12, 4), 43: ("Q", "Q", 20, 8)}
"""By version (43 is BigTIFF): tag count, offset, bytes of a tag, position of the first offset."""
_OTHER_COLOURS = (5, 8, 9, 10)
"""Values of the tag PhotometricInterpretation: separated, and three kinds of L*a*b*."""
_JPEG = (6, 7, 33003, 33005, 34712)
LOSSY = (*_JPEG, 22610, 33007, 34887, 34892, 34927, 34934, 50001, 50002, 52546)
"""Compressions that may change values: kinds of JPEG, LERC, and WebP."""
_FAX = (2, 3, 4)
_SLACK = 2**16
_PIECE = 2**20
_GROWTH = {8: 1032, 32946: 1032, 50013: 1032, 34925: 7200}
"""Maximum compression ratio of a codec: DEFLATE (zlib's technical details), LZMA (measured)."""


def is_tiff(path: Path) -> bool:
    """Return whether a file is a TIFF by its name or its first bytes.

    Pillow would read only the first page of a TIFF under another name, as one without channels.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        return True
    try:
        return read_start(path, 4) in _MAGIC
    except OSError:
        return False  # reading the file reports it


class _Alone(BoundedReader):
    """A stream without a descriptor, so that tifffile opens no other files.

    OME and Micro-Manager metadata can name further files by path; tifffile opens them if the
    stream has a descriptor.
    """

    def fileno(self) -> NoReturn:
        raise io.UnsupportedOperation("fileno")


@contextmanager
def open_tiff(source: Path | BinaryIO) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF file or stream; never opens other files it refers to.

    Raises
    ------
    tifffile.TiffFileError
        If it is not a TIFF.
    """
    if not isinstance(source, Path):
        check_directories(source)
        with tifffile.TiffFile(source) as tiff:
            yield tiff
        return
    with _Alone(source) as stream:
        check_directories(stream, str(source))
        with tifffile.TiffFile(stream) as tiff:
            yield tiff


def _tag(series: tifffile.TiffPageSeries, code: int, default: int) -> int:
    return int(series.keyframe.tags.valueof(code, default) or default)


def is_thumbnail(series: tifffile.TiffPageSeries) -> bool:
    """Return whether a series is a smaller copy or a mask of another one.

    From NewSubfileType and SubfileType (TIFF 6.0, section 8), whose value for one page of
    several says neither.
    """
    return bool(_tag(series, 254, 0) & 0b101) or _tag(series, 255, 1) == 2


def has_transparency_mask(tiff: tifffile.TiffFile) -> bool:
    """Return whether a page marks the visible pixels of another one (NewSubfileType)."""
    return any(_tag(series, 254, 0) & 0b100 for series in tiff.series)


def main_series(tiff: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """Return the first series that is not marked as a thumbnail; some programs put one first."""
    return images_of(tiff)[0]


def images_of(tiff: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """Return all series but those marked as thumbnails or masks, or all if every one is."""
    return [each for each in tiff.series if not is_thumbnail(each)] or list(tiff.series)


def other_colours(page: Any) -> bool:
    """Return whether the stored values are not grey levels, RGB or palette indices.

    These are CMYK, L*a*b* and YCbCr, except YCbCr in JPEG, which tifffile converts to RGB.
    """
    photometric = int(page.photometric)
    if photometric == tifffile.PHOTOMETRIC.YCBCR:
        return int(page.compression) not in _JPEG
    return photometric in _OTHER_COLOURS


def lacks_codec(error: Exception) -> bool:
    """Return whether tifffile failed because an optional package is missing."""
    return isinstance(error, ImportError) or "imagecodecs" in str(error)


def orientation_of(page: Any) -> int:
    """Return the orientation of a page, 1 to 8; invalid ones count as none, as in viewers."""
    turn = int(page.tags.valueof(274, 1) or 1)
    return turn if 1 <= turn <= 8 else 1


def is_fax(page: Any) -> bool:
    """Return whether a page is compressed as a fax, where 1 is black by definition."""
    return int(page.compression) in _FAX


def is_inverted(tiff: tifffile.TiffFile, page: Any) -> bool:
    """Return whether 0 is shown as white, and the values may be meant as shown, not as stored.

    ImageJ and tifffile (every boolean array) set this tag without inverting the values.
    """
    if int(page.photometric) != tifffile.PHOTOMETRIC.MINISWHITE or is_fax(page):
        return False
    return not (tiff.is_imagej or str(page.software).startswith("tifffile"))


def as_stored(page: Any, pixels: NDArray[Any]) -> NDArray[Any]:
    """Undo Pillow's inversion of grey levels in files where 0 is white.

    A fax is left as Pillow reads it.
    """
    turned = int(page.photometric) == tifffile.PHOTOMETRIC.MINISWHITE
    by_pillow = pixels.ndim == 2 and pixels.dtype in (np.bool_, np.uint8)
    if turned and by_pillow and not is_fax(page):
        stored: NDArray[Any] = np.invert(pixels)
        return stored
    return pixels


def check_directories(stream: BinaryIO, name: str = "The labels") -> None:
    """Reject a chain of pages (TIFF 6.0, section 2) that would take minutes to read.

    Other formats pass; the stream is rewound afterwards.

    Raises
    ------
    ImageError
        If the chain is cyclic, or its pages have more than `MAX_TAGS` tags in total.
    """
    stream.seek(0)
    head = stream.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    version = struct.unpack(f"{order}H", head[2:4])[0] if order and len(head) == 16 else 0
    if version in _LAYOUT:
        count_form, next_form, tag_bytes, first = _LAYOUT[version]
        offset = struct.unpack_from(order + next_form, head, first)[0]
        seen: set[int] = set()
        tags = 0
        while offset:
            stream.seek(offset)
            count = _unpacked(stream, order + count_form)
            tags += (count or 0) + 1  # a page takes time even without tags
            if offset in seen or tags > MAX_TAGS:
                raise ImageError(
                    f"{shown(name)}: its pages form a cycle or have more than {MAX_TAGS:,} tags. "
                    "It is damaged or malicious; save it again."
                )
            seen.add(offset)
            if count is None:
                break
            stream.seek(count * tag_bytes, io.SEEK_CUR)
            offset = _unpacked(stream, order + next_form)
    stream.seek(0)


def _unpacked(stream: BinaryIO, form: str) -> int | None:
    size = struct.calcsize(form)
    content = stream.read(size)
    return int(struct.unpack(form, content)[0]) if len(content) == size else None


def check_series(
    name: str, series: tifffile.TiffPageSeries, limits: ReadingConfig, *, plane: bool
) -> None:
    """Reject pages that would take too much memory.

    Parameters
    ----------
    plane
        Whether the pages are one image; otherwise only the bytes of the stack are checked.

    Raises
    ------
    ImageError
        If they would, or their compressed parts are larger than declared.
    """
    page: Any = series.keyframe
    itemsize = 1 if series.dtype is None else series.dtype.itemsize
    if plane:
        channels = math.prod(
            size for size, axis in zip(series.shape, series.axes, strict=True) if axis in "SC"
        )
        pixels = math.prod(series.shape) // max(1, channels)
        columns = max(1, series.shape[series.axes.index("X")] if "X" in series.axes else 1)
        check_pixels_of(name, pixels // columns, columns, limits)
    check_bytes_of(name, math.prod(series.shape) * itemsize, limits)
    pages = [each for each in series.pages if each is not None]
    _check_tiles(name, series.parent, page, pages, itemsize, limits)


def check_page(name: str, tiff: tifffile.TiffFile, page: Any, limits: ReadingConfig) -> None:
    """Reject a single page of a stack that would take too much memory.

    Raises
    ------
    ImageError
        If it would, or its compressed parts are larger than declared.
    """
    itemsize = 1 if page.dtype is None else page.dtype.itemsize
    check_bytes_of(name, math.prod(page.shape) * itemsize, limits)
    _check_tiles(name, tiff, page, [page], itemsize, limits)


def _check_tiles(
    name: str, tiff: Any, page: Any, pages: Sequence[Any], itemsize: int, limits: ReadingConfig
) -> None:
    if not all(isinstance(side, Integral) for side in page.chunks):
        # A tag of a damaged type gives text, and its product with a number is a long text.
        raise ImageError(f"{shown(name)}: the size of its tiles is damaged. Choose another file.")
    part = math.prod(page.chunks) * itemsize
    check_bytes_of(f"{shown(name)} (one tile)", part, limits)
    growth = _GROWTH.get(int(page.compression), 1)
    compressed = sum(sum(each.databytecounts) for each in pages)
    if growth > 1 and compressed * growth > limits.max_bytes:
        for each in pages:
            _check_parts(name, tiff, each, 2 * part + _SLACK)


def _check_parts(name: str, tiff: Any, page: Any, most: int) -> None:
    """Decompress every part once without keeping it, because tifffile sets no limit."""
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        tiff.filehandle.seek(offset)
        content = tiff.filehandle.read(length)
        if inflated_size(content, most, int(page.compression) == 34925) > most:
            raise ImageError(
                f"{shown(name)}: a part of it decompresses to more than the size of the image. It "
                "is damaged or malicious; choose another file."
            )


def inflated_size(content: bytes, most: int, is_lzma: bool = False) -> int:
    """Return the decompressed size of `content`, at least `most` + 1 if it is above `most`.

    Damaged content counts up to the damage.
    """
    size = 0
    try:
        if is_lzma:
            unpack = lzma.LZMADecompressor()
            size += len(unpack.decompress(content, _PIECE))
            while not unpack.eof and size <= most:
                piece = unpack.decompress(b"", _PIECE)
                size += len(piece)
                if not piece:
                    break
            return size
        inflate = zlib.decompressobj()
        while content and not inflate.eof and size <= most:
            size += len(inflate.decompress(content, _PIECE))
            content = inflate.unconsumed_tail
    except (zlib.error, lzma.LZMAError):
        pass  # the decoder reports it
    return size
