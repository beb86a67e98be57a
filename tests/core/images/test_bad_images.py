"""Files and arrays that are no images, and folders of files."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from latentfm_core.errors import DatasetError, ImageError
from latentfm_core.images.read import check_pixels, list_images, read_image, read_mask, to_rgb
from latentfm_core.types import ImageInput
from tests.helpers.pictures import rgb, save

__all__ = ["rgb"]


# --- read_image: bad files -------------------------------------------------------------------


@pytest.mark.parametrize(
    "suffix", [".png", ".jpg", ".webp", ".bmp", ".gif", ".tif", ".ppm", ".jp2"]
)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
def test_truncated_files_are_errors_not_half_pictures(tmp_path, rgb, suffix, kept):
    path = save(tmp_path / f"cut{suffix}", rgb)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ImageError, match=r"cut\."):
        read_image(path)
    with pytest.raises(ImageError, match=r"cut\."):
        read_mask(path, threshold=100)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_truncated_tiffs(tmp_path, rgb, compression, kept):
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, rgb, compression=compression, rowsperstrip=8)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ImageError, match=r"cut\.tif"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("content", [b"", b"this is text, no picture", bytes(500)])
def test_files_that_are_not_images_are_refused(tmp_path, suffix, content):
    path = tmp_path / f"odd{suffix}"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"odd\..*cannot be read"):
        read_image(path)


def test_missing_file(tmp_path):
    with pytest.raises(ImageError, match=r"nowhere\.png.*no such file"):
        read_image(tmp_path / "nowhere.png")


def test_bad_content_names_the_file(tmp_path):
    path = tmp_path / "flat.png"
    save(path, np.full((20, 20), 7, np.uint8))
    with pytest.raises(ImageError, match=r"flat\.png.*constant.*7"):
        read_image(path)


# --- check_pixels ------------------------------------------------------------------------------


def bad_arrays() -> list[tuple[np.ndarray, str]]:
    good = np.random.default_rng(0).random((20, 30))
    nan, inf = good.copy(), good.copy()
    nan[3, 4] = np.nan
    inf[0, :2] = [np.inf, -np.inf]
    red = np.zeros((20, 30, 3), np.uint8)
    red[..., 0] = 255
    hidden = np.full((20, 30, 4), 9, np.uint8)
    hidden[..., 3] = np.arange(30)
    return [
        (nan, "1 NaN or infinite"),
        (inf, "2 NaN or infinite"),
        (np.zeros((20, 30), np.uint8), "constant"),
        (np.ones((20, 30), bool), "constant"),
        (red, "constant.*255, 0, 0"),
        (hidden, "constant"),
        (np.zeros((1, 1), np.uint8), "too small"),
        (np.arange(50.0).reshape(1, 50), "too small"),
        (np.arange(50.0).reshape(50, 1), "too small"),
        (np.zeros((0, 5)), "too small"),
        (np.arange(600.0).reshape(10, 12, 5), "5 channels"),
        (np.arange(360.0).reshape(3, 10, 12), "12 channels"),
        (np.arange(720.0).reshape(2, 3, 10, 12), "4 dimensions"),
        (np.arange(20.0), "1 dimensions"),
        (good.astype(complex), "complex"),
        (good.astype(object), "object"),
        (good.astype("datetime64[s]"), "datetime"),
    ]


@pytest.mark.parametrize(("pixels", "reason"), bad_arrays())
def test_unusable_arrays_are_refused_by_name(pixels, reason):
    image = ImageInput(pixels, name="layer 1")
    for function in (check_pixels, to_rgb):
        with pytest.raises(ImageError, match=f"layer 1: .*{reason}"):
            function(image)


def test_one_different_pixel_at_the_end_makes_an_image_not_constant():
    pixels = np.full((200, 30, 3), 7, np.uint8)
    pixels[-1, -1, 2] = 8
    check_pixels(ImageInput(pixels))


# --- folders --------------------------------------------------------------------------------


def test_list_images_sorts_and_skips_other_files(tmp_path, rgb):
    for name in ("b.png", "a.JPG", "c.tiff", ".hidden.png"):
        save(tmp_path / name, rgb)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.JPG", "b.png", "c.tiff"]


def test_list_images_of_nothing(tmp_path):
    with pytest.raises(DatasetError, match="holds no images"):
        list_images(tmp_path)
    with pytest.raises(DatasetError, match="is not a folder"):
        list_images(tmp_path / "nowhere")
