"""Photographs with an orientation in their metadata: exports match the commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from latentfm_core.annotation.reading import read_annotation
from latentfm_core.images.decoded import orient, unorient
from latentfm_core.images.read import read_image, read_mask
from tests.helpers.annotating import Window, open_window
from tests.helpers.looks import SHAPE, disc, reviewed
from tests.helpers.plugin_fixtures import disc_image
from tests.plugin.annotation.test_section import export, finish, open_file, press

__all__ = ["finish", "open_window"]

CORNER = (30, 40, 20)


def photograph(path: Path, orientation: int) -> None:
    """Write a picture with a mark in one corner and an EXIF orientation."""
    seen = disc_image(SHAPE if orientation < 5 else SHAPE[::-1], 13)
    seen[:10, :10] = 255
    stored = np.ascontiguousarray(unorient(seen, orientation))
    if path.suffix == ".tif":
        tag = [(274, 3, 1, orientation, True)]
        tifffile.imwrite(path, stored, photometric="rgb", extratags=tag, resolution=(254, 508))
        return
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(stored).save(path, exif=exif, quality=95)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_exports_match_the_orientation_of_the_commands(
    open_window: Callable[..., Window], tmp_path: Path, suffix: str
) -> None:
    window = open_window()
    for orientation in range(1, 9):
        folder = tmp_path / str(orientation)
        folder.mkdir()
        check_export(window, folder / f"photo{suffix}", orientation)


def check_export(window: Window, path: Path, orientation: int) -> None:
    """Write a photograph, and check what is exported next to it and reopened."""
    photograph(path, orientation)
    (layer,) = window.viewer.open(path, plugin="napari")
    assert layer.data.shape[:2] == SHAPE, "napari shows the file as it is stored"
    drawn = disc(*CORNER).astype(np.uint8)
    window.session.show(reviewed(layer, window.viewer, np.stack([drawn] * 3)))
    press(window, "(Shift+M)")
    window.stroke()
    kept = window.layer.data.copy()
    out = path.with_name("mask.png")
    assert export(window, out) == "done"
    mask = read_mask(out)
    assert mask.shape == read_image(path).pixels.shape[:2]
    np.testing.assert_array_equal(mask, orient(kept, orientation) > 0)
    labels, sidecar = read_annotation(out)
    assert sidecar is not None
    assert sidecar.orientation == orientation
    assert sidecar.shape == labels.shape

    window.layer.fill((0, 0), 1)
    assert open_file(window, out) == "done"
    assert "Caution" not in window.section.status.text()
    np.testing.assert_array_equal(window.layer.data, kept)
    out.with_name(f"{out.name}.json").unlink()
    window.layer.fill((0, 0), 1)
    assert open_file(window, out) == "done", "as a mask that another program drew on the file"
    np.testing.assert_array_equal(window.layer.data, kept)


def test_an_already_rotated_photograph_is_not_rotated_again(
    open_window: Callable[..., Window], tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    photograph(path, 3)
    window = open_window()
    (layer,) = window.viewer.open(path, plugin="napari")
    layer.data = read_image(path).pixels
    drawn = disc(*CORNER).astype(np.uint8)
    window.session.show(reviewed(layer, window.viewer, np.stack([drawn] * 3)))
    press(window, "(Shift+M)")
    assert export(window, tmp_path / "mask.png") == "done"
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), drawn > 0)


def test_an_image_without_a_file_is_exported_in_its_displayed_orientation(
    window: Any, tmp_path: Path
) -> None:
    press(window, "(Shift+M)")
    assert export(window, tmp_path / "mask.png") == "done"
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), window.layer.data > 0)


@pytest.fixture
def window(open_window: Callable[..., Window]) -> Window:
    return open_window()


@pytest.mark.parametrize("names", [("A.NII.GZ", "a.Nii.gz", "A.NII"), ("A.TIF", "A.TIFF", "A.PNG")])
def test_upper_case_suffixes_are_the_same_formats(
    window: Any, tmp_path: Path, names: tuple[str, ...]
) -> None:
    if "nii" in names[0].lower():
        pytest.importorskip("nibabel")
    press(window, "(Shift+M)")
    for name in names:
        assert export(window, tmp_path / name) == "done"
        labels, sidecar = read_annotation(tmp_path / name)
        np.testing.assert_array_equal(labels.reshape(window.layer.data.shape), window.layer.data)
        assert sidecar is not None
        packed = (tmp_path / name).read_bytes()[:2] == b"\x1f\x8b"
        assert packed == name.lower().endswith(".gz")


def test_odd_names_are_exported_and_read_back_with_their_provenance(
    window: Any, tmp_path: Path
) -> None:
    press(window, "(Shift+M)")
    for name in ("1:30 visit.tif", "set\\b.png", "line\nbreak.tif", "a\x1bc.tif"):
        assert export(window, tmp_path / name) == "done"
        labels, sidecar = read_annotation(tmp_path / name)
        np.testing.assert_array_equal(labels, window.layer.data)
        assert sidecar is not None


def test_an_impossible_file_name_is_refused(window: Any, tmp_path: Path) -> None:
    press(window, "(Shift+M)")
    for name in ("x" * 251 + ".png", "ä" * 126 + ".tif"):
        window.section.status.clear()
        assert export(window, tmp_path / name) == "failed"
        assert "bytes, and at most" in window.section.status.text()
        assert not list(tmp_path.iterdir())
