"""The dock: contents, memory, keyboard and mouse."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from app_model.types import KeyBinding
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QTimer, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import (
    QApplication,
    QLineEdit,
    QPushButton,
    QStyle,
    QStyleOptionComboBox,
    QWidget,
)

from latentfm_core.model_io.bundled import bundled_models, resolve_model
from latentfm_core.model_io.card import read_card
from napari_latentfm import preferences
from napari_latentfm.dock.annotate_tab import COMPARE, SECTION
from napari_latentfm.dock.entries import open_dock
from napari_latentfm.dock.header import ADVANCED
from napari_latentfm.dock.keys import KeySheet
from napari_latentfm.dock.panel import LatentFMPanel
from napari_latentfm.dock.welcome import Welcome
from tests.helpers.plugin_fixtures import (
    PATIENCE,
    disc_image,
    gate,
    met_by_tab,
    run,
    shown_errors,
)
from tests.plugin.ui.test_controls import controls

pytestmark = pytest.mark.styled

Open = Callable[..., tuple[Any, LatentFMPanel]]
PLAIN = Qt.KeyboardModifier.NoModifier


def test_collapsed_and_dismissed_state_is_remembered(
    make_napari_viewer: Any, opened: Open, qtbot: Any
) -> None:
    viewer, panel = opened(show=True)
    viewer.window.resize(1280, 720)
    form = panel.sampling.form
    assert not form.seed.native.isVisible(), "few choices at first"
    assert form.model.box.isVisible()
    (welcome,) = panel.findChildren(Welcome)
    assert welcome.isVisible()
    footer = panel.footer
    # Laid out for its width.
    qtbot.waitUntil(
        lambda: footer.height() == footer.heightForWidth(footer.width()), timeout=PATIENCE
    )
    buttons = [panel.help, form.run_button.native, panel.footer.accept, panel.footer.export]
    places = [each.mapTo(panel, QPoint(0, 0)) for each in buttons]
    qtbot.mouseClick(welcome.close_button, Qt.MouseButton.LeftButton)
    assert not welcome.isVisible()
    footer.show_kept("Autosaved 20:00")
    QApplication.processEvents()
    assert [each.mapTo(panel, QPoint(0, 0)) for each in buttons] == places, "nothing moves"
    qtbot.mouseClick(panel.sections[ADVANCED].header, Qt.MouseButton.LeftButton)
    assert form.seed.native.isVisible()
    panel.sections[COMPARE].set_opened(False)
    other = open_dock(make_napari_viewer(show=True))
    assert not other.findChildren(Welcome)
    assert other.sampling.form.seed.native.isVisible()
    assert not other.review.hypotheses.isVisible()
    assert set(preferences.get(SECTION)) == {"welcome", "opened"}


def test_one_button_cancels_any_run(opened: Open, qtbot: Any) -> None:
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image(), name="photo")
    assert run(qtbot, panel.sampling) == "done"
    for section in panel.sections.values():
        section.set_opened(True)
    buttons = panel.annotate.findChildren(QPushButton)
    (cancel,) = [each for each in buttons if each.text() == "Cancel" and each.isVisible()]
    assert not cancel.isEnabled()
    endings: list[str] = []
    panel.review.strokes.finished.connect(endings.append)
    # Samples that follow a stroke, and wait for the test.
    slow = gate(panel.sampling)
    panel.sampling.job.unload()
    panel.review.strokes.follow.setChecked(False)  # the button alone starts the run
    panel.review.strokes.paint_foreground()
    viewer.layers["photo · strokes"].paint((30, 30), 2)
    panel.review.strokes.redraw()
    bar = panel.sampling.form.progress.native
    assert bar.text() == "Starting…", "the header does not show the end of the previous run"
    qtbot.waitUntil(cancel.isEnabled, timeout=PATIENCE)
    slow.allow(1)
    qtbot.waitUntil(lambda: bar.text().startswith("Sampling "), timeout=PATIENCE)
    panel.queue.settled.emit("done")
    assert bar.text().startswith("Sampling ")
    assert cancel.isEnabled(), "an image of the list that is ready ends only its own work"
    qtbot.mouseClick(cancel, Qt.MouseButton.LeftButton)
    slow.allow(50)
    qtbot.waitUntil(lambda: endings == ["cancelled"], timeout=PATIENCE)
    qtbot.waitUntil(lambda: not cancel.isEnabled(), timeout=PATIENCE)
    assert bar.text() == "", "nothing runs"


@pytest.mark.usefixtures("forget_notifications")
def test_strokes_painted_during_a_run_are_followed_after_it(opened: Open, qtbot: Any) -> None:
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image(), name="photo")
    assert run(qtbot, panel.sampling) == "done"
    strokes = panel.review.strokes
    strokes.paint_foreground()
    slow = gate(panel.sampling)
    panel.sampling.job.unload()
    endings: list[str] = []
    strokes.finished.connect(endings.append)
    panel.run_model()
    pauses: list[bool] = []
    strokes.watch.paused.connect(lambda: pauses.append(panel.sampling.running))
    viewer.layers["photo · strokes"].paint((30, 30), 2)
    qtbot.waitUntil(lambda: pauses[:2] == [True, True], timeout=PATIENCE)
    slow.allow(500)
    qtbot.waitUntil(lambda: endings == ["done"], timeout=PATIENCE)
    assert shown_errors() == []


def test_titles_of_models_and_columns_fit_a_narrow_dock(opened: Open, qtbot: Any) -> None:
    viewer, panel = opened(show=True)
    viewer.window.resize(1280, 720)
    panel.sections["Uncertain regions"].set_opened(True)
    for page, box in (
        (panel.annotate, panel.sampling.form.model.box),
        (panel.queue, panel.queue.form.model.box),
        (panel.learning, panel.learning.form.model.box),
    ):
        panel.tabs.setCurrentWidget(page)
        QApplication.processEvents()
        option = QStyleOptionComboBox()
        box.initStyleOption(option)
        part = QStyle.SubControl.SC_ComboBoxEditField
        kind = QStyle.ComplexControl.CC_ComboBox
        room = box.style().subControlRect(kind, option, part, box).width()
        for place in range(box.count()):
            assert box.fontMetrics().horizontalAdvance(box.itemText(place)) <= room
    for page, table in (
        (panel.annotate, panel.review.regions.table),
        (panel.queue, panel.queue.form.table),
    ):
        panel.tabs.setCurrentWidget(page)
        QApplication.processEvents()
        header = table.horizontalHeader()
        for column in range(header.count()):
            assert header.sectionSizeHint(column) <= header.sectionSize(column), column
        assert header.length() <= table.viewport().width()


def test_the_work_list_shows_the_title_of_the_model_in_the_header(opened: Open) -> None:
    _, panel = opened()
    head, folder = panel.sampling.form, panel.queue.form
    assert folder.source() == head.model_source()
    assert folder.n_samples.value() == 3
    head.model.choose("isic2018")
    head.n_samples.value = 7
    assert (folder.source(), folder.n_samples.value()) == ("isic2018", 7)
    assert panel.footer.accept_empty.text() == "No lesion"
    folder.model.box.setCurrentIndex(folder.model.box.findData("generalist"))
    folder.n_samples.setValue(5)
    assert (head.model.source(), head.n_samples.value) == ("generalist", 5)
    assert panel.footer.accept_empty.text() == "No object"
    boxes = (head.model.box, folder.model.box, panel.learning.form.model.box)
    titles = [read_card(resolve_model(name)).title for name in bundled_models()]
    for box in boxes:
        assert [box.itemText(place) for place in range(len(titles))] == titles
    head.model.choose("isic2018")
    assert head.model_source() == "isic2018"
    panel.learning.form.model.box.setCurrentIndex(
        panel.learning.form.model.box.findData("cvc_clinicdb")
    )
    assert panel.learning.form.model.source() == "cvc_clinicdb"
    # A field that differs is named while it is folded.
    head.field.value = "current view"
    assert panel.sections[ADVANCED].header.text() == "Advanced: current view"
    head.field.value = "whole image"
    assert panel.sections[ADVANCED].header.text() == "Advanced"


def drop(widget: QWidget, path: Path, keys: Qt.KeyboardModifier = PLAIN) -> bool:
    """Drop a path onto a widget; return whether it was taken."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    action, button = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton
    enter = QDragEnterEvent(QPoint(20, 20), action, mime, button, keys)
    enter.ignore()
    QApplication.sendEvent(widget, enter)
    if not enter.isAccepted():
        return False
    QApplication.sendEvent(widget, QDropEvent(QPointF(20, 20), action, mime, button, keys))
    return True


