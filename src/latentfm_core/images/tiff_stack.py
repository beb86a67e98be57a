"""Read a 3D or time stack from a TIFF file plane by plane."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import tifffile
from numpy.typing import NDArray

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import ImageError, LatentFMError, ResourceError
from latentfm_core.images.channel_names import tiff_channels
from latentfm_core.images.channels import Channels, channels_of, check_channel, used_channels
from latentfm_core.images.decode import check_is_file
from latentfm_core.images.decode_tiff import check_by_pillow, stored_values
from latentfm_core.images.endings import image_name
from latentfm_core.images.limits import check_bytes_of, check_pixels_of, open_pillow
from latentfm_core.images.no_data import fill_no_data, no_data_of, without_data
from latentfm_core.images.spacing import depth_of, spacing_of
from latentfm_core.images.tiff import (
    as_stored,
    check_page,
    check_series,
    main_series,
    open_tiff,
    other_colours,
)
from latentfm_core.images.tiff_pages import pages_of_stack
from latentfm_core.names import shown
from latentfm_core.types import ImageInput

logger = logging.getLogger(__name__)


class TiffStack:
    """A TIFF file of several planes; a context manager that holds the file open.

    Channels (the axes S or C) belong to each plane and are classified as for single images
    (`latentfm_core.images.channels`). All axes except the two of a plane form the stack.

    Parameters
    ----------
    plane
        Letters of the two axes of a plane, in the file's order. Planes other than YX load the
        whole stack.
    limits
        Limits for a plane, and for the whole stack if it must be loaded.

    Attributes
    ----------
    axes, shape
        Letters and lengths of the axes without channels, for example ``"TZYX"``. Letters are
        those of OME; unnamed axes become Z, or T if there is a Z.
    plane, along
        Positions in `axes` of the plane's two axes, and of the others.
    spacing, unit
        Pixel size ``(row, column)`` of Y and X and its unit; None when unknown.
    depth
        Distance between planes along Z in `unit`; None when unknown.

    Raises
    ------
    ImageError
        If the file cannot be read, is not a stack of such planes, or its planes are larger than
        `limits` allow.
    ResourceError
        If there is not enough memory.
    """

    def __init__(
        self, path: str | Path, plane: str = "YX", limits: ReadingConfig = READING
    ) -> None:
        self.path = path = Path(path)
        self.limits = limits
        self._whole: NDArray[Any] | None = None
        check_is_file(path)
        with ExitStack() as opened:
            try:
                self._tiff = opened.enter_context(open_tiff(path))
                self._look(plane)
            except (LatentFMError, MemoryError) as error:
                raise _user_error(error, path) from None
            except Exception as error:  # as in `decode`: parsers raise nearly any type
                raise ImageError(
                    f"{shown(path)}: cannot be read as a TIFF stack ({error}). Stacks must be TIFF "
                    "files."
                ) from None
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opened.close()

    def __len__(self) -> int:
        return math.prod(self.shape[axis] for axis in self.along)

    def read(self, number: int) -> ImageInput:
        """Return a plane; planes are numbered in row-major order over `along`.

        Raises
        ------
        ImageError
            If it cannot be decoded, or would take more memory than the limits allow.
        ResourceError
            If there is not enough memory.
        """
        lengths = [self.shape[axis] for axis in self.along]
        places = dict(zip(self.along, np.unravel_index(number, lengths), strict=True))
        index = tuple(int(places[axis]) if axis in places else None for axis in self._order)
        with self._reading(f"plane {number}"):
            pixels = self._measured(self._cut(index))
        name = f"{image_name(self.path.name)} [{', '.join(str(int(x)) for x in places.values())}]"
        return ImageInput(pixels, self.spacing, self.unit, name)

    def check(self) -> None:
        """Read everything once, so that damage is found before work on the planes.

        Raises
        ------
        ImageError
            As `read`, or if there are NaN or infinite values.
        ResourceError
            If there is not enough memory.
        """
        self.read(0)
        # A stack that is not stored page by page is in memory now.
        count = len(self._pages) if self._whole is None else len(self._whole)
        for number in range(count):
            with self._reading(f"page {number}"):
                stored = self._decoded(number) if self._whole is None else self._whole[number]
                values = self._measured(stored)
                wrong = values.dtype.kind == "f" and np.count_nonzero(~np.isfinite(values))
            if wrong:
                raise ImageError(
                    f"{shown(self.path)}: {wrong} NaN or infinite values in page {number}. "
                    "Replace them, for example by 0."
                )

    def _measured(self, pixels: NDArray[Any]) -> NDArray[Any]:
        return fill_no_data(pixels, without_data(pixels, self._no_data))

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except (LatentFMError, MemoryError) as error:
            raise _user_error(error, self.path) from None
        except Exception as error:  # as in `decode`
            raise ImageError(
                f"{shown(self.path)}: {what} cannot be read; the file is damaged or its "
                f"compression is unsupported ({type(error).__name__}: {error}). Copy the file "
                "again."
            ) from None

    def _look(self, plane: str) -> None:
        series = main_series(self._tiff)
        keyframe: Any = series.keyframe
        pages, labels, lengths = pages_of_stack(self._tiff, self.path)
        channel = next((c for c in "SC" if c in labels), None)
        if keyframe.photometric == tifffile.PHOTOMETRIC.PALETTE or other_colours(keyframe):
            raise ImageError(
                f"{shown(self.path)}: palette, CMYK, YCbCr and L*a*b* stacks are not supported. "
                "Save the stack in grey or RGB."
            )
        if int(keyframe.tags.valueof(274, 1) or 1) != 1:
            logger.warning(
                "%s: the orientation of its metadata is not applied; planes are read as stored",
                shown(self.path),
            )
        self._no_data = no_data_of(keyframe, self.path)
        self._channels: Channels | None = None
        if channel is not None and lengths[labels.index(channel)] > 1:
            count = lengths[labels.index(channel)]
            channels = channels_of(keyframe, channel, count, tiff_channels(self._tiff))
            check_channel(shown(self.path), channels, self.limits.channel)
            self._channels = channels
        self._pages = pages
        # For each axis of the array: its position in `axes`, or -1 for the channels.
        kept = [position for position, label in enumerate(labels) if label != channel]
        self._order = [kept.index(n) if n in kept else -1 for n in range(len(labels))]
        self._lengths = lengths
        self.axes = _named("".join(labels[position] for position in kept))
        self.shape = tuple(lengths[position] for position in kept)
        self._choose_plane(plane, labels)
        size = spacing_of(self._tiff)
        self.spacing: tuple[float, float] | None = size.get("spacing")
        self.unit: str = size.get("unit", "pixel")
        self.depth = None if self.spacing is None else depth_of(self._tiff)

    def _choose_plane(self, plane: str, labels: str) -> None:
        if len(plane) != 2 or any(name not in self.axes for name in plane.upper()):
            raise ImageError(
                f"{shown(self.path)}: plane {plane} does not exist; the axes are {self.axes}. "
                "Choose two of these."
            )
        if len(self.axes) < 3:
            raise ImageError(
                f"{shown(self.path)}: one plane (axes {labels}), not a stack. Omit --stack."
            )
        first, second = sorted(self.axes.index(name) for name in plane.upper())
        self.plane = (first, second)
        check_pixels_of(str(self.path), self.shape[first], self.shape[second], self.limits)
        self.along = tuple(n for n in range(len(self.axes)) if n not in self.plane)

    def _cut(self, index: tuple[int | None, ...]) -> NDArray[Any]:
        """Return ``(H, W)`` or ``(H, W, C)``; `index` has an entry for each axis of the array."""
        inside = self._pages[0].ndim
        leading = self._lengths[: len(self._lengths) - inside]
        single = len(self._pages) == math.prod(leading) and all(
            position is None for position in index[len(leading) :]
        )
        if single:
            chosen = [
                range(n) if at is None else [at] for n, at in zip(leading, index, strict=False)
            ]
            numbers = (
                np.ravel_multi_index(np.ix_(*chosen), leading) if leading else np.zeros(1, int)
            )
            pages = [self._decoded(int(number)) for number in numbers.ravel()]
            taken = [position for position, at in enumerate(index) if at is None]
            values = np.stack(pages).reshape([self._lengths[position] for position in taken])
        else:
            if self._whole is None:
                self._whole = self._read_whole(len(self._pages) == math.prod(leading))
            values = self._whole[tuple(slice(None) if at is None else at for at in index)]
            taken = [position for position, at in enumerate(index) if at is None]
        channel = [n for n, position in enumerate(taken) if self._order[position] < 0]
        moved = np.moveaxis(values, channel[0], -1) if channel else values
        if self._channels is not None:
            name = shown(self.path)
            moved = used_channels(name, moved, self._channels, self.limits.channel)
        elif channel:
            moved = moved[..., 0]
        return moved.astype(moved.dtype.newbyteorder("="), copy=False)

    def _read_whole(self, by_page: bool) -> NDArray[Any]:
        series = main_series(self._tiff)
        if not by_page:
            check_series(str(self.path), series, self.limits, plane=False)
            return series.asarray()
        itemsize = max(np.dtype(page.dtype).itemsize for page in self._pages)
        check_bytes_of(str(self.path), math.prod(self._lengths) * itemsize, self.limits)
        pages = [self._decoded(number) for number in range(len(self._pages))]
        return np.stack(pages).reshape(self._lengths)

    def _decoded(self, number: int) -> NDArray[Any]:
        page = self._pages[number]
        check_page(str(self.path), self._tiff, page, self.limits)
        values = stored_values(page)
        if values is None:
            check_by_pillow(self.path, page)
            with open_pillow(self.path, self.limits, ("TIFF",)) as opened:
                opened.seek(page.index)
                values = as_stored(page, np.array(opened))
        return values


def _user_error(error: Exception, path: Path) -> Exception:
    if isinstance(error, MemoryError):
        return ResourceError(f"{shown(path)}: not enough memory. Close other programs.")
    return error


def _named(labels: str) -> str:
    """Replace unknown axis letters with those of OME; raise `ImageError` if they run out."""
    free = [name for name in "ZT" if name not in labels]
    named = ""
    for label in labels:
        if label in "TZYX":
            named += label
        elif free:
            named += free.pop(0)
        else:
            raise ImageError(
                f"Too many axes ({labels}); a stack has T, Z, Y, X and channels. Save a part."
            )
    return named
