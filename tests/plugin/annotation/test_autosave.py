"""Autosave of the annotation, and recovery in another window."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels

from latentfm_core.annotation.autosave import AutosaveStore
from latentfm_core.annotation.fingerprint import image_signature
from napari_latentfm.annotation import autosave as autosave_module
from napari_latentfm.annotation.autosave import autosave_folder
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.provenance import facts_of, sidecar_of
from napari_latentfm.annotation.writing import edited_pixels, write_labels
from napari_latentfm.layers.annotation_record import record_of
from tests.helpers.annotating import Window, open_window
from tests.helpers.looks import LARGE, SHAPE, SMALL, disc
from tests.helpers.plugin_fixtures import PATIENCE, disc_image

__all__ = ["open_window"]


def left_behind(window: Window) -> None:
    """Annotate in a window that is then killed."""
    write_labels(window.session, disc(*LARGE))
    window.stroke()
    window.wait(lambda: bool(window.states))
    window.settle()


# --- keeping ------------------------------------------------------------------------------


def test_edits_are_autosaved_and_shown(open_window: Callable[..., Window]) -> None:
    window = open_window()
    assert not window.states
    write_labels(window.session, disc(*LARGE))
    window.stroke()
    window.wait(lambda: bool(window.times))
    (state,) = window.states
    np.testing.assert_array_equal(state.labels(), window.layer.data)
    info = state.info
    assert (info.image, info.strokes, info.edited_pixels) == ("skin", 1, 10)
    assert [proposal.origin for proposal in info.proposals] == ["mean mask"]
    assert info.spacing == (0.5, 0.25)
    assert window.section.kept.text() == f"Autosaved {window.times[0]}"


def test_undo_triggers_autosave_and_moving_a_slider_does_not(
    open_window: Callable[..., Window],
) -> None:
    window = open_window(np.stack([disc_image()[..., 0]] * 3))
    write_labels(window.session, disc(*LARGE))
    window.wait(lambda: len(window.states) == 1)
    touched: list[bool] = []
    window.section.autosaver.touched.connect(lambda: touched.append(True))
    for plane in (1, 2):
        window.viewer.dims.set_current_step(0, plane)
    window.qtbot.wait(400)
    window.settle()
    assert len(window.states) == 1
    assert not touched
    window.layer.undo()
    assert touched
    window.wait(lambda: len(window.states) == 2)
    assert not window.states[0].labels().any()


def test_autosave_waits_for_a_pause_up_to_a_limit(
    open_window: Callable[..., Window], monkeypatch: pytest.MonkeyPatch
) -> None:
    window = open_window()
    write_labels(window.session, disc(*LARGE))
    window.wait(lambda: len(window.times) == 1)
    # The test has its own clock, since the speed of painting depends on the machine.
    now = [0.0]
    monkeypatch.setattr(autosave_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(autosave_module, "PAUSE_MS", 60_000)
    monkeypatch.setattr(autosave_module, "LONGEST_MS", 600_000)
    for row, now[0] in enumerate((0.0, 100.0, 200.0, 300.0)):
        window.stroke(row)
        window.qtbot.wait(20)
        assert len(window.times) == 1
    now[0] = 600.0
    window.stroke(5)
    window.wait(lambda: len(window.times) == 2)
    np.testing.assert_array_equal(window.states[0].labels(), window.layer.data)


def test_the_window_stays_responsive_while_the_disk_is_slow(
    open_window: Callable[..., Window], monkeypatch: pytest.MonkeyPatch
) -> None:
    window = open_window()
    gate, copied, save = threading.Event(), threading.Event(), AutosaveStore.save

    def slow(*args: Any, **options: Any) -> Any:
        copied.set()
        gate.wait(PATIENCE / 1000)
        return save(*args, **options)

    monkeypatch.setattr(AutosaveStore, "save", slow)
    write_labels(window.session, disc(*LARGE))
    window.section.autosaver.flush()
    # A stroke during copying would already be saved by the first write.
    assert copied.wait(PATIENCE / 1000)
    window.stroke()
    assert not window.times
    gate.set()
    window.wait(lambda: len(window.times) == 2)
    np.testing.assert_array_equal(window.states[0].labels(), window.layer.data)


@pytest.mark.parametrize("how", ["dock", "session", "layer", "image"])
def test_the_last_stroke_is_saved_when_the_panel_ends(
    open_window: Callable[..., Window], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    window = open_window()
    monkeypatch.setattr(autosave_module, "PAUSE_MS", 600_000)
    monkeypatch.setattr(autosave_module, "LONGEST_MS", 600_000)
    write_labels(window.session, disc(*LARGE))
    window.stroke()
    painted = window.layer.data.copy()
    signature = image_signature(window.image.data)
    if how == "dock":
        window.viewer.window.remove_dock_widget(window.dock)
        window.section.deleteLater()  # napari leaves it to its owner
    elif how == "session":
        window.session.show(None)
    elif how == "layer":
        window.viewer.layers.remove(window.layer)
    else:
        window.viewer.layers.remove(window.image)
    store = AutosaveStore(autosave_folder())
    window.wait(lambda: bool(store.history(signature)))
    np.testing.assert_array_equal(store.history(signature)[0].labels(), painted)


_CLOSING = """
import sys
from functools import partial
import napari
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from napari_latentfm.annotation.writing import write_labels
from napari_latentfm.annotation.section import AnnotationSection
from napari_latentfm.results.session import session_of
from tests.helpers.pictures import disc_image
from tests.helpers.looks import LARGE, SHAPE, disc, reviewed, two_looks
def leave(viewer, way):
    write_labels(session_of(viewer), disc(*LARGE))
    if way == "window":
        viewer.window._qt_window.close()
    elif way == "viewer":
        viewer.close()
    else:
        QApplication.instance().quit()