def test_a_dropped_folder_becomes_the_work_list(opened: Open, images: Path, qtbot: Any) -> None:
    viewer, panel = opened(show=True)
    panel.tabs.setCurrentWidget(panel.learning)
    assert not drop(panel, images), "its lines take folders themselves"
    panel.tabs.setCurrentWidget(panel.queue)
    assert not drop(panel, images / "blob_000.png")
    shown: list[str] = []
    panel.queue.shown.connect(shown.append)
    assert drop(panel, images)
    qtbot.waitUntil(lambda: shown == ["blob_000.png"], timeout=PATIENCE)
    assert panel.queue.work is not None
    assert panel.tabs.tabText(panel.tabs.currentIndex()) == "Annotate"
    assert "blob_000" in [layer.name for layer in viewer.layers]
    lines = [*panel.queue.findChildren(QLineEdit), panel.footer.note]
    assert not any(line.acceptDrops() for line in lines)


def test_a_folder_of_images_dropped_on_the_canvas_becomes_the_work_list(
    opened: Open, images: Path, tmp_path: Path, qtbot: Any
) -> None:
    viewer, panel = opened(show=True)
    canvas = viewer.window._qt_viewer.canvas.native
    shown: list[str] = []
    panel.queue.shown.connect(shown.append)
    panel.tabs.setCurrentWidget(panel.queue)
    assert drop(canvas, images)
    qtbot.waitUntil(lambda: shown == ["blob_000.png"], timeout=PATIENCE)
    assert viewer.layers[0].name == "blob_000"
    assert panel.tabs.tabText(panel.tabs.currentIndex()) == "Annotate"


