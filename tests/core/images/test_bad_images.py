"""Files and arrays that are not images, and folders of files."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from latentfm_core.errors import DatasetError, ImageError
from latentfm_core.images.read import check_pixels, list_images, read_image, read_mask
from latentfm_core.types import ImageInput
from tests.helpers.pictures import rgb, save

__all__ = ["rgb"]


# --- read_image: bad files -------------------------------------------------------------------


@pytest.mark.parametrize(
    "suffix", [".png", ".jpg", ".webp", ".bmp", ".gif", ".tif", ".ppm", ".jp2"]
)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
def test_truncated_files_are_errors_and_not_partial_images(tmp_path, rgb, suffix, kept):
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


# --- check_pixels ------------------------------------------------------------------------------


def test_a_single_different_pixel_at_the_end_is_not_constant():
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


def test_list_images_of_an_empty_folder(tmp_path):
    with pytest.raises(DatasetError, match="has no images"):
        list_images(tmp_path)
    with pytest.raises(DatasetError, match="is not a folder"):
        list_images(tmp_path / "nowhere")
