"""Every control of every panel has a tooltip, shows its key and fits a small window."""

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
from napari_latentfm.finetuning.panel import LearningPanel
from napari_latentfm.prompting.layer_keys import HAND_KEYS
from napari_latentfm.review.look_controls import _swatch
from napari_latentfm.review.panel import ReviewPanel
from napari_latentfm.sampling.controls import text_line
from napari_latentfm.sampling.panel import SamplingPanel
from napari_latentfm.ui.choices import FOLDER_CHOICE
from napari_latentfm.ui.common import wrapped_text
from napari_latentfm.worklist.panel import QueuePanel
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
PANELS = [SamplingPanel, ReviewPanel, QueuePanel, LearningPanel]


@pytest.fixture
def opened(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Callable[[type], Any]:
    """Return a function that opens a panel in a small window, with all controls shown."""

    def open_one(kind: type) -> Any:
        viewer = make_napari_viewer(show=True)
        image = viewer.add_image(disc_image(), rgb=True, name="skin")
        panel = kind(viewer)
        viewer.window.add_dock_widget(panel, name="panel", area="right")
        viewer.window.resize(1280, 720)
        if isinstance(panel, ReviewPanel):
            panel.session.show(reviewed(image, viewer, uncertain_samples()))
            qtbot.waitUntil(
                lambda: bool(panel.hypotheses.hypotheses and panel.regions.regions),
                timeout=PATIENCE,
            )
            panel.annotation.bar.show()
            panel.annotation.take_mean_mask()
            assert region_layer(panel.session) is not None
        elif isinstance(panel, SamplingPanel):
            panel.form.model.value = FOLDER_CHOICE
        else:
            panel.form.model.setCurrentText(FOLDER_CHOICE)
        QApplication.processEvents()
        return panel

    return open_one


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


def keys_of(panel: Any) -> list[str]:
    parts = (panel.hypotheses, panel.regions, panel.strokes, panel.fix, panel.annotation)
    return [key for part in parts for key in part.key_actions()]


@pytest.mark.parametrize("kind", PANELS)
def test_every_control_has_a_tooltip_and_fits_1280_x_720(
    opened: Callable[[type], Any], qtbot: Any, kind: type
) -> None:
    panel = opened(kind)
    found = controls(panel)
    assert len(found) >= 10
    # Qt asks the parents of a widget that has no tooltip itself.
    silent = [w for w in found if not any(x.toolTip() for x in (w, *_above(w, panel)))]
    assert not silent, [(w, getattr(w, "text", str)()) for w in silent]
    assert panel.window().height() <= 720
    assert panel.window().width() <= 1280
    pages = [panel]
    if isinstance(panel, ReviewPanel):
        pages = [panel.widget(place) for place in range(panel.count())]
        assert all(panel.tabToolTip(place) for place in range(panel.count()))
    for place, page in enumerate(pages):
        assert isinstance(page, QScrollArea)
        if page is not panel:
            panel.setCurrentIndex(place)
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


def test_every_key_is_on_a_button_and_not_used_by_napari(opened: Callable[[type], Any]) -> None:
    panel = opened(ReviewPanel)
    texts = [button.text() for button in panel.findChildren(QAbstractButton)]
    keys = keys_of(panel)
    assert len(keys) >= 3
    for key in keys:
        shown = f"({key.replace('-', '+')})"
        assert any(shown in text for text in texts), key
    taken = {KeyBinding.from_str(str(k)) for keys in default_shortcuts.values() for k in keys}
    ours = [KeyBinding.from_str(key) for key in keys]
    assert len(set(ours)) == len(ours)
    # The keys of napari's tools for painting do the same on the annotation.
    assert taken.intersection(ours) == {KeyBinding.from_str(key) for key in HAND_KEYS}


def test_buttons_do_what_their_keys_do(opened: Callable[[type], Any]) -> None:
    panel = opened(ReviewPanel)
    section = panel.hypotheses
    following = next(b for b in section.buttons.step if "(H)" in b.text())
    hide = next(b for b in section.buttons.step if "(Q)" in b.text())
    following.click()
    assert section.chosen is section.hypotheses[0]
    hide.click()
    assert section.chosen is None
    mean = next(b for b in panel.annotation.findChildren(QAbstractButton) if "Shift+M" in b.text())
    mean.click()
    layer = panel.annotation.autosaver.layer
    wanted = panel.session.current.result.summary.mean_mask
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
