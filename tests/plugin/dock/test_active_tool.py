"""The footer names the active tool, and Escape ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from qtpy.QtCore import Qt

from napari_latentfm.dock.panel import LatentFMPanel
from tests.helpers.plugin_fixtures import PATIENCE, disc_image, run

Open = Callable[..., tuple[Any, LatentFMPanel]]
SHIFT, PLAIN = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.NoModifier


@pytest.fixture
def sampled(opened: Open, qtbot: Any) -> tuple[Any, LatentFMPanel]:
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image(), name="photo")
    assert run(qtbot, panel.sampling) == "done"
    panel.sections["Point"].set_opened(False)
    return viewer, panel


def focus(qtbot: Any, panel: LatentFMPanel, widget: Any) -> None:
    panel.window().activateWindow()
    widget.setFocus()
    qtbot.waitUntil(widget.hasFocus, timeout=PATIENCE)


def test_a_tool_is_shown_while_its_section_is_collapsed(
    sampled: tuple[Any, LatentFMPanel], qtbot: Any
) -> None:
    viewer, panel = sampled
    canvas, footer = viewer.window._qt_viewer.canvas.native, panel.footer
    for key, modifier, name in (
        (Qt.Key.Key_G, PLAIN, "Stroke +"),
        (Qt.Key.Key_G, SHIFT, "Stroke -"),
        (Qt.Key.Key_P, PLAIN, "Point +"),
        (Qt.Key.Key_P, SHIFT, "Point -"),
        (Qt.Key.Key_B, PLAIN, "Box"),
    ):
        assert footer.tool.isHidden()
        focus(qtbot, panel, canvas)
        qtbot.keyClick(canvas, key, modifier)
        assert footer.tool.isVisible()
        assert footer.tool.text().startswith(f"{name} is active")
        assert "Esc" in footer.tool.text()
        qtbot.keyClick(canvas, Qt.Key.Key_Escape)
        assert footer.tool.isHidden()
        assert viewer.layers.selection.active.mode == "pan_zoom"
        assert not any(button.isChecked() for button in panel.point.form.tools.values())
    # Another sign of the same tool is named, too.
    for key in (Qt.Key.Key_P, Qt.Key.Key_G):
        qtbot.keyClick(canvas, key)
        assert " + is active" in footer.tool.text()
        qtbot.keyClick(canvas, key, SHIFT)
        assert " - is active" in footer.tool.text()


def test_the_tool_for_pieces_is_shown(sampled: tuple[Any, LatentFMPanel], qtbot: Any) -> None:
    viewer, panel = sampled
    canvas = viewer.window._qt_viewer.canvas.native
    focus(qtbot, panel, canvas)
    qtbot.keyClick(canvas, Qt.Key.Key_K, SHIFT)
    qtbot.waitUntil(panel.footer.tool.isVisible, timeout=PATIENCE)
    assert "piece" in panel.footer.tool.text()
    qtbot.keyClick(canvas, Qt.Key.Key_Escape)
    assert panel.footer.tool.isHidden()


def test_a_finished_tool_is_no_longer_shown(sampled: tuple[Any, LatentFMPanel], qtbot: Any) -> None:
    """By Escape in the dock, by napari, or with the dock."""
    viewer, panel = sampled
    panel.point.tools.paint()
    assert panel.footer.tool.isVisible()
    widget = panel.review.hypotheses.view.plain_button
    focus(qtbot, panel, widget)
    qtbot.keyClick(widget, Qt.Key.Key_Escape)
    assert panel.footer.tool.isHidden()
    assert viewer.layers.selection.active.mode == "pan_zoom"
    panel.point.tools.paint()
    assert panel.footer.tool.isVisible()
    viewer.layers.selection.active.mode = "pan_zoom"
    assert panel.footer.tool.isHidden()
    panel.point.tools.paint()
    viewer.window.remove_dock_widget(panel)
    assert not viewer.layers.selection.active.keymap
