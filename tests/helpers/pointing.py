"""A window with the Point section, and a mouse that points at pixels of the image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Image
from numpy.typing import NDArray
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from latentfm_core.metrics.overlap import dice
from latentfm_core.prompts.field import extent
from latentfm_core.types import SampleSet
from napari_latentfm.review.panel import ReviewPanel
from napari_latentfm.sampling.panel import SamplingPanel
from tests.helpers.plugin_fixtures import PATIENCE, OpenPanel
from tests.helpers.prompting import two_discs

SHIFT, CTRL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
PLAIN = Qt.KeyboardModifier.NoModifier
LEFT = Qt.MouseButton.LeftButton


class Pointer:
    """Points at the objects of an image in a real window.

    Attributes
    ----------
    viewer, panel, review, layer
        The window, its panels and its image.
    endings
        How runs have ended so far.
    labels
        The labels of the objects in the image of `disc_window`.
    """

    labels: NDArray[Any]

    def __init__(
        self,
        qtbot: Any,
        viewer: Any,
        panel: SamplingPanel,
        model: Path,
        image: NDArray[Any],
        **look: Any,
    ) -> None:
        self.qtbot, self.viewer, self.panel = qtbot, viewer, panel
        self.layer: Image = viewer.add_image(image, name="a", **look)
        panel.form.model.choose(model)
        self.review = ReviewPanel(viewer)
        viewer.window.add_dock_widget(self.review, name="review")
        self.canvas = viewer.__wrapped__.window._qt_viewer.canvas.native
        self.endings: list[str] = []
        panel.finished.connect(self.endings.append)
        with qtbot.waitActive(self.review.window(), timeout=PATIENCE):
            self.review.window().activateWindow()
        viewer.reset_view()

    @property
    def section(self) -> Any:
        return self.review.point.section

    @property
    def status(self) -> str:
        return str(self.section.form.status.text())

    @property
    def states(self) -> dict[int, str]:
        return {row.number: row.state for row in self.section.form.objects.rows}

    def key(self, key: Any, modifier: Any = PLAIN) -> None:
        self.canvas.setFocus()
        self.qtbot.waitUntil(self.canvas.hasFocus, timeout=PATIENCE)
        self.qtbot.keyClick(self.canvas, key, modifier)

    def pixel(self, row: float, column: float) -> QPoint:
        """Return the canvas position of a pixel of the plane on screen."""
        place = np.array(self.layer.world_to_data(self.viewer.dims.point[-self.layer.ndim :]))
        place[-2:] = row - 0.5, column - 0.5
        camera = self.viewer.scene.camera
        away = np.array(self.layer.data_to_world(place))[-2:] - np.array(camera.center)[-2:]
        down, right = away * camera.zoom
        middle: QPoint = self.canvas.rect().center()
        return middle + QPoint(round(right), round(down))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag a box, and wait until the section has read it."""
        first, last = self.pixel(*start), self.pixel(*end)
        QTest.mouseMove(self.canvas, first)
        QApplication.processEvents()
        QTest.mousePress(self.canvas, LEFT, PLAIN, first)
        for step in range(1, 5):
            QTest.mouseMove(self.canvas, first + (last - first) * step / 4)
            QApplication.processEvents()
        QTest.mouseRelease(self.canvas, LEFT, PLAIN, last)
        self.look()

    def click(self, row: float, column: float) -> None:
        QTest.mouseMove(self.canvas, self.pixel(row, column))
        QApplication.processEvents()
        QTest.mouseClick(self.canvas, LEFT, PLAIN, self.pixel(row, column))
        self.look()

    def look(self) -> None:
        self.qtbot.waitUntil(lambda: not self.section._look.is_due, timeout=PATIENCE)

    def box(self, mask: NDArray[Any]) -> None:
        """Draw a box around a mask with the selected tool."""
        found = extent(mask)
        assert found is not None
        self.drag(found[:2], found[2:])

    def answer_box(self, mask: NDArray[Any]) -> None:
        """Draw a box around a mask by key and mouse, and wait for its samples."""
        self.key(Qt.Key.Key_B)
        self.box(mask)
        self.settle()

    def click_on(self, mask: NDArray[Any]) -> None:
        """Click on the middle of a mask, and wait for its samples."""
        rows, columns = np.nonzero(mask)
        self.click(rows.mean(), columns.mean())
        self.settle()

    def settle(self) -> None:
        """Wait until no run is active or pending."""

        def quiet() -> bool:
            timers = (self.section._settle, self.section._stroked, self.section._refresh)
            return not (
                self.section._runner.busy
                or self.panel.running
                or self.panel.job.busy
                or any(timer.isActive() for timer in timers)
            )

        self.qtbot.waitUntil(quiet, timeout=PATIENCE)

    @property
    def samples(self) -> SampleSet:
        """Return the samples under review."""
        reviewed = self.panel._session.current
        assert reviewed is not None
        return reviewed.result.samples

    def shown(self, name: str = "a · mean mask") -> NDArray[Any]:
        return np.squeeze(np.asarray(self.viewer.layers[name].data)) > 0

    def fits(self, mask: NDArray[Any], name: str = "a · mean mask") -> float:
        return float(dice(self.shown(name), mask))

    def annotation(self) -> NDArray[Any]:
        return np.asarray(self.viewer.layers["a · annotation"].data)


Open = Callable[..., Pointer]


@pytest.fixture
def point(qtbot: Any, docked_panel: OpenPanel, promptable_model_folder: Path) -> Open:
    """Return a function that opens a window with an image to point at."""

    def open_window(image: NDArray[Any], **look: Any) -> Pointer:
        viewer, panel = docked_panel(show=True)
        return Pointer(qtbot, viewer, panel, promptable_model_folder, image, **look)

    return open_window


@pytest.fixture
def disc_window(point: Open) -> Pointer:
    """A window with two discs to point at."""
    image, labels = two_discs(np.random.default_rng(21))
    window = point(image, rgb=True)
    window.labels = labels
    return window
