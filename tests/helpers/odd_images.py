"""Table of unusual images: one picture in many formats, and files that are not pictures.

The picture is a dark disc on a bright ground whose grey levels fill their range, so that every
way of scaling them gives the same levels. It is `GREY`, or `COLOUR`, as uint8.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageCms

from tests.helpers.pictures import write_png, write_png16
from tests.helpers.plugin_fixtures import disc_image


def _levels() -> np.ndarray:
    red = disc_image((48, 64), 13)[..., 0].astype(float)
    return np.clip((red - 100) / 130, 0, 1)


GREY = np.rint(_levels() * 255).astype(np.uint8)
COLOUR = np.rint(_levels()[..., None] * (255, 220, 200)).astype(np.uint8)
BOOL = GREY > 128
_I = GREY.astype(np.int64)
_RAMP = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)


@dataclass(frozen=True)
class Odd:
    """One row of the table.

    Attributes
    ----------
    name
        What is odd about it; of a file, its name.
    make
        Returns the array, or writes the file.
    same_as
        The picture that it is to be read as, exactly or with the usual loss; or None.
    refused
        Else, what the message has to say.
    """

    name: str
    make: Callable[..., Any]
    same_as: np.ndarray | None = None
    refused: str = ""


def _with(value: float) -> np.ndarray:
    pixels = _levels().astype(np.float32)
    pixels[3, 4:6] = value
    return pixels


def _map(pixels: np.ndarray, folder: Path) -> np.memmap[Any, Any]:
    np.save(folder / "mapped.npy", pixels)
    mapped: np.memmap[Any, Any] = np.load(folder / "mapped.npy", mmap_mode="r")
    return mapped


ARRAYS: tuple[Odd, ...] = (
    Odd("uint8", lambda: GREY, GREY),
    Odd("bool", lambda: BOOL, BOOL.astype(np.uint8) * 255),
    Odd("int8", lambda: (_I - 128).astype(np.int8), GREY),
    Odd("int16, negative", lambda: (_I * 9 - 20000).astype(np.int16), GREY),
    Odd("int32", lambda: (_I * 2**22 - 2**30).astype(np.int32), GREY),
    Odd("int64 below -2^53", lambda: _I - 2**62, GREY),
    Odd("uint16", lambda: GREY.astype(np.uint16) * 257, GREY),
    Odd("uint16 of 12 bits", lambda: GREY.astype(np.uint16) * 16 + 7, GREY),
    Odd("uint32", lambda: GREY.astype(np.uint32) * 2**24, GREY),
    Odd("uint64 above 2^53", lambda: _I.astype(np.uint64) + np.uint64(2**63), GREY),
    Odd("float16", lambda: _levels().astype(np.float16), GREY),
    Odd("float32", lambda: _levels().astype(np.float32), GREY),
    Odd("float64", lambda: _levels(), GREY),
    Odd("longdouble", lambda: _levels().astype(np.longdouble), GREY),
    Odd("float above 1", lambda: (_levels() * 1e4).astype(np.float32), GREY),
    Odd("float below 0", lambda: _levels() - 0.5, GREY),
    Odd("huge float64", lambda: (_levels() - 0.5) * 1.7e308 * 2, GREY),
    Odd("tiny float32", lambda: (_levels() * 1e-38 - 1e-39).astype(np.float32), GREY),
    Odd("big-endian uint16", lambda: (GREY.astype(np.uint16) * 257).astype(">u2"), GREY),
    Odd("big-endian float64", lambda: _levels().astype(">f8"), GREY),
    Odd("Fortran order", lambda: np.asfortranarray(COLOUR), COLOUR),
    Odd("every second pixel", lambda: COLOUR.repeat(2, 0).repeat(2, 1)[::2, ::2], COLOUR),
    Odd("negative strides", lambda: COLOUR[::-1, ::-1].copy()[::-1, ::-1], COLOUR),
    Odd("broadcast channels", lambda: np.broadcast_to(GREY[..., None], (48, 64, 3)), GREY),
    Odd("one channel", lambda: GREY[..., None], GREY),
    Odd("grey and alpha", lambda: np.dstack([GREY, _RAMP]), GREY),
    Odd("RGBA", lambda: np.dstack([COLOUR, _RAMP]), COLOUR),
    Odd(
        "RGBA of NaN alpha", lambda: np.dstack([COLOUR / 255, np.full(GREY.shape, np.nan)]), COLOUR
    ),
    Odd("16-bit RGB", lambda: COLOUR.astype(np.uint16) * 257, COLOUR),
    Odd("float RGB", lambda: COLOUR / np.float32(255), COLOUR),
    Odd("complex", lambda: GREY.astype(complex), refused="complex128 are not grey levels.*Convert"),
    Odd("objects", lambda: GREY.astype(object), refused="object are not grey levels"),
    Odd("dates", lambda: GREY.astype("datetime64[s]"), refused="datetime"),
    Odd("text", lambda: GREY.astype("U3"), refused="U3 are not grey levels"),
    Odd("NaN", lambda: _with(np.nan), refused="2 NaN or infinite values. Replace them"),
    Odd("infinite", lambda: _with(-np.inf), refused="2 NaN or infinite values. Replace them"),
    Odd("all NaN", lambda: np.full((9, 9), np.nan), refused="81 NaN or infinite"),
    Odd("constant", lambda: np.full((9, 9), 7, np.int32), refused="constant.*7.*nothing to segm"),
    Odd("black RGB", lambda: np.zeros((9, 9, 3), np.uint8), refused="constant.*0, 0, 0"),
    Odd("all True", lambda: np.ones((9, 9), bool), refused="constant"),
    Odd("hidden", lambda: np.dstack([np.full((48, 64, 3), 9), _RAMP]), refused="constant"),
    Odd("1 x N", lambda: GREY[:1], refused="1 x 64 pixels is too small"),
    Odd("N x 1", lambda: GREY[:, :1], refused="48 x 1 pixels is too small"),
    Odd("1 x 1", lambda: GREY[:1, :1], refused="1 x 1 pixels is too small"),
    Odd("empty", lambda: GREY[:0], refused="0 x 64 pixels is too small"),
    Odd("no channels", lambda: COLOUR[..., :0], refused="0 channels"),
    Odd("channels first", lambda: np.moveaxis(COLOUR, -1, 0), refused="64 channels.*last axis"),
    Odd("5 channels", lambda: np.dstack([GREY] * 5), refused="5 channels.*1 to 4 channels"),
    Odd("4 dimensions", lambda: COLOUR[None], refused="4 dimensions.*Choose one 2D plane"),
    Odd("1 dimension", lambda: GREY[0], refused="1 dimensions"),
)


def _tiff(path: Path, pixels: np.ndarray | None = None, **options: Any) -> None:
    if pixels is None:
        pixels, options = COLOUR, {"photometric": "rgb", **options}
    tifffile.imwrite(path, pixels, **options)


def _pillow(path: Path, mode: str = "", pixels: np.ndarray = COLOUR, **options: Any) -> None:
    image = Image.fromarray(pixels)
    image = image.convert(mode) if mode else image
    image.save(path, path.suffix[1:].replace("jpg", "jpeg").replace("tif", "tiff"), **options)


def _palette(path: Path, **options: Any) -> None:
    """Write `GREY` as indices into a reversed palette."""
    image = Image.fromarray(255 - GREY, mode="P")
    image.putpalette(np.repeat(np.arange(255, -1, -1, dtype=np.uint8), 3).tobytes())
    image.save(path, **options)


def _turned(path: Path, orientation: int = 6, **options: Any) -> None:
    """Write `COLOUR` rotated, with the matching orientation tag."""
    stored = np.rot90(COLOUR, {6: 1, 8: -1, 3: 2}[orientation]).copy()
    exif = Image.Exif()
    exif[274] = orientation
    _pillow(path, pixels=stored, exif=exif, **options)


def _turned_lzw(path: Path) -> None:
    _pillow(path, pixels=np.rot90(COLOUR).copy(), compression="tiff_lzw", tiffinfo={274: 6})


def _animation(path: Path) -> None:
    frames = [Image.fromarray(frame) for frame in (GREY, 255 - GREY)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def _pages(path: Path, count: int, **options: Any) -> None:
    frames = [Image.fromarray(GREY)] * count
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)


def _with_thumbnail(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(COLOUR, photometric="rgb")
        writer.write(COLOUR[::4, ::4], photometric="rgb", subfiletype=1)


def _lab(path: Path) -> None:
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    image = ImageCms.profileToProfile(Image.fromarray(COLOUR), *profiles, outputMode="LAB")
    if image is not None:
        image.save(path)


def _interlaced(path: Path) -> None:
    """Write an Adam7 PNG (PNG specification, section 8.2)."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    rows = b""
    for top, left, down, right in (*passes, (1, 0, 2, 1)):
        part = COLOUR[top::down, left::right]
        rows += b"".join(b"\0" + row.tobytes() for row in part if row.size)
    write_png(path, (64, 48, 8, 2, 1), zlib.compress(rows))