def test_drops_that_are_not_work_lists_go_to_napari(
    opened: Open, images: Path, tmp_path: Path, qtbot: Any
) -> None:
    viewer, panel = opened(show=True)
    canvas = viewer.window._qt_viewer.canvas.native
    without_images = tmp_path / "array.zarr"
    without_images.mkdir()
    asked: list[str] = []

    def close_question() -> None:
        # Without its own readers, as here, napari asks which one to use.
        dialog = QApplication.activeModalWidget()
        if dialog is not None:
            asked.append(type(dialog).__name__)
            dialog.close()

    timer = QTimer()
    timer.timeout.connect(close_question)
    timer.start(50)
    shift = Qt.KeyboardModifier.ShiftModifier
    for path, keys in ((images / "blob_001.png", PLAIN), (images, shift), (without_images, PLAIN)):
        asked.clear()
        viewer.layers.clear()
        drop(canvas, path, keys)
        assert asked or viewer.layers
        assert panel.queue.work is None
    timer.stop()


def test_the_sheet_lists_every_key_and_a_hidden_dock_releases_them(
    opened: Open, qtbot: Any
) -> None:
    viewer, panel = opened(show=True)
    qtbot.mouseClick(panel.help, Qt.MouseButton.LeftButton)
    (sheet,) = panel.findChildren(KeySheet)
    assert sheet.isVisible()
    of_layers = {"Escape", "Ctrl+Z", "Ctrl+Shift+Z"}
    bound = {str(key) for key in viewer.keymap} | of_layers
    named = {str(KeyBinding.from_str(k.replace("+", "-"))) for k in sheet.texts if k != "?"}
    assert named == bound
    assert all(text.endswith(".") and text[0].isupper() for text in sheet.texts.values())
    assert "Run" in sheet.texts["Ctrl+R"]
    sheet.close()
    # A hidden dock has no keys.
    keys = set(viewer.keymap)
    assert keys
    dock = panel.parentWidget()
    dock.close()
    assert not viewer.keymap
    dock.show()
    assert set(viewer.keymap) == keys


