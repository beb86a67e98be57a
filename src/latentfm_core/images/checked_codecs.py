"""Codecs of a Zarr array that check a chunk before they decode it."""

from __future__ import annotations

import bz2
import contextlib
import lzma
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import zarr
from numcodecs.abc import Codec as Numcodec
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import ShardingCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer

from latentfm_core.config import ReadingConfig
from latentfm_core.images.limits import check_bytes_of

_SLACK = 2**20
_DEFLATE_RATIO = 1032
"""Largest ratio of decoded and encoded size that DEFLATE (RFC 1951) can reach."""

_ZSTD_MAGIC = 0xFD2FB528
_ZSTD_SKIPPABLE = 0x184D2A50
_ZSTD_REPEATED, _ZSTD_COMPRESSED = 1, 2
_ZSTD_BLOCK = 2**13
"""Bytes assumed for a compressed block, whose header does not give its decoded size: the smallest
part into which encoders split a block. The format allows 16 times as many."""
_BLOSC_HEADER = 16


def bounded_array(array: zarr.Array[Any], path: Path, limits: ReadingConfig) -> zarr.Array[Any]:
    """Return an array, opened for reading, whose chunks are checked before they are decoded.

    The decoders allocate what the header of a chunk declares, or what its stream expands to, and
    that of Blosc reads as far as a header says: a damaged or hostile file of some bytes could fill
    the memory or end the process. Reading such a chunk raises `ValueError` instead.

    Raises
    ------
    ImageError
        If a chunk (of a sharded array, a shard), decoded whole, would exceed `limits`.
    """
    nbytes = math.prod(array.shards or array.chunks) * array.dtype.itemsize
    check_bytes_of(f"{path}: one chunk", nbytes, limits)
    most = 4 * nbytes + _SLACK  # filters may change the size
    metadata: Any = array.metadata
    if hasattr(metadata, "codecs"):  # format 3
        changed = replace(metadata, codecs=_checked(metadata.codecs, most))
    else:
        filters = [_CheckedNumcodec.of(each, most) for each in metadata.filters or ()]
        compressor = _CheckedNumcodec.of(metadata.compressor, most)
        changed = replace(metadata, filters=filters or None, compressor=compressor)
    return zarr.Array(zarr.AsyncArray(metadata=changed, store_path=array.store_path))


def _checked(codecs: tuple[Any, ...], most: int) -> tuple[Any, ...]:
    return tuple(_checked_codec(codec, most) for codec in codecs)


def _checked_codec(codec: Any, most: int) -> Any:
    if isinstance(codec, ShardingCodec):
        return ShardingCodec(
            chunk_shape=codec.chunk_shape,
            codecs=_checked(codec.codecs, most),
            index_codecs=codec.index_codecs,
            index_location=codec.index_location,
        )
    name = type(codec).__name__.removesuffix("Codec").lower()
    return _CheckedCodec(codec, name, most) if name in _DECODED else codec


@dataclass(frozen=True)
class _CheckedCodec(BytesBytesCodec):
    """A codec of Zarr format 3 that checks a chunk first."""

    codec: BytesBytesCodec
    name: str
    most: int
    is_fixed_size = False

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> _CheckedCodec:
        return replace(self, codec=self.codec.evolve_from_array_spec(array_spec))

    def to_dict(self) -> dict[str, Any]:
        return self.codec.to_dict()

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        return self.codec.compute_encoded_size(input_byte_length, chunk_spec)

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        _check(self.name, chunk_bytes.to_bytes(), self.most)
        return await self.codec._decode_single(chunk_bytes, chunk_spec)


class _CheckedNumcodec(Numcodec):  # type: ignore[misc]  # numcodecs has no types
    """A codec of Zarr format 2 that checks a chunk first."""

    codec_id = "checked"

    def __init__(self, codec: Any, most: int) -> None:
        self._codec, self._most = codec, most

    @classmethod
    def of(cls, codec: Any, most: int) -> Any:
        """Return the codec itself if there is nothing to check."""
        return cls(codec, most) if getattr(codec, "codec_id", "") in _DECODED else codec

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = self._codec.get_config()
        return config

    def encode(self, buf: Any) -> Any:
        raise NotImplementedError("The array is only read.")

    def decode(self, buf: Any, out: Any = None) -> Any:
        _check(self._codec.codec_id, bytes(memoryview(buf)), self._most)
        return self._codec.decode(buf, out)


def _check(name: str, chunk: bytes, most: int) -> None:
    decoded = _DECODED[name](chunk, most)
    if decoded > most:
        raise ValueError(
            f"a chunk decodes to at least {decoded:,} bytes, a chunk of this array has at most "
            f"{most:,}"
        )


def _blosc(chunk: bytes, _most: int) -> int:
    # Blosc 1 header: versions, flags, type size, then decoded, block and encoded size. Its decoder
    # is not given the size of the chunk and reads up to the encoded one.
    if len(chunk) < _BLOSC_HEADER:
        raise ValueError("a chunk is shorter than its header")
    decoded, _, encoded = struct.unpack_from("<III", chunk, 4)
    if encoded > len(chunk):
        raise ValueError(f"a chunk declares {encoded:,} bytes but has {len(chunk):,}")
    return int(decoded)


def _lz4(chunk: bytes, _most: int) -> int:
    return int(struct.unpack_from("<I", chunk)[0]) if len(chunk) >= 4 else 0


def _zstd(chunk: bytes, most: int) -> int:
    """Return the bytes of all frames; of a frame that does not declare them, those of its blocks.

    The format is that of RFC 8878, section 3.1. Damage is for the decoder.
    """
    total, at = 0, 0
    with contextlib.suppress(struct.error, IndexError):
        while at < len(chunk) and total <= most:
            (magic,) = struct.unpack_from("<I", chunk, at)
            if magic & ~0xF == _ZSTD_SKIPPABLE:
                at += 8 + int(struct.unpack_from("<I", chunk, at + 4)[0])
                continue
            if magic != _ZSTD_MAGIC:
                break
            declared, at, checksum = _zstd_header(chunk, at + 4)
            blocks, at = _zstd_blocks(chunk, at)
            at += 4 * checksum
            total += blocks if declared is None else declared
    return total


def _zstd_header(chunk: bytes, at: int) -> tuple[int | None, int, bool]:
    """Return the declared size of a frame, the start of its blocks, and whether it is checked."""
    descriptor = chunk[at]
    flag, single = descriptor >> 6, descriptor >> 5 & 1
    at += 1 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    length = (single, 2, 4, 8)[flag]
    value = int.from_bytes(chunk[at : at + length], "little")
    declared = value + 256 if flag == 1 else value
    return declared if length else None, at + length, bool(descriptor & 4)


def _zstd_blocks(chunk: bytes, at: int) -> tuple[int, int]:
    """Return the bytes that the blocks of a frame decode to, about, and the end of the frame."""
    total, last = 0, False
    while not last:
        header = int.from_bytes(chunk[at : at + 3], "little")
        last, kind, size = at + 3 >= len(chunk) or bool(header & 1), header >> 1 & 3, header >> 3
        total += _ZSTD_BLOCK if kind == _ZSTD_COMPRESSED else size
        at += 3 + (1 if kind == _ZSTD_REPEATED else size)
    return total, at


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
