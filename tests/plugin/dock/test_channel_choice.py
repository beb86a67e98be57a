"""Channels of a stack are chosen by the names in its file, and are not planes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.dock.panel import LatentFMPanel
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.layers.pixels import plane_spacing
from tests.helpers.plugin_fixtures import PATIENCE, disc_image, run

Open = Callable[..., tuple[Any, LatentFMPanel]]
NAMES = ["DAPI", "GFP"]


def write(path: Path, pixels: np.ndarray, axes: str) -> Path:
    channel = {"Name": NAMES, "Color": [65535, 16711935]}
    size = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}
    metadata = {"axes": axes, "Channel": channel, **size}
    tifffile.imwrite(path, pixels, ome=True, metadata=metadata)
    return path


def names(panel: LatentFMPanel) -> list[str]:
    box = panel.header.channel.box
    return [box.itemText(place) for place in range(box.count())]


def test_a_channel_is_chosen_by_name_and_segmented(
    opened: Open, tmp_path: Path, qtbot: Any
) -> None:
    viewer, panel = opened(show=True)
    disc = disc_image()[..., 0]
    path = write(tmp_path / "cells.ome.tif", np.stack([np.roll(disc, 9, 1), disc]), "CYX")
    viewer.open(str(path), plugin="napari")
    channel = panel.header.channel
    qtbot.waitUntil(channel.isVisible, timeout=PATIENCE)
    assert names(panel) == NAMES
    assert not channel.box.itemIcon(1).isNull()
    choice = panel.sampling.form.plane_choice
    assert not choice.planes.native.isVisible(), "channels are not planes"
    channel.box.setFocus()
    qtbot.keyClick(channel.box, Qt.Key.Key_Down)
    assert viewer.dims.current_step[0] == 1
    viewer.dims.set_current_step(0, 0)
    assert channel.box.currentText() == "DAPI"
    viewer.dims.set_current_step(0, 1)
    assert run(qtbot, panel.sampling) == "done"
    current = panel.session.current
    assert current is not None
    assert current.plane.index == (1, None, None)
    # napari's reader drops the pixel size.
    layer = current.layer
    assert tuple(layer.scale) == (1, 1, 1)
    assert plane_spacing(layer, current.plane) == ((0.5, 0.25), "µm")
    annotation = annotation_of(panel.session)
    assert annotation is not None
    annotation.data_setitem((np.ones(8, int), np.arange(8), np.ones(8, int)), 1)
    panel.review.hypotheses.view.look.hide_proposals()
    status = panel.sampling.form.status
    qtbot.waitUntil(lambda: "of the image, 1 µm²." in status.value, timeout=PATIENCE)
    origin = record_of(annotation).origin
    assert origin is not None
    assert origin.space.spacing == (1, 0.5, 0.25)
    assert origin.space.units == ("pixel", "micrometer", "micrometer")
    # A size that the user has set is not replaced.
    layer.scale = (1, 2, 2)
    assert plane_spacing(layer, current.plane) == ((2, 2), "units")
    viewer.add_image(disc_image(), name="photo")
    assert not channel.isVisible()


@pytest.mark.styled
def test_planes_of_a_stack_are_offered_without_its_channels(
    opened: Open, tmp_path: Path, qtbot: Any
) -> None:
    viewer, panel = opened(show=True)
    disc = disc_image()[..., 0]
    path = write(tmp_path / "cells.ome.tif", np.stack([[disc, disc]] * 3), "ZCYX")
    viewer.open(str(path), plugin="napari")
    qtbot.waitUntil(panel.header.channel.isVisible, timeout=PATIENCE)
    choice = panel.sampling.form.plane_choice
    labels = [each for each in panel.header.findChildren(QLabel) if each.isVisible()]
    assert "Axes" in [each.text() for each in labels]
    assert not [each.text() for each in labels if each.width() < each.sizeHint().width()]
    assert choice.planes.choices == ("current", "0")
    assert choice.axes.choices == ("on screen", "2,3", "0,3", "0,2")
    qtbot.keyClick(panel.header.channel.box, Qt.Key.Key_Down)
    choice.planes.value = "0"
    assert run(qtbot, panel.sampling) == "done"
    stack = panel.session.stack
    assert stack is not None
    assert stack.planes.index == (None, 1, None, None)
    # What is accepted is said for all planes.
    annotation = annotation_of(panel.session)
    assert annotation is not None
    annotation.data_setitem((np.arange(3), np.ones(3, int), np.zeros(3, int), np.zeros(3, int)), 1)
    panel.accept()
    assert "accepted, 3 pixels on 3 planes" in panel.footer.message.text()