def test_escape_closes_the_sheet_and_nothing_else(opened: Open, qtbot: Any) -> None:
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image(), name="photo")
    assert run(qtbot, panel.sampling) == "done"
    canvas = viewer.window._qt_viewer.canvas.native
    panel.window().activateWindow()
    canvas.setFocus()
    qtbot.waitUntil(canvas.hasFocus, timeout=PATIENCE)
    qtbot.keyClick(canvas, Qt.Key.Key_G)
    tool = panel.footer.tool.text()
    assert tool
    slow = gate(panel.sampling)
    panel.sampling.job.unload()
    panel.run_model()
    for _ in range(2):
        qtbot.keyClick(canvas, "?")
        qtbot.mouseClick(panel.help, Qt.MouseButton.LeftButton)
        (sheet,) = panel.findChildren(KeySheet)
        qtbot.waitUntil(sheet.isActiveWindow, timeout=PATIENCE)
        qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Escape)
        qtbot.waitUntil(lambda: not panel.findChildren(KeySheet), timeout=PATIENCE)
        assert panel.sampling.running
        assert panel.footer.tool.text() == tool
    slow.allow(50)
    qtbot.waitUntil(lambda: not panel.sampling.running, timeout=PATIENCE)


def test_every_control_has_an_explanation(opened: Open) -> None:
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image()[..., 0], name="photo")
    for section in panel.sections.values():
        section.set_opened(True)
    found = controls(panel)
    assert len(found) > 60
    silent = []
    for control in found:
        above: QWidget | None = control
        while above is not None and above is not panel and not above.toolTip():
            above = above.parentWidget()
        if above is panel:
            silent.append(control)
    assert not silent, [(w, getattr(w, "text", str)()) for w in silent]
    assert all(panel.tabs.tabToolTip(place) for place in range(panel.tabs.count()))
    planes = panel.sampling.form.plane_choice.planes.native
    assert not planes.isVisible()
    viewer.add_image(disc_image()[None, ..., 0].repeat(3, 0), name="stack")
    assert planes.isVisible(), "planes are asked for stacks only"


def test_a_key_in_use_elsewhere_is_reported(make_napari_viewer: Any, qtbot: Any) -> None:
    viewer = make_napari_viewer(show=True)
    pressed: list[str] = []
    viewer.bind_key("H", lambda _viewer: pressed.append("mine"))
    panel = open_dock(viewer)
    panel.show_keys()
    (sheet,) = panel.findChildren(KeySheet)
    assert "used by something else" in sheet.texts["H"]
    assert "used by something else" not in sheet.texts["Shift+H"]
    viewer.window.remove_dock_widget(panel)
    assert [str(key) for key in viewer.keymap] == ["H"]


def test_ctrl_r_runs_until_done(opened: Open, qtbot: Any) -> None:
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image(), name="photo")
    assert "Ctrl+R" in panel.sampling.form.run_button.tooltip
    bar = panel.sampling.form.progress.native
    assert bar.text() == ""
    endings: list[str] = []
    panel.sampling.finished.connect(endings.append)
    canvas = viewer.window._qt_viewer.canvas.native
    qtbot.keyClick(canvas, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: endings == ["done"], timeout=PATIENCE)
    assert (bar.value(), bar.maximum(), bar.text()) == (1, 1, "done")
    assert "photo" in panel.header.status.text()


def test_f6_moves_focus_between_image_and_dock(opened: Open, qtbot: Any) -> None:
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image(), name="photo")  # without an image there is nothing to accept
    canvas = viewer.window._qt_viewer.canvas.native
    panel.window().activateWindow()
    canvas.setFocus()
    qtbot.waitUntil(canvas.hasFocus, timeout=PATIENCE)
    qtbot.keyClick(canvas, Qt.Key.Key_F6)
    assert panel.tabs.tabBar().hasFocus()
    accept = panel.footer.accept
    accept.setFocus()
    qtbot.keyClick(accept, Qt.Key.Key_F6)
    assert canvas.hasFocus()
    qtbot.keyClick(canvas, Qt.Key.Key_F6)
    assert accept.hasFocus(), "where it was last"


def test_each_brush_is_listed_once(opened: Open, qtbot: Any, coloured_model_folder: Path) -> None:
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image(), name="photo")
    section = panel.sections["Point"]
    section.set_opened(True)

    def brushes() -> list[str]:
        texts = [each.text() for each in section.findChildren(QPushButton) if each.isVisible()]
        return [text for text in texts if "Stroke" in text or "Certain" in text]

    assert run(qtbot, panel.sampling) == "done"
    assert brushes() == ["Stroke + (G)", "Stroke - (Shift+G)"]
    panel.sampling.form.model.choose(coloured_model_folder)
    assert run(qtbot, panel.sampling) == "done"
    assert [text.split()[0] for text in brushes()] == ["Stroke", "Stroke", "Certain", "Certain"]
    assert "Certain background (Shift+G)" not in brushes()