for number, way in enumerate(sys.argv[1:]):
    viewer = napari.Viewer(show=True)
    image = viewer.add_image(disc_image(SHAPE, 12 + number), rgb=True, name="skin")
    section = AnnotationSection(session_of(viewer))
    viewer.window.add_dock_widget(section)
    session_of(viewer).show(reviewed(image, viewer, two_looks()))
    QTimer.singleShot(500, partial(leave, viewer, way))
    napari.run()
"""


def test_the_last_stroke_is_saved_when_the_window_closes() -> None:
    # A separate process, since the fixture's viewers cannot be closed twice.
    root = Path(__file__).resolve().parents[3]
    ways = ("window", "viewer", "quit")
    command = [sys.executable, "-c", _CLOSING, *ways]
    subprocess.run(command, cwd=root, check=True, timeout=PATIENCE / 1000)
    for number, way in enumerate(ways):
        image = disc_image(SHAPE, 12 + number)
        newest = AutosaveStore(autosave_folder()).newest(image_signature(image))
        assert newest is not None, way
        np.testing.assert_array_equal(newest.labels() == 1, disc(*LARGE))


def test_an_unwritable_autosave_folder_is_reported_once(
    open_window: Callable[..., Window],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr("napari_latentfm.annotation.section.show_warning", said.append)
    window = open_window()
    autosave_folder().write_text("in the way")
    for row in (2, 4):
        write_labels(window.session, disc(*LARGE)) if row == 2 else window.stroke(row)
        window.section.autosaver.flush()
        window.wait(lambda: window.section.kept.text() == "Not autosaved")
        window.settle()
    assert len(said) == 1
    assert "choose another folder" in said[0]
    assert window.layer.data.any()
    autosave_folder().unlink()
    window.stroke(6)
    window.wait(lambda: window.section.kept.text().startswith("Autosaved"))


# --- recovery -----------------------------------------------------------------------------


def test_an_annotation_is_recovered_in_another_window(open_window: Callable[..., Window]) -> None:
    first = open_window()
    left_behind(first)
    second = open_window()
    bar = second.section.bar
    second.wait(lambda: not bar.isHidden())
    assert "skin" in bar.text.text()
    assert "1 edit by hand" in bar.text.text()
    assert annotation_of(second.session, create=False) is None
    # Comparing shows a layer and keeps the offer open.
    bar.compare.click()
    (shown,) = [layer for layer in second.viewer.layers if isinstance(layer, Labels)]
    assert shown.name.startswith("skin · autosaved ")
    np.testing.assert_array_equal(shown.data, first.layer.data)
    np.testing.assert_allclose(shown.scale, second.image.scale)
    assert annotation_of(second.session, create=False) is None
    assert not bar.isHidden()
    restored: list[Any] = []
    second.section.restored.connect(restored.append)
    bar.recover.click()
    assert bar.isHidden()
    np.testing.assert_array_equal(second.layer.data, first.layer.data)
    np.testing.assert_allclose(second.layer.scale, (0.5, 0.25))
    record = record_of(second.layer)
    assert record.strokes == 1
    assert [proposal.info.origin for proposal in record.proposals.values()] == ["mean mask"]
    assert [side.seed for side in restored] == [0]
    # The count continues from the earlier edits.
    second.stroke(4)
    assert edited_pixels(second.layer) == {(None, None): 10}
    facts = facts_of(second.layer)
    assert facts is not None
    side = sidecar_of(facts, second.layer.data)
    assert (side.edited_pixels, side.strokes) == (20, 2)
    second.layer.undo()
    np.testing.assert_array_equal(second.layer.data, first.layer.data)
    second.layer.undo()
    assert not second.layer.data.any()
    second.layer.redo()
    np.testing.assert_array_equal(second.layer.data, first.layer.data)


def test_discarding_deletes_the_autosave_and_ends_the_offer(
    open_window: Callable[..., Window],
) -> None:
    first = open_window()
    left_behind(first)
    first.section.autosaver.close()
    other = open_window(255 - disc_image())
    assert other.section.recovery.offer is None, "it is another image"
    second = open_window()
    second.wait(lambda: not second.section.bar.isHidden())
    second.section.bar.discard.click()
    second.settle()
    assert not second.states
    third = open_window()
    assert third.section.recovery.offer is None
    assert third.section.bar.isHidden()


def test_a_script_can_answer_the_recovery_offer(open_window: Callable[..., Window]) -> None:
    first = open_window()
    left_behind(first)
    second = open_window()
    second.wait(lambda: second.section.recovery.offer is not None)
    second.session.show(None)
    assert second.section.bar.isHidden()
    asked: list[str] = []

    def ask(question: str) -> Any:
        asked.append(question)
        return "recover"

    second.section.recovery.ask = ask
    second.review()
    second.wait(lambda: annotation_of(second.session, create=False) is not None)
    assert len(asked) == 1
    np.testing.assert_array_equal(second.layer.data, first.layer.data)


def test_painting_before_answering_loses_nothing(open_window: Callable[..., Window]) -> None:
    first = open_window()
    left_behind(first)
    before = first.layer.data.copy()
    second = open_window()
    second.wait(lambda: not second.section.bar.isHidden())
    write_labels(second.session, disc(*SMALL))
    for row in range(6):
        second.stroke(row)
        second.section.autosaver.flush(wait=True)
    second.section.bar.recover.click()
    np.testing.assert_array_equal(second.layer.data, before)
    second.layer.undo()
    assert second.layer.data[0, 60:70].all()


def test_the_current_annotation_is_not_offered_for_recovery(
    open_window: Callable[..., Window],
) -> None:
    window = open_window()
    left_behind(window)
    window.layer.undo()
    window.layer.undo()
    window.review()
    window.settle()
    assert window.section.recovery.offer is None
