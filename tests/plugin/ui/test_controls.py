"""Every control of the dock has a tooltip, shows its key and fits a small window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from app_model.types import KeyBinding
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QTextDocument
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QProgressBar,
    QScrollArea,
    QScrollBar,
    QWidget,
)

from napari_latentfm.annotation.region import region_layer
from napari_latentfm.dock.entries import open_dock
from napari_latentfm.dock.panel import LatentFMPanel
from napari_latentfm.prompting.layer_keys import HAND_KEYS
from napari_latentfm.prompting.section import LAYER_KEYS
from napari_latentfm.review.look_controls import _swatch
from napari_latentfm.sampling.controls import text_line
from napari_latentfm.ui.common import wrapped_text
from napari_latentfm.ui.model_chooser import FOLDER_CHOICE
from napari_latentfm.worklist.table import Rows
from tests.helpers.looks import reviewed
from tests.helpers.plugin_fixtures import PATIENCE, disc_image
from tests.plugin.review.test_regions_section import uncertain_samples

pytestmark = pytest.mark.styled

CONTROLS = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QProgressBar,
)


@pytest.fixture
def panel(make_napari_viewer: Callable[..., Any], qtbot: Any) -> LatentFMPanel:
    """The dock in a small window, with samples under review and all controls shown."""
    viewer = make_napari_viewer(show=True)
    image = viewer.add_image(disc_image(), rgb=True, name="skin")
    panel = open_dock(viewer)
    viewer.window.resize(1280, 720)
    panel.session.show(reviewed(image, viewer, uncertain_samples()))
    review = panel.review
    qtbot.waitUntil(
        lambda: bool(review.hypotheses.hypotheses and review.regions.regions), timeout=PATIENCE
    )
    review.annotation.bar.show()
    review.annotation.take_mean_mask()
    assert region_layer(panel.session) is not None
    for section in panel.sections.values():
        section.set_opened(True)
    panel.sampling.form.model.box.setCurrentText(FOLDER_CHOICE)
    QApplication.processEvents()
    return panel


def controls(panel: QWidget) -> list[QWidget]:
    """Return the controls of a widget, without the child widgets of a control."""
    found: list[QWidget] = [w for kind in CONTROLS for w in panel.findChildren(kind)]
    bars = [w for w in found if isinstance(w, QScrollBar) or w.isHidden()]
    return [w for w in found if w not in bars and not _is_inside(w, panel)]


def _is_inside(control: QWidget, panel: QWidget) -> bool:
    if control.objectName().startswith("qt_"):
        return True
    above = control.parentWidget()
    while above is not None and above is not panel:
        whole = (QAbstractItemView, QAbstractSpinBox, QComboBox)
        if isinstance(above, whole) or type(above).__name__ in ("QTabBar", "QHeaderView"):
            return True
        above = above.parentWidget()
    return type(control).__name__ == "QHeaderView"


def test_every_control_has_a_tooltip_and_fits_1280_x_720(panel: LatentFMPanel, qtbot: Any) -> None:
    found = controls(panel)
    assert len(found) > 60
    # Qt asks the parents of a widget that has no tooltip itself.
    silent = [w for w in found if not any(x.toolTip() for x in (w, *_above(w, panel)))]
    assert not silent, [(w, getattr(w, "text", str)()) for w in silent]
    assert panel.window().height() <= 720
    assert panel.window().width() <= 1280
    tabs = panel.tabs
    assert all(tabs.tabToolTip(place) for place in range(tabs.count()))
    for place, page in enumerate((panel.annotate.area, panel.queue, panel.learning)):
        assert len(controls(page)) >= 10
        tabs.setCurrentIndex(place)
        qtbot.waitUntil(lambda: not cut_off(page), timeout=PATIENCE)  # noqa: B023
        assert page.horizontalScrollBar().maximum() == 0


def cut_off(page: QScrollArea) -> list[QWidget]:
    """Return controls that are wider than their vertically scrolling page."""
    inner, width = page.widget(), page.viewport().width()
    found = []
    for control in controls(inner):
        scrolls = any(isinstance(above, QScrollArea) for above in _above(control, inner))
        if control.isVisibleTo(inner) and not scrolls:
            left = control.mapTo(inner, QPoint(0, 0)).x()
            if left < 0 or left + control.width() > width:
                found.append(control)
    return found


def _above(control: QWidget, top: QWidget) -> list[QWidget]:
    found, above = [], control.parentWidget()
    while above is not None and above is not top:
        found.append(above)
        above = above.parentWidget()
    return found


def test_every_key_is_on_a_button_and_not_used_by_napari(panel: LatentFMPanel) -> None:
    texts = [button.text() for button in panel.findChildren(QAbstractButton)]
    keys = [key for actions in panel.annotate.key_actions().values() for key in actions]
    assert len(keys) >= 3
    for key in keys:
        shown = f"({key.replace('-', '+')})"
        assert any(shown in text for text in texts), key
    taken = {KeyBinding.from_str(str(k)) for keys in default_shortcuts.values() for k in keys}
    ours = [KeyBinding.from_str(key) for key in keys]
    assert len(set(ours)) == len(ours)
    # The keys of napari's tools for painting do the same on the annotation; those of its layers of
    # marks choose the tool of the section Point.
    shared = {KeyBinding.from_str(key) for key in (*HAND_KEYS, *LAYER_KEYS)}
    assert taken.intersection(ours) == shared


def test_buttons_do_what_their_keys_do(panel: LatentFMPanel) -> None:
    section, annotation = panel.review.hypotheses, panel.review.annotation
    following = next(b for b in section.buttons.step if "(H)" in b.text())
    hide = next(b for b in section.buttons.step if "(Q)" in b.text())
    following.click()
    assert section.chosen is section.hypotheses[0]
    hide.click()
    assert section.chosen is None
    mean = next(b for b in annotation.findChildren(QAbstractButton) if "Shift+M" in b.text())
    mean.click()
    layer, current = annotation.autosaver.layer, panel.session.current
    assert layer is not None
    assert current is not None
    wanted = current.result.summary.mean_mask
    np.testing.assert_array_equal(layer.data, wanted)


def test_names_that_look_like_html_are_shown_as_they_are(qtbot: Any) -> None:
    name, plain = "a<b>1", Qt.TextFormat.PlainText
    line = text_line("Status", "")
    qtbot.addWidget(line.native)
    assert (wrapped_text("").textFormat(), line.native.textFormat()) == (plain, plain)
    rows, tip = Rows(), QTextDocument()
    rows.fill([name], {}, None)
    tip.setHtml(rows.data(rows.index(0, 0), Qt.ItemDataRole.ToolTipRole))
    assert tip.toPlainText().startswith(name)
    assert "a&lt;b&gt;1" in _swatch("#ffffff", name)