def test_tab_moves_down_the_dock(opened: Open, qtbot: Any) -> None:
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image(), name="photo")
    form = panel.sampling.form
    wanted = [
        form.image.native,
        form.model.box,
        form.n_samples.native,
        form.run_button.native,
        panel.sections[ADVANCED].header,
        panel.sections["Point"].header,
        panel.sections[COMPARE].header,
        panel.sections["Annotation"].header,
        panel.footer.accept,
        panel.footer.accept_empty,
        panel.footer.note,
        panel.footer.flag,
        panel.footer.export,
    ]
    assert met_by_tab(wanted) == wanted
    assert ":focus" in panel.styleSheet()


def bottom(widget: QWidget, column: QWidget) -> int:
    return widget.mapTo(column, QPoint(0, widget.height())).y()


def test_tab_reaches_every_control_and_shows_where_it_is(opened: Open, qtbot: Any) -> None:
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image(), name="photo")
    viewer.window.resize(1280, 720)
    assert run(qtbot, panel.sampling) == "done"
    qtbot.waitUntil(lambda: bool(panel.review.hypotheses.hypotheses), timeout=PATIENCE)
    panel.review.hypotheses.next()
    for section in panel.sections.values():
        section.set_opened(True)
    panel.footer.warn("Something went wrong.")
    tabs = panel.tabs
    assert [tabs.tabText(place) for place in range(tabs.count())] == ["Annotate", "Folder", "Learn"]
    for place in range(tabs.count()):
        tabs.setCurrentIndex(place)
        walk_by_tab(qtbot, panel)


def walk_by_tab(qtbot: Any, panel: LatentFMPanel) -> None:
    """Check that Tab reaches all controls of the current tab, from top to bottom."""
    tabs = panel.tabs
    wanted = {
        each
        for part in (tabs.currentWidget(), panel._notices, panel.footer)
        for each in controls(part)
        if each.isVisible() and each.isEnabled() and each.focusPolicy() & Qt.FocusPolicy.TabFocus
    }
    window = panel.window()
    window.activateWindow()
    tabs.tabBar().setFocus()
    qtbot.waitUntil(tabs.tabBar().hasFocus, timeout=PATIENCE)
    met: list[QWidget] = []
    unseen = []
    while not wanted <= set(met) and len(met) < 2 * len(wanted) + 40:
        here = QApplication.focusWidget()
        assert here is not None
        focused = here.grab().toImage()
        qtbot.keyClick(here, Qt.Key.Key_Tab)
        assert not here.hasFocus(), f"{here} keeps Tab for itself"
        if panel.isAncestorOf(here) and here.grab().toImage() == focused:
            unseen.append(here)
        met.append(here)
    missing = wanted - set(met)
    assert not missing, [(each, getattr(each, "text", str)()) for each in missing]
    assert not unseen, [(each, getattr(each, "text", str)()) for each in unseen]
    column = panel.annotate.area.widget()
    upwards = [
        (getattr(above, "text", str)(), getattr(below, "text", str)())
        for above, below in pairwise([each for each in met if column.isAncestorOf(each)])
        if bottom(below, column) <= bottom(above, column) - above.height()
    ]
    assert not upwards


def test_an_expanded_section_scrolls_into_view(opened: Open, qtbot: Any) -> None:
    viewer, panel = opened(show=True)
    viewer.window._qt_window.resize(1024, 700)
    area, fix = panel.annotate.area, panel.sections["Fix"]
    panel.annotate.show_top()

    def beginning_and_end() -> tuple[int, int]:
        top = fix.mapTo(area.viewport(), fix.rect().topLeft()).y()
        return top, top + fix.height()

    qtbot.mouseClick(fix.header, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: fix.height() > 100, timeout=PATIENCE)

    def is_in_view() -> bool:
        top, bottom = beginning_and_end()
        return top >= 0 and (bottom <= area.viewport().height() or top == 0)

    qtbot.waitUntil(is_in_view, timeout=PATIENCE)


