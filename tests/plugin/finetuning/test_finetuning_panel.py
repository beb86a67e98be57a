"""The fine-tuning panel in a real window, with real training in a separate process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentfm_core.finetuning.finetune import FineTune
from latentfm_core.model_io.card import read_card
from latentfm_core.model_io.folder import file_sha256
from latentfm_core.training.options import RunOptions
from napari_latentfm.finetuning import process as process_module
from napari_latentfm.finetuning.form import models_folder
from napari_latentfm.finetuning.panel import LearningPanel
from tests.core.finetuning.test_finetuning import QUICK, write_shifted
from tests.helpers.fixtures import Folders
from tests.helpers.plugin_fixtures import PATIENCE, ending_of

Open = Callable[[], tuple[Any, LearningPanel]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return write_shifted(tmp_path_factory.mktemp("panel"), 14, 10)


@pytest.fixture
def opened(
    make_napari_viewer_proxy: Callable[..., Any], tiny_model_folder: Path, folders: Folders
) -> Open:
    def open_panel() -> tuple[Any, LearningPanel]:
        viewer = make_napari_viewer_proxy()
        panel = LearningPanel(viewer)
        viewer.window.add_dock_widget(panel, name="Learn")
        form = panel.form
        form.model.choose(tiny_model_folder)
        form.images.set_path(folders[0])
        form.masks.set_path(folders[1])
        form.device.setCurrentText("cpu")
        form.name.setText("mine")
        panel.overrides = QUICK
        return viewer, panel

    return open_panel


def test_fine_tuning_in_the_panel_equals_python(
    qtbot: Any, opened: Open, tiny_model_folder: Path, tmp_path: Path
) -> None:
    _, panel = opened()
    form = panel.form
    assert not form.keep_new.isEnabled()
    request = form.request(QUICK)
    assert ending_of(qtbot, panel, form.start.click) == "done", panel.last_error
    assert panel.verdict is not None
    assert panel.verdict.n_held_out == 3
    assert "old" in form.verdict.text()
    assert "held-out images" in form.verdict.text()
    assert len(form.loss.points) == 30
    assert [step for step, _ in form.dice.points] == [10, 20, 30]
    assert form.dice.level == pytest.approx(panel.verdict.old)
    assert f"{panel.verdict.new:.3f}" in form.dice.head(), "the figure of the verdict, no other"
    assert f"new {panel.verdict.new:.3f}" in form.verdict.text()
    out = models_folder() / "mine"
    assert read_card(out).parent is not None
    kept: list[Path] = []
    panel.kept.connect(kept.append)
    form.keep_new.click()
    assert kept == [out]
    assert not form.keep_new.isEnabled()
    assert "mine" in [form.model.box.itemText(i) for i in range(form.model.box.count())]
    options = RunOptions(tmp_path / "python", init=str(tiny_model_folder))
    FineTune(request.config(), options).run()
    weights = "model.safetensors"
    assert file_sha256(out / weights) == file_sha256(tmp_path / "python" / weights)


def test_stop_resume_and_make_model(
    qtbot: Any, opened: Open, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    _, panel = opened()
    form = panel.form
    panel.overrides = (*QUICK, "training.flow.epochs=3000", "training.flow.validate_every=3000")
    form.start.click()
    assert not form.start.isEnabled()
    qtbot.waitUntil(lambda: len(form.loss.points) >= 3, timeout=PATIENCE)
    assert ending_of(qtbot, panel, form.stop.click) == "stopped"
    before = len(form.loss.points)
    assert before < 3000
    assert form.resume.isEnabled()
    assert not form.start.isEnabled(), "the stopped run is not overwritten"
    form.images.set_path(tmp_path)
    assert form.name.text() != "mine"
    assert f"mine is a stopped run with other images. To resume it, choose {folders[0]}" in (
        form.status.text()
    )
    assert form.start.isEnabled()
    form.name.setText("mine")
    buttons = (form.resume, form.finish, form.start)
    assert not any(button.isEnabled() for button in buttons)
    form.images.set_path(folders[0])
    assert form.resume.isEnabled()
    form.resume.click()
    qtbot.waitUntil(lambda: len(form.loss.points) > before, timeout=PATIENCE)
    assert form.loss.points[before][0] == before + 1, "continues where it stopped"
    # A panel that leaves its dock says so until the checkpoint is there, and then what can be done.
    said: list[str] = []

    def release() -> None:
        panel.release()
        said.append(form.status.text())

    assert ending_of(qtbot, panel, release) == "stopped"
    assert "The progress is being saved" in said[0]
    assert form.status.text().startswith("Stopped. Resume continues the run")
    assert form.resume.isEnabled()
    assert ending_of(qtbot, panel, form.finish.click) == "done", panel.last_error
    assert read_card(models_folder() / "mine").id == "mine"


@pytest.mark.parametrize("way", ["dock", "window"])
def test_closing_stops_the_run_and_keeps_its_checkpoint(qtbot: Any, opened: Open, way: str) -> None:
    viewer, panel = opened()
    panel.overrides = (*QUICK, "training.flow.epochs=100000")
    panel.form.start.click()
    qtbot.waitUntil(lambda: len(panel.form.loss.points) >= 2, timeout=PATIENCE)
    process = panel._runs[0]._process._process
    assert process is not None
    if way == "dock":
        viewer.window.remove_dock_widget(panel)
        panel.deleteLater()
    else:
        viewer.close()
    qtbot.waitUntil(lambda: process.poll() is not None, timeout=PATIENCE)
    assert (models_folder() / "mine" / "training" / "checkpoint.safetensors").is_file()


def test_errors_of_the_annotation_are_shown(qtbot: Any, opened: Open, tmp_path: Path) -> None:
    _, panel = opened()
    panel.form.masks.set_path(tmp_path / "nowhere")
    assert ending_of(qtbot, panel, panel.form.start.click) == "failed"
    assert "nowhere" in panel.form.status.text()
    assert panel.form.start.isEnabled()
    panel.form.name.setText("../evil")
    assert ending_of(qtbot, panel, panel.form.start.click) == "failed"
    assert "cannot be the name" in panel.form.status.text()


def test_a_crash_of_the_process_is_reported(
    qtbot: Any, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, panel = opened()
    crash = (
        sys.executable,
        "-c",
        "import os, sys; sys.stderr.write('boom. Set --x 1.'); os._exit(9)",
    )
    monkeypatch.setattr(process_module, "COMMAND", crash)
    assert ending_of(qtbot, panel, panel.form.start.click) == "failed"
    assert "code 9" in panel.form.status.text()
    assert "boom" in panel.form.status.text()
    assert "--x" not in panel.form.status.text(), "a window has no options"


def test_choices_are_saved_between_sessions(
    qtbot: Any, opened: Open, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, panel = opened()
    monkeypatch.setattr(process_module, "COMMAND", (sys.executable, "-c", ""))
    panel.form.minutes.setValue(2.5)
    assert ending_of(qtbot, panel, panel.form.start.click) == "failed"
    again, before = LearningPanel(viewer).form, panel.form
    assert again.model.source() == before.model.source() == tiny_model_folder
    assert again.images.path() == before.images.path()
    assert again.masks.path() == before.masks.path()
    assert (again.minutes.value(), again.device.currentText()) == (2.5, "cpu")


def test_an_ensemble_is_refused_before_a_process_starts(opened: Open, fold_models: Path) -> None:
    _, panel = opened()
    panel.form.model.choose(fold_models)
    panel.form.start.click()
    assert not panel.running
    assert "is an ensemble of 3 models" in panel.form.status.text()
    assert "fold_0" in panel.form.status.text()
    assert panel.form.start.isEnabled()
