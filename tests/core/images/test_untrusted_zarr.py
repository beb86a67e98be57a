"""Untrusted Zarr chunks are refused by their decoded size."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, BytesCodec, GzipCodec, ShardingCodec, ZstdCodec

from latentfm_core.errors import ImageError
from latentfm_core.images.large import PixelField
from latentfm_core.images.open_large import open_large

GIGABYTE = 2**30
PIXELS = np.random.default_rng(0).integers(0, 255, (96, 80), np.uint8)

CODECS: dict[str, Any] = {
    "blosc": numcodecs.Blosc(),
    "zstd": numcodecs.Zstd(),
    "lz4": numcodecs.LZ4(),
    "zlib": numcodecs.Zlib(),
    "gzip": numcodecs.GZip(),
    "bz2": numcodecs.BZ2(),
    "lzma": numcodecs.LZMA(),
}

NEW_CODECS: dict[str, Any] = {
    "blosc": BloscCodec(),
    "zstd": ZstdCodec(),
    "gzip": GzipCodec(),
}

Damage = Callable[[bytes], bytes]


def declares(place: int) -> Damage:
    """Return a function that writes a decoded size of a gigabyte into a header."""
    return lambda chunk: chunk[:place] + struct.pack("<I", GIGABYTE) + chunk[place + 4 :]


def expands(compress: Callable[[bytes], bytes]) -> Damage:
    """Return a function that replaces a chunk with 300 megabytes of zeros."""
    return lambda _chunk: compress(bytes(300 * 2**20))


BOMBS: dict[str, Damage] = {
    "blosc": declares(4),
    "lz4": declares(0),
    # A frame of one segment whose content size has 4 bytes.
    "zstd": lambda chunk: chunk[:4] + b"\xa0" + struct.pack("<I", GIGABYTE) + chunk[9:],
    "zlib": expands(lambda data: zlib.compress(data, 9)),
    "gzip": expands(lambda data: gzip.compress(data, 9)),
    "bz2": expands(bz2.compress),
    "lzma": expands(lambda data: lzma.compress(data, preset=0)),
}


def without_size(frame: bytes) -> bytes:
    """Return a Zstandard frame as a streaming encoder would write it."""
    single = frame[4] >> 5 & 1
    length = (single, 2, 4, 8)[frame[4] >> 6]
    window = bytes([17 << 3])  # 128 MiB
    return frame[:4] + bytes([frame[4] & 0b100]) + window + frame[6 - single + length :]


def write(folder: Path, codec: Any, zarr_format: Any, **options: Any) -> Path:
    array = zarr.create_array(
        folder,
        shape=PIXELS.shape,
        dtype=PIXELS.dtype,
        chunks=(32, 32),
        compressors=codec,
        zarr_format=zarr_format,
        **options,
    )
    array[:] = PIXELS
    return folder


def read(folder: Path) -> np.ndarray[Any, Any]:
    with open_large(folder) as image:
        return PixelField(image).read(0, 0, *PIXELS.shape)


CHUNKS = [
    *((name, codec, 2, "0.0") for name, codec in CODECS.items()),
    *((name, codec, 3, "c/0/0") for name, codec in NEW_CODECS.items()),
]


@pytest.mark.parametrize(("name", "codec", "zarr_format", "place"), CHUNKS)
def test_a_chunk_that_decodes_to_too_much_is_refused(
    tmp_path: Path, name: str, codec: Any, zarr_format: int, place: str
) -> None:
    folder = write(tmp_path / "a.zarr", codec, zarr_format)
    np.testing.assert_allclose(read(folder)[..., 0] * 255, PIXELS, atol=1e-3)
    chunk = folder / place
    chunk.write_bytes(BOMBS[name](chunk.read_bytes()))
    with pytest.raises(ImageError, match="a chunk decodes to at least"):
        read(folder)


@pytest.mark.parametrize(
    ("codec", "zarr_format", "place"),
    [(CODECS["zstd"], 2, "0.0"), (NEW_CODECS["zstd"], 3, "c/0/0")],
    ids=["2", "3"],
)
def test_a_zstandard_frame_without_size_is_bounded(
    tmp_path: Path, codec: Any, zarr_format: int, place: str
) -> None:
    folder = write(tmp_path / "a.zarr", codec, zarr_format)
    chunk = folder / place
    usual = without_size(chunk.read_bytes())
    chunk.write_bytes(usual)
    np.testing.assert_allclose(read(folder)[..., 0] * 255, PIXELS, atol=1e-3)
    zeros = numcodecs.Zstd().encode(bytes(300 * 2**20))
    skippable = struct.pack("<II", 0x184D2A53, 5) + bytes(5)
    for bomb in (without_size(zeros), usual + zeros, skippable + zeros):
        chunk.write_bytes(bomb)
        with pytest.raises(ImageError, match="a chunk decodes to at least"):
            read(folder)


@pytest.mark.parametrize(
    ("codec", "zarr_format", "place"),
    [(CODECS["blosc"], 2, "0.0"), (NEW_CODECS["blosc"], 3, "c/0/0")],
    ids=["2", "3"],
)
@pytest.mark.parametrize("damage", ["longer", "cut", "no header"])
def test_a_blosc_chunk_of_another_size_is_refused(
    tmp_path: Path, codec: Any, zarr_format: int, place: str, damage: str
) -> None:
    # Its decoder reads up to the size in the header, also beyond the end of the chunk.
    folder = write(tmp_path / "a.zarr", codec, zarr_format)
    chunk = (folder / place).read_bytes()
    damaged = {
        "longer": chunk[:12] + struct.pack("<I", GIGABYTE) + chunk[16:],
        "cut": chunk[:40],
        "no header": chunk[:10],
    }
    (folder / place).write_bytes(damaged[damage])
    said = "shorter than its header" if damage == "no header" else "a chunk declares"
    with pytest.raises(ImageError, match=said):
        read(folder)


@pytest.mark.parametrize("index_location", ["start", "end"])
@pytest.mark.parametrize("codec", [None, *NEW_CODECS.values()])
def test_shards_are_read_and_checked(
    tmp_path: Path, codec: Any, index_location: Literal["start", "end"]
) -> None:
    folder = tmp_path / "a.zarr"
    inner = [BytesCodec(), *([] if codec is None else [codec])]
    shards = ShardingCodec(chunk_shape=(32, 16), codecs=inner, index_location=index_location)
    array = zarr.create(
        store=folder, shape=(192, 80), chunks=(96, 80), dtype="u1", zarr_format=3, codecs=[shards]
    )
    array[32:96] = PIXELS[32:]  # empty chunks in the first shard, and an empty shard
    with open_large(folder) as image:
        whole, part = PixelField(image).read(0, 0, 192, 80), PixelField(image).read(0, 0, 33, 17)
    np.testing.assert_allclose(whole[32:96, :, 0] * 255, PIXELS[32:], atol=1e-3)
    assert not whole[:32].any()
    assert not whole[96:].any()
    np.testing.assert_array_equal(part, whole[:33, :17])
    if codec is not NEW_CODECS["blosc"]:
        return
    shard = folder / "c" / "0" / "0"
    stored = bytearray(shard.read_bytes())
    last = stored.rindex(struct.pack("<III", 512, 512, 0)[:8])  # decoded and block size of a chunk
    stored[last : last + 4] = struct.pack("<I", GIGABYTE)
    shard.write_bytes(stored)
    with (
        pytest.raises(ImageError, match="a chunk decodes to at least"),
        open_large(folder) as image,
    ):
        PixelField(image).read(0, 0, 192, 80)


def test_each_pyramid_level_is_bounded_by_its_chunks(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "p.zarr", mode="w", zarr_format=2)
    for name, step in (("0", 1), ("1", 2)):
        pixels = PIXELS[::step, ::step]
        level = group.create_array(
            name, shape=pixels.shape, dtype="u1", chunks=(32, 32), compressors=CODECS["blosc"]
        )
        level[:] = pixels
    group.attrs["multiscales"] = [{"datasets": [{"path": "0"}, {"path": "1"}]}]
    chunk = tmp_path / "p.zarr" / "1" / "0.0"
    chunk.write_bytes(BOMBS["blosc"](chunk.read_bytes()))
    with open_large(tmp_path / "p.zarr") as image:
        assert PixelField(image).read(0, 0, 96, 80).shape == (96, 80, 3)
        with pytest.raises(ImageError, match="decodes to at least"):
            PixelField(image, 0.5).read(0, 0, 48, 40)
