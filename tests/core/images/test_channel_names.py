"""Channel names and colours of OME and ImageJ files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from latentfm_core.images.channel_names import Channel, read_channel_axis

STACK = np.arange(2 * 3 * 8 * 9, dtype=np.uint16).reshape(2, 3, 8, 9)
GREEN, RED = 0x00FF00FF, -16776961
"""Colours of OME: red, green, blue and alpha in a signed 32-bit integer."""


def write_ome(path: Path, pixels: np.ndarray, axes: str, **channel: object) -> Path:
    tifffile.imwrite(path, pixels, ome=True, metadata={"axes": axes, "Channel": channel})
    return path


def test_ome_names_and_colours(tmp_path: Path) -> None:
    path = write_ome(
        tmp_path / "a.ome.tif",
        STACK,
        "ZCYX",
        Name=["DAPI", "GFP", "µ-TOM"],
        Color=[255, GREEN, RED],
    )
    found = read_channel_axis(path)
    assert found is not None
    assert (found.axis, found.shape) == (1, STACK.shape)
    assert found.channels == (
        Channel("DAPI", "#000000"),
        Channel("GFP", "#00ff00"),
        Channel("µ-TOM", "#ff0000"),
    )


def test_channels_without_names_are_numbered(tmp_path: Path) -> None:
    path = write_ome(tmp_path / "a.ome.tif", STACK, "ZCYX", Name=["DAPI", "", ""])
    found = read_channel_axis(path)
    assert found is not None
    assert [each.name for each in found.channels] == ["DAPI", "channel 2", "channel 3"]


def test_imagej_labels(tmp_path: Path) -> None:
    path, labels = tmp_path / "a.tif", ["nuclei", "actin", "tubulin", "x", "y", "z"]
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZCYX", "Labels": labels})
    found = read_channel_axis(path)
    assert found is not None
    assert [each.name for each in found.channels] == ["nuclei", "actin", "tubulin"]


@pytest.mark.parametrize("axes", ["TZYX", "QZYX"])
def test_other_axes_are_not_channels(tmp_path: Path, axes: str) -> None:
    assert read_channel_axis(write_ome(tmp_path / "a.ome.tif", STACK, axes)) is None


def test_rgb_components_are_not_channels(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((4, 9, 8, 3), np.uint8), ome=True, metadata={"axes": "ZYXS"})
    assert read_channel_axis(path) is None


def test_an_unreadable_file_has_no_channels(tmp_path: Path) -> None:
    path = write_ome(tmp_path / "a.ome.tif", STACK, "ZCYX")
    path.write_bytes(path.read_bytes()[:300])
    assert read_channel_axis(path) is None
    assert read_channel_axis(tmp_path / "missing.tif") is None
    (tmp_path / "text.tif").write_text("no TIFF")
    assert read_channel_axis(tmp_path / "text.tif") is None
