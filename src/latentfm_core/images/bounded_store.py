"""A Zarr store that refuses chunks that would decode to more than their limit."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import zarr
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from latentfm_core.files.regular import check_regular

_SLACK = 2**20
_DEFLATE_RATIO = 1032
"""Largest ratio of decoded and encoded size that DEFLATE (RFC 1951) can reach."""

_ZSTD_MAGIC = 0xFD2FB528


@dataclass(frozen=True)
class _Bound:
    """Codec of an array's chunks and the maximum bytes that one may decode to."""

    codec: str
    nbytes: int


class BoundedStore(WrapperStore[Store]):
    """A store whose arrays are checked before their chunks are decoded.

    The decoders allocate what the header of a chunk declares, or what its stream expands to: a
    damaged or hostile file of some bytes can fill the memory.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._bounds: dict[str, _Bound] = {}
        self._root: Path | None = store.root if isinstance(store, LocalStore) else None

    @classmethod
    def read_only_at(cls, folder: Path) -> Self:
        """Return a store that reads a local folder."""
        return cls(LocalStore(folder, read_only=True))

    def bound(self, array: zarr.Array[Any], nbytes: int) -> None:
        """Check the chunks of an array.

        Parameters
        ----------
        nbytes
            Size of a decoded chunk. Filters may change it: four times as much is accepted.
        """
        codec = _codec_of(array.metadata)
        if codec in _DECODED:
            self._bounds[array.path] = _Bound(codec, 4 * nbytes + _SLACK)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a value, as the wrapped store does.

        Raises
        ------
        ValueError
            If it is a chunk that decodes to more than the array's chunks can contain.
        NotRegularError
            If it is a pipe, socket or device, which could block.
        """
        self._check_file(key)
        value = await super().get(key, prototype, byte_range)
        self._check(key, value)
        return value

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        requests = list(requests)
        for key, _, _ in requests:
            self._check_file(key)
        async for key, value in super()._get_many(requests):
            self._check(key, value)
            yield key, value

    def _check_file(self, key: str) -> None:
        if self._root is not None and not (self._root / key).is_dir():
            check_regular(self._root / key)

    def _check(self, key: str, value: Buffer | None) -> None:
        folder, _, name = key.rpartition("/")
        if value is None or name.startswith(".z") or name == "zarr.json":
            return
        bound = next((b for path, b in self._bounds.items() if _is_in(folder, path)), None)
        if bound is None:
            return
        decoded = _DECODED[bound.codec](value.to_bytes(), bound.nbytes)
        if decoded > bound.nbytes:
            raise ValueError(
                f"chunk {key} decodes to at least {decoded:,} bytes, a chunk of this array has "
                f"at most {bound.nbytes:,}"
            )


def _is_in(folder: str, path: str) -> bool:
    return not path or folder == path or folder.startswith(path + "/")


def _codec_of(metadata: Any) -> str:
    """Return the name of the compressor of a Zarr 2 or 3 array; empty if there is none."""
    if hasattr(metadata, "compressor"):
        return str(getattr(metadata.compressor, "codec_id", ""))
    codecs = metadata.codecs
    while codecs:
        inner = getattr(codecs[0], "codecs", None)  # those of a shard's chunks
        if inner is None:
            break
        codecs = inner
    names = [type(codec).__name__.removesuffix("Codec").lower() for codec in codecs]
    return next((name for name in names if name in _DECODED), "")


def _blosc(chunk: bytes, _most: int) -> int:
    # Blosc 1 header: versions, flags, type size, then decoded, block and encoded size.
    return int(struct.unpack_from("<I", chunk, 4)[0]) if len(chunk) >= 16 else 0


def _lz4(chunk: bytes, _most: int) -> int:
    return int(struct.unpack_from("<I", chunk)[0]) if len(chunk) >= 4 else 0


def _zstd(chunk: bytes, _most: int) -> int:
    """Return the content size in a frame header (RFC 8878, section 3.1.1.1); 0 if not given."""
    if len(chunk) < 18 or struct.unpack_from("<I", chunk)[0] != _ZSTD_MAGIC:
        return 0
    descriptor = chunk[4]
    flag, single, dictionary = descriptor >> 6, descriptor >> 5 & 1, descriptor & 3
    start = 5 + (not single) + (0, 1, 2, 4)[dictionary]
    size = (single, 2, 4, 8)[flag]
    value = int.from_bytes(chunk[start : start + size], "little")
    return value + 256 if flag == 1 else value


def _deflate(chunk: bytes, most: int) -> int:
    if len(chunk) * _DEFLATE_RATIO <= most:
        return 0
    return _streamed(lambda: zlib.decompressobj(wbits=47), chunk, most)


def _bz2(chunk: bytes, most: int) -> int:
    return _streamed(bz2.BZ2Decompressor, chunk, most)


def _lzma(chunk: bytes, most: int) -> int:
    return _streamed(lzma.LZMADecompressor, chunk, most)


def _streamed(new: Callable[[], Any], chunk: bytes, most: int) -> int:
    """Decode up to `most` bytes and return how many there are; damage is for the decoder."""
    total = 0
    try:
        while chunk and total <= most:
            stream = new()
            total += len(stream.decompress(chunk, most - total + 1))
            chunk = stream.unused_data
    except (zlib.error, OSError, lzma.LZMAError):
        return total
    return total


_DECODED: dict[str, Callable[[bytes, int], int]] = {
    "blosc": _blosc,
    "lz4": _lz4,
    "zstd": _zstd,
    "gzip": _deflate,
    "zlib": _deflate,
    "bz2": _bz2,
    "lzma": _lzma,
}
"""Bytes that a chunk decodes to, of those that declare it; at least, for the others."""
