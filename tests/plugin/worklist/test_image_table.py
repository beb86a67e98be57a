"""The list of images, while a user scrolls and selects in it."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtCore import QRect, Qt
from qtpy.QtWidgets import QStyle

from latentfm_core.worklist.item import Item
from napari_latentfm.worklist.table import ImageTable

pytestmark = pytest.mark.styled

NAMES = [f"image_{number:02d}.png" for number in range(60)]


@pytest.fixture
def table(qtbot: Any) -> ImageTable:
    made = ImageTable()
    qtbot.addWidget(made)
    made.resize(320, 200)
    made.show()
    qtbot.waitExposed(made)
    made.fill(NAMES, {}, NAMES[0])
    return made


def selected(table: ImageTable) -> list[str]:
    return [index.data() for index in table.selectionModel().selectedRows(0)]


def bold(table: ImageTable) -> list[str]:
    rows = table.rows
    fonts = [rows.data(rows.index(n, 0), Qt.ItemDataRole.FontRole) for n in range(len(NAMES))]
    return [name for name, font in zip(NAMES, fonts, strict=True) if font and font.bold()]


def click(table: ImageTable, qtbot: Any, row: int) -> None:
    index = table.filtered.index(row, 0)
    table.scrollTo(index)
    place = table.visualRect(index).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)


def test_updates_keep_the_scroll_position_of_the_list(table: ImageTable, qtbot: Any) -> None:
    assert (selected(table), bold(table)) == ([NAMES[0]], [NAMES[0]])
    click(table, qtbot, 41)
    place = table.verticalScrollBar().value()
    assert place > 0
    table.fill(NAMES, {NAMES[40]: Item(uncertainty=0.25)}, NAMES[0])
    assert table.filtered.index(40, 3).data() == "25%"
    assert selected(table) == [NAMES[41]]
    assert table.verticalScrollBar().value() == place
    assert bold(table) == [NAMES[0]], "the open image"


def test_a_flag_is_listed_with_its_note_and_no_state_is_cut_off(
    table: ImageTable, qtbot: Any
) -> None:
    empty, flag = Item(state="completed", empty=True), Item(state="flagged", note="two lesions?")
    items = {NAMES[0]: empty, NAMES[1]: flag, NAMES[2]: Item(state="in progress")}
    table.fill(NAMES, items, NAMES[0])
    table.mark_unsaved(frozenset(NAMES[2:3]))
    texts = [table.filtered.index(row, 1).data() for row in range(4)]
    assert texts == ["✓ done (empty)", "⚑ two lesions?", "↺ recover", "not started"]
    margin = 2 * (table.style().pixelMetric(QStyle.PixelMetric.PM_FocusFrameHMargin) + 1)
    room = QRect(0, 0, table.columnWidth(1) - margin, 1000)
    for row, text in enumerate(texts):
        needed = table.fontMetrics().boundingRect(room, Qt.TextFlag.TextWordWrap, text)
        assert needed.height() <= table.rowHeight(row), text
        assert needed.width() <= room.width(), text
    tip = table.filtered.index(2, 1).data(Qt.ItemDataRole.ToolTipRole)
    assert tip == f"{NAMES[2]}\n↺ recover · ◐ in progress"


def test_the_tooltip_shows_a_long_note_in_full(table: ImageTable) -> None:
    note = "two lesions, left one " * 5
    table.fill(NAMES, {NAMES[0]: Item(state="completed", empty=True, note=note)}, NAMES[0])
    tip = table.filtered.index(0, 0).data(Qt.ItemDataRole.ToolTipRole)
    assert tip == f"{NAMES[0]}\n✓ done (empty): {note}"


def test_similar_long_names_differ_in_a_narrow_list(table: ImageTable) -> None:
    names = ["dermoscopy_ISIC_0000124.jpg", "dermoscopy_ISIC_0000134.jpg"]
    table.fill(names, {}, None)
    room = table.columnWidth(0)
    assert table.fontMetrics().horizontalAdvance(names[0]) > room
    shown = [table.fontMetrics().elidedText(n, table.textElideMode(), room) for n in names]
    assert shown[0] != shown[1]
    assert shown[0].endswith("124.jpg")
    tip = table.filtered.index(1, 0).data(Qt.ItemDataRole.ToolTipRole)
    assert names[1] in tip


def test_another_order_keeps_the_selected_image(table: ImageTable, qtbot: Any) -> None:
    click(table, qtbot, 41)
    place = table.verticalScrollBar().value()
    table.fill(NAMES[::-1], {}, NAMES[0])
    assert selected(table) == [NAMES[41]]
    assert table.verticalScrollBar().value() == place


def test_another_open_image_is_shown(table: ImageTable, qtbot: Any) -> None:
    click(table, qtbot, 41)
    table.fill(NAMES, {}, NAMES[1])
    assert (selected(table), bold(table)) == ([NAMES[1]], [NAMES[1]])
    assert table.verticalScrollBar().value() <= 1