def test_header_and_footer_stay_visible_with_any_section_expanded(opened: Open, qtbot: Any) -> None:
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image(), name="photo")
    assert run(qtbot, panel.sampling) == "done"
    for section in panel.sections.values():
        section.set_opened(True)
    for size in ((1280, 720), (1024, 768)):
        viewer.window.resize(*size)
        QApplication.processEvents()
        check_layout(qtbot, panel, size)
    for title, section in panel.sections.items():
        section.set_opened(title == "Point")
    check_notices(qtbot, panel)


def is_seen(widget: QWidget) -> bool:
    return widget.visibleRegion().boundingRect().size() == widget.size()


def check_notices(qtbot: Any, panel: LatentFMPanel) -> None:
    """Check what is in view with more and more notices, also in a low window."""
    footer, area, window = panel.footer, panel._notices, panel.window()
    stay = [footer.accept, footer.export, panel.sampling.form.run_button.native]
    (welcome,) = panel.findChildren(Welcome)

    def in_view(*notices: QWidget, scrolls: bool = False) -> None:
        seen = [*stay, *notices]
        qtbot.waitUntil(lambda: all(map(is_seen, seen)), timeout=8000)
        qtbot.waitUntil(lambda: area.verticalScrollBar().isVisible() is scrolls, timeout=8000)

    for size in ((1280, 720), (853, 480)):
        window.resize(*size)
        footer.clear()
        footer.show_tool("")
        welcome.show()
        in_view(welcome)
        welcome.hide()
        footer.show_message("blob_000.png is done, 1 of 3.")
        in_view(footer.message)
        footer.warn("photo: This image is unlike those that the model was trained on. " * 2)
        panel.sections["Point"].set_opened(False)
        panel.sections["Point"].set_opened(True)
        panel.point.form.tools["box"].click()
        in_view(footer.notice, footer.message, footer.tool)
    footer.warn("photo: This image is unlike others. Check it. " * 3)
    bar = panel._left.marks.bar
    bar.show_question("2 objects on photo, marked 14:03, were not taken. " * 2)
    footer.show_tool("Point + is active: click in the object. Esc ends the tool.")
    footer.show_message("The new box replaced that of object 1; Ctrl+Z restores it. " * 2)
    in_view(bar, bar.text, bar.recover, scrolls=True)
    footer.warn("photo: Press Enter again; nothing is accepted yet. " * 3, asks=True)
    in_view(footer.notice, scrolls=True)
    footer.show_tool("Box is active: drag a box around an object. Esc ends the tool.")
    qtbot.wait(100)
    in_view(footer.notice, scrolls=True)
    # On a screen of 1024 x 768 at 150 % two questions fit if they take no more than their lines.
    line = bar.text.fontMetrics().lineSpacing()
    lines = bar.text.heightForWidth(bar.text.width()) // line
    assert lines > 1
    assert bar.height() <= lines * line + bar.recover.height() + 12


def check_layout(qtbot: Any, panel: LatentFMPanel, size: tuple[int, int]) -> None:
    window = panel.window()
    assert (window.width(), window.height()) == size
    stay = [panel.footer.accept, panel.footer.note, panel.footer.export, panel.footer.disclaimer]
    stay += [panel.sampling.form.run_button.native, panel.sampling.form.image.native]
    stay.append(panel.review.hypotheses.view.legend)
    for widget in stay:
        corner = widget.mapTo(window, QPoint(widget.width(), widget.height()))
        assert corner.x() <= size[0]
        assert corner.y() <= size[1]
        assert widget.mapTo(panel, QPoint(0, 0)).x() >= 0
        assert widget.visibleRegion().boundingRect().size() == widget.size()
    area = panel.annotate.area
    assert area.verticalScrollBar().maximum() > 0, "the middle scrolls"
    qtbot.waitUntil(
        lambda: area.widget().minimumSizeHint().width() <= area.viewport().width(),
        timeout=PATIENCE,
    )
    for button in area.widget().findChildren(QPushButton):
        if button.isVisible():
            right = button.mapTo(area.widget(), QPoint(button.width(), 0)).x()
            assert right <= area.viewport().width(), button.text()
