"""Opening a folder in the tab Folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_latentfm.dock.panel import LatentFMPanel
from napari_latentfm.review.stroke_layer import stroke_layer
from napari_latentfm.sampling.controls import CALIBRATED, RAW
from napari_latentfm.ui.model_chooser import FOLDER_CHOICE
from tests.helpers.plugin_fixtures import (
    PATIENCE,
    GatedSegmenter,
    disc_image,
    met_by_tab,
    run,
    shown_errors,
)
from tests.plugin.dock.conftest import NAMES, Bench

Open = Callable[..., tuple[Any, LatentFMPanel]]


@pytest.fixture
def tab(opened: Open) -> LatentFMPanel:
    _, panel = opened(show=True)
    panel.tabs.setCurrentWidget(panel.queue)
    return panel


def write(qtbot: Any, line: Any, text: str) -> None:
    line.clear()
    qtbot.keyClicks(line, text)
    qtbot.keyClick(line, Qt.Key.Key_Return)


def wait_for_first(qtbot: Any, panel: LatentFMPanel) -> None:
    qtbot.waitUntil(lambda: panel.queue.current == NAMES[0], timeout=PATIENCE)
    qtbot.waitUntil(lambda: panel.tabs.currentWidget() is panel.annotate, timeout=PATIENCE)


def test_a_folder_opens_when_it_is_chosen(
    tab: LatentFMPanel, images: Path, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    form, edit = tab.queue.form, tab.queue.form.folder_edit
    buttons = [form.previous, form.next, form.reset, form.measure, form.export, form.sizes]
    for button in buttons:
        assert not button.isEnabled(), button.text()
        assert button.toolTip().endswith("Open a folder first."), button.text()
    for how in ("typed", "dialog", "button"):
        folder = tmp_path / how
        shutil.copytree(images, folder)
        tab.tabs.setCurrentWidget(tab.queue)
        edit.line.clear()
        if how == "typed":
            write(qtbot, edit.line, str(folder))
        elif how == "dialog":
            # The dialog belongs to the system, and waits for a user.
            monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))  # noqa: B023
            qtbot.mouseClick(edit.button, Qt.MouseButton.LeftButton)
        else:
            qtbot.keyClicks(edit.line, str(folder))
            qtbot.mouseClick(form.open_button, Qt.MouseButton.LeftButton)
        wait_for_first(qtbot, tab)
        assert tab.queue.work is not None
        assert tab.queue.work.folder == folder
        for button in buttons[:4]:
            assert button.isEnabled(), button.text()
            assert "Open a folder" not in button.toolTip()


@pytest.mark.parametrize(
    ("how", "model", "problem"),
    [("typed", "", "No model folder is given"), ("dropped", ".", "is not a complete model folder")],
)
def test_a_folder_waits_for_its_model_with_a_message(
    tab: LatentFMPanel,
    images: Path,
    tiny_model_folder: Path,
    qtbot: Any,
    how: str,
    model: str,
    problem: str,
) -> None:
    form = tab.queue.form
    form.model.folder.line.setText(model and str(images))
    if how == "typed":
        write(qtbot, form.folder, str(images))
    else:
        tab.tabs.setCurrentWidget(tab.annotate)
        tab.open_folder(images)
    assert tab.queue.work is None
    assert form.missing.isVisible()
    assert problem in form.missing.text()
    write(qtbot, form.model.folder.line, str(tiny_model_folder))
    wait_for_first(qtbot, tab)
    assert form.missing.isHidden()


def test_a_model_folder_that_is_about_to_be_chosen_is_not_an_error(
    opened: Open, qtbot: Any, forget_notifications: None
) -> None:
    viewer, panel = opened(show=True)
    viewer.add_image(disc_image(), rgb=True, name="photo")
    form = panel.sampling.form
    form.model.folder.line.clear()
    form.model.choose("isic2018")
    form.n_samples.value, form.steps.value = 2, 1
    assert run(qtbot, panel.sampling) == "done"
    assert form.confidence.value == CALIBRATED
    form.model.box.setCurrentText(FOLDER_CHOICE)
    assert form.confidence.value == RAW
    assert shown_errors() == []
    assert run(qtbot, panel.sampling) == "failed"
    assert "No model folder is given" in shown_errors()[0]


def test_old_layers_are_removed_if_the_next_image_has_no_samples(
    tab: LatentFMPanel, images: Path, qtbot: Any
) -> None:
    form = tab.queue.form
    write(qtbot, form.folder, str(images))
    wait_for_first(qtbot, tab)
    form.model.folder.line.setText(str(images))
    settled: list[str] = []
    tab.queue.settled.connect(settled.append)
    tab.queue.open(NAMES[1])
    qtbot.waitUntil(lambda: settled == ["failed"], timeout=PATIENCE)
    assert [layer.name for layer in tab.session.viewer.layers] == ["blob_001"]


def test_cancel_is_enabled_during_a_run(tab: LatentFMPanel, images: Path, qtbot: Any) -> None:
    form, sampler = tab.queue.form, tab.queue.sampler
    assert not form.cancel.isEnabled()
    write(qtbot, form.folder, str(images))
    wait_for_first(qtbot, tab)
    qtbot.waitUntil(lambda: not sampler.busy, timeout=PATIENCE)
    tab.tabs.setCurrentWidget(tab.queue)
    assert not form.cancel.isEnabled()
    slow = GatedSegmenter()
    sampler.job.unload()
    sampler.job.load = slow.load
    qtbot.mouseClick(form.measure, Qt.MouseButton.LeftButton)
    assert form.cancel.isEnabled()
    qtbot.mouseClick(form.cancel, Qt.MouseButton.LeftButton)
    slow.allow(50)
    qtbot.waitUntil(lambda: not sampler.busy, timeout=PATIENCE)
    assert not form.cancel.isEnabled()
    assert "Cancelled" in tab.footer.message.text()


def test_tab_follows_the_order_of_the_decisions(tab: LatentFMPanel, qtbot: Any) -> None:
    form = tab.queue.form
    wanted: list[QWidget] = [
        form.model,
        form.model.folder.line,
        form.n_samples,
        form.folder,
        form.folder_edit.button,
        form.open_button,
        form.output,
        form.search,
        form.order,
        form.table,
        form.previous,
        form.next,
        form.measure,
        form.cancel,
        tab.footer.accept,
    ]
    assert met_by_tab(wanted) == wanted


def test_reviewed_regions_and_strokes_are_restored_with_the_image(bench: Bench, qtbot: Any) -> None:
    review = bench.panel.review
    redrawn: list[str] = []
    review.strokes.finished.connect(redrawn.append)
    review.strokes.paint_background()
    strokes = stroke_layer(review.session)
    assert strokes is not None
    with strokes.block_history():
        strokes.data_setitem((np.full(8, 32), np.arange(28, 36)), 1)
    painted = strokes.data.copy()
    qtbot.waitUntil(lambda: bool(redrawn), timeout=PATIENCE)
    assert redrawn == ["done"]
    # The small model is sure of itself: the same samples with a place of uncertainty.
    current = review.session.current
    confidence = current.result.summary.confidence.copy()
    confidence[4:12, 4:12] = 0
    summary = replace(current.result.summary, confidence=confidence)
    review.session.show(replace(current, result=replace(current.result, summary=summary)))
    qtbot.waitUntil(lambda: "Looking" not in review.regions.status.text(), timeout=PATIENCE)
    review.regions.visit(1)
    review.regions.resolve()
    ticked = [region["box"] for region in review.regions.resolved_regions()]
    assert len(ticked) == 1
    bench.annotate()
    bench.panel.next_image()
    bench.wait_for(NAMES[1])
    assert stroke_layer(review.session, create=False) is None
    assert review.regions.resolved_regions() == []
    bench.panel.previous_image()
    bench.wait_for(NAMES[0])
    again = stroke_layer(review.session, create=False)
    assert again is not None
    np.testing.assert_array_equal(again.data, painted)
    assert [region["box"] for region in review.regions.resolved_regions()] == ticked
    qtbot.waitUntil(lambda: len(redrawn) == 2, timeout=PATIENCE)
    assert redrawn[1] == "done"