def _cut(path: Path, share: float = 0.6) -> None:
    stream = io.BytesIO()
    Image.fromarray(COLOUR).save(stream, path.suffix[1:].replace("tif", "tiff"))
    path.write_bytes(stream.getvalue()[: int(stream.tell() * share)])


_SIX = np.stack([GREY] * 6).reshape(2, 3, 48, 64)
_FIVE = np.stack([GREY] * 5)
_STACK = "a stack of planes.*Save one 2D plane.*--stack"
_DAMAGED = "cannot be read as an image.*Replace or remove the file"

FILES: tuple[Odd, ...] = (
    Odd("bit.png", partial(_pillow, pixels=BOOL), BOOL.astype(np.uint8) * 255),
    Odd("bit.tif", partial(_tiff, pixels=BOOL), BOOL.astype(np.uint8) * 255),
    Odd("fax.tif", partial(_pillow, pixels=BOOL, compression="group4"), BOOL * np.uint8(255)),
    Odd("grey alpha.png", partial(_pillow, pixels=np.dstack([GREY, _RAMP])), GREY),
    Odd("rgba.png", partial(_pillow, pixels=np.dstack([COLOUR, _RAMP])), COLOUR),
    Odd("16-bit grey.png", partial(_pillow, pixels=GREY.astype(np.uint16) * 257), GREY),
    Odd("16-bit colour.png", partial(write_png16, pixels=COLOUR.astype(np.uint16) * 257), COLOUR),
    Odd("interlaced.png", _interlaced, COLOUR),
    Odd("palette.png", _palette, GREY),
    Odd("palette see-through.png", partial(_palette, transparency=0), GREY),
    Odd("palette.gif", _palette, GREY),
    Odd("animated.gif", _animation, GREY),
    Odd("palette.tif", _palette, GREY),
    Odd("ycbcr.jpg", partial(_pillow, quality=98), COLOUR),
    Odd("grey.jpg", partial(_pillow, pixels=GREY, quality=98), GREY),
    Odd("cmyk.jpg", partial(_pillow, mode="CMYK", quality=98), COLOUR),
    Odd("progressive.jpg", partial(_pillow, quality=98, progressive=True), COLOUR),
    Odd("turned.jpg", partial(_turned, quality=98), COLOUR),
    Odd("turned.png", partial(_turned, orientation=8), COLOUR),
    Odd("upside down.png", partial(_turned, orientation=3), COLOUR),
    Odd("turned lzw.tif", _turned_lzw, COLOUR),
    Odd("lossless.webp", partial(_pillow, lossless=True), COLOUR),
    Odd("cmyk.tif", partial(_pillow, mode="CMYK"), COLOUR),
    Odd("cmyk lzw.tif", partial(_pillow, mode="CMYK", compression="tiff_lzw"), COLOUR),
    Odd("ycbcr.tif", partial(_pillow, mode="YCbCr"), COLOUR),
    Odd("jpeg inside.tif", partial(_pillow, compression="jpeg", quality=98), COLOUR),
    Odd("lab.tif", _lab, refused=r"L\*a\*b\* colours are not supported. Save it as RGB"),
    Odd("lzw.tif", partial(_pillow, compression="tiff_lzw"), COLOUR),
    Odd("packbits.tif", partial(_pillow, compression="packbits"), COLOUR),
    Odd("zlib.tif", partial(_tiff, compression="zlib"), COLOUR),
    Odd("lzma.tif", partial(_tiff, compression="lzma"), COLOUR),
    Odd("tiled.tif", partial(_tiff, tile=(16, 16), compression="zlib"), COLOUR),
    Odd("predictor.tif", partial(_tiff, compression="zlib", predictor=True), COLOUR),
    Odd("planes.tif", partial(_tiff, pixels=np.moveaxis(COLOUR, -1, 0), photometric="rgb",
        planarconfig="separate"), COLOUR),
    Odd("channels first.tif", partial(_tiff, pixels=np.moveaxis(COLOUR, -1, 0),
        metadata={"axes": "CYX"}, photometric="minisblack"), COLOUR),
    Odd("0 is white.tif", partial(_tiff, pixels=GREY, photometric="miniswhite"), GREY),
    Odd("0 is white lzw.tif", partial(_pillow, pixels=255 - GREY, compression="tiff_lzw",
        tiffinfo={262: 0}), GREY),
    Odd("big.tif", partial(_tiff, bigtiff=True), COLOUR),
    Odd("big-endian.tif", partial(_tiff, pixels=GREY.astype(">u2") * np.uint16(257),
        byteorder=">"), GREY),
    Odd("64 bits.tif", partial(_tiff, pixels=_I.astype(np.uint64) + np.uint64(2**60)), GREY),
    Odd("half floats.tif", partial(_tiff, pixels=_levels().astype(np.float16)), GREY),
    Odd("thumbnail behind.tif", _with_thumbnail, COLOUR),
    Odd("one.ome.tif", partial(_tiff, pixels=np.moveaxis(COLOUR, -1, 0), ome=True,
        metadata={"axes": "CYX"}, photometric="minisblack"), COLOUR),
    Odd("imagej.tif", partial(_tiff, pixels=COLOUR[None, None, None], imagej=True), COLOUR),
    Odd("hyperstack.tif", partial(_tiff, pixels=_SIX, imagej=True, metadata={"axes": "TZYX"}),
        refused=_STACK),
    Odd("pages.tif", partial(_pages, count=5), refused=_STACK),
    Odd("pages lzw.tif", partial(_pages, count=3, compression="tiff_lzw"), refused=_STACK),
    Odd("5 channels.tif", partial(_tiff, pixels=_FIVE, photometric="minisblack",
        metadata={"axes": "CYX"}), refused="5 channels.*--channel 1"),
    Odd("complex.tif", partial(_tiff, pixels=GREY.astype(np.complex64)),
        refused="complex64 are not grey"),
    Odd("nan.tif", lambda path: _tiff(path, _with(np.nan)), refused="2 NaN or infinite values"),
    Odd("flat.png", partial(_pillow, pixels=GREY * 0), refused="constant.*nothing to segment"),
    Odd("line.png", partial(_pillow, pixels=GREY[:1]), refused="1 x 64 pixels is too small"),
    Odd("cut.png", _cut, refused=_DAMAGED),
    Odd("cut.tif", _cut, refused=_DAMAGED),
    Odd("text.png", lambda path: path.write_text("no picture"), refused=_DAMAGED),
    Odd("nothing.tif", lambda path: path.write_bytes(b""), refused=_DAMAGED),
    Odd("array.npy", lambda path: np.save(path, COLOUR), refused=_DAMAGED),
    Odd("käse 切片.png", _pillow, COLOUR),
    Odd("-dash.png", _pillow, COLOUR),
    Odd("line\nbreak.png", _pillow, COLOUR),
)  # fmt: skip
