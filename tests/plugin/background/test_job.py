"""The background job: every kind of ending, with all signals in the GUI thread."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ImageError, LatentFMError, ModelFolderError, ResourceError
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.types import ImageInput
from latentfm_core.uncertainty.summary import summarise
from napari_latentfm.background import job as background_job
from napari_latentfm.background.image_request import ImageRequest, Result
from napari_latentfm.background.job import (
    Outcome,
    Run,
    SamplingJob,
    Update,
    WorkRequest,
    job_of,
)
from napari_latentfm.background.warm_model import load_segmenter
from tests.helpers.plugin_fixtures import PATIENCE, GatedSegmenter

SETTINGS = SamplingConfig(n_samples=2, steps=3, seed=5, device="cpu")
SlowRun = tuple[GatedSegmenter, SamplingJob, Run[Result]]


@pytest.fixture
def request_for(blob_image: np.ndarray) -> Callable[..., ImageRequest]:
    def make(model: str | Path = "none", **changes: Any) -> ImageRequest:
        settings = SETTINGS.model_copy(update=changes)
        return ImageRequest(lambda: ImageInput(blob_image), model, settings)

    return make


@pytest.fixture
def slow_run(request_for: Any) -> SlowRun:
    """A run whose steps wait until the test allows them, and its job."""
    slow = GatedSegmenter()
    job = SamplingJob(slow.load)
    return slow, job, job.start(request_for())


def _end(qtbot: Any, run: Run[Result]) -> Outcome[Result]:
    outcomes: list[Outcome[Result]] = []
    run.ended.connect(outcomes.append)
    qtbot.waitUntil(lambda: bool(outcomes), timeout=PATIENCE)
    qtbot.wait(20)
    assert len(outcomes) == 1
    return outcomes[0]


def test_the_result_equals_that_of_python(
    qtbot: Any, tiny_model_folder: Path, blob_image: np.ndarray, request_for: Any
) -> None:
    outcome = _end(qtbot, SamplingJob().start(request_for(tiny_model_folder)))
    assert outcome.error is None
    assert outcome.result is not None
    wanted = Segmenter.load(tiny_model_folder, "cpu").sample(ImageInput(blob_image), SETTINGS)
    found = outcome.result
    np.testing.assert_array_equal(found.samples.probabilities, wanted.probabilities)
    np.testing.assert_array_equal(found.summary.mean_mask, summarise(wanted).mean_mask)
    assert "CPU" in found.device


def test_progress_counts_ode_steps_in_the_gui_thread(
    qtbot: Any, tiny_model_folder: Path, request_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background_job, "FIRST_MS", 0)
    updates: list[Update] = []
    threads: list[Any] = []
    run = SamplingJob().start(request_for(tiny_model_folder, steps=400))
    run.progressed.connect(updates.append)
    run.progressed.connect(lambda: threads.append(threading.current_thread()))
    _end(qtbot, run)
    assert updates[0].text == "Loading model…"
    steps = [update.done for update in updates if update.total == 400]
    assert steps, "an ODE step was reported"
    assert steps == sorted(set(steps))
    assert set(threads) == {threading.main_thread()}


def test_a_burst_of_updates_shows_a_few_including_the_last(
    qtbot: Any, tiny_model_folder: Path
) -> None:
    shown: list[int] = []
    last_was_shown = threading.Event()

    def burst(_segmenter: Any, _stop: Any) -> Generator[Update, None, Outcome[None]]:
        for number in range(1, 201):
            yield Update("a step", number, 200)
        last_was_shown.wait(20)
        return Outcome()

    def note(update: Update) -> None:
        shown.append(update.done)
        if update.done == 200:
            last_was_shown.set()

    job = SamplingJob()
    _end(qtbot, job.start(WorkRequest(tiny_model_folder, SETTINGS, lambda *_: _empty())))
    run = job.start(WorkRequest(tiny_model_folder, SETTINGS, burst))
    run.progressed.connect(note)
    _end(qtbot, run)
    assert last_was_shown.is_set()
    assert shown[-1] == 200
    assert len(shown) < 200


def test_a_quick_run_does_not_repaint_progress(qtbot: Any, tiny_model_folder: Path) -> None:
    def quick(_segmenter: Any, _stop: Any) -> Generator[Update, None, Outcome[None]]:
        yield Update("a step", 1, 2)
        return Outcome()

    job = SamplingJob()
    _end(qtbot, job.start(WorkRequest(tiny_model_folder, SETTINGS, lambda *_: _empty())))
    run, shown = job.start(WorkRequest(tiny_model_folder, SETTINGS, quick)), list[Update]()
    run.progressed.connect(shown.append)
    _end(qtbot, run)
    assert shown == []


def _empty() -> Generator[Update, None, Outcome[None]]:
    """Do nothing: the run loads the model."""
    yield from ()
    return Outcome()


def test_model_is_loaded_once(qtbot: Any, tiny_model_folder: Path, request_for: Any) -> None:
    loads: list[Any] = []

    def load(*wanted: Any) -> Segmenter:
        loads.append(wanted)
        return load_segmenter(*wanted)

    job = SamplingJob(load)
    for seed in (1, 2):
        outcome = _end(qtbot, job.start(request_for(tiny_model_folder, seed=seed)))
    assert len(loads) == 1
    used = outcome.result.samples.settings["precision"]
    _end(qtbot, job.start(request_for(tiny_model_folder, precision=used)))
    assert len(loads) == 1, "what auto chose is no other precision"
    other = "fp32" if used == "bf16" else "bf16"
    outcome = _end(qtbot, job.start(request_for(tiny_model_folder, precision=other)))
    assert len(loads) == 2
    assert outcome.result.samples.settings["precision"] == other


def test_a_rewritten_model_is_loaded_again(
    qtbot: Any, tiny_model_folder: Path, tmp_path: Path, request_for: Any
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    job = SamplingJob()
    _end(qtbot, job.start(request_for(folder)))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    outcome = _end(qtbot, job.start(request_for(folder)))
    assert isinstance(outcome.error, ModelFolderError)


def test_cancel_ends_within_one_step(qtbot: Any, slow_run: SlowRun) -> None:
    slow, job, run = slow_run
    slow.allow(3)
    qtbot.waitUntil(lambda: slow.done == 3, timeout=PATIENCE)
    run.cancel()
    # The step under way ends, and no other begins.
    slow.allow(10)
    outcome = _end(qtbot, run)
    assert (outcome.result, outcome.error) == (None, None)
    assert slow.done <= 4
    assert slow.closed.is_set()
    assert not job.busy


def test_cancelled_run_can_be_followed_by_another(
    qtbot: Any, tiny_model_folder: Path, request_for: Any, slow_run: SlowRun
) -> None:
    slow, job, run = slow_run
    run.cancel()
    slow.allow(10)
    _end(qtbot, run)
    job.load = load_segmenter
    assert _end(qtbot, job.start(request_for(tiny_model_folder))).result is not None


def test_second_run_is_refused_while_one_is_running(
    qtbot: Any, request_for: Any, slow_run: SlowRun
) -> None:
    slow, job, run = slow_run
    with pytest.raises(ResourceError, match="not ended yet"):
        job.start(request_for())
    run.cancel()
    slow.allow(1)
    _end(qtbot, run)


def test_an_abandoned_run_emits_no_signal(qtbot: Any, slow_run: SlowRun) -> None:
    slow, job, run = slow_run
    heard: list[Any] = []
    run.ended.connect(heard.append)
    run.progressed.connect(heard.append)
    run.abandon()
    slow.allow(10)
    qtbot.waitUntil(lambda: not job.busy, timeout=PATIENCE)
    assert heard == []


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        # The worker drops a RuntimeError of its generator without a signal.
        (RuntimeError("shapes do not fit"), LatentFMError, "RuntimeError: shapes do not fit"),
        (ValueError("odd"), LatentFMError, "ValueError: odd"),
        (ImageError("NaN pixels."), ImageError, "^NaN pixels.$"),
        (MemoryError(), ResourceError, "Lower the number of samples"),
        (torch.OutOfMemoryError("CUDA"), ResourceError, "Lower the number of samples"),
        (RuntimeError("MPS backend out of memory"), ResourceError, "Lower the number of samples"),
    ],
)
def test_error_reaches_the_user_and_the_job_is_idle(
    qtbot: Any, request_for: Any, error: Exception, kind: type, message: str
) -> None:
    failing = GatedSegmenter(error)
    failing.allow(1)
    job = SamplingJob(failing.load)
    outcome = _end(qtbot, job.start(request_for()))
    assert type(outcome.error) is kind
    with pytest.raises(kind, match=message):
        raise outcome.error
    assert not job.busy


def test_an_unexpected_error_is_logged_with_its_traceback(
    qtbot: Any, request_for: Any, caplog: pytest.LogCaptureFixture
) -> None:
    failing = GatedSegmenter(KeyError("lost"))
    failing.allow(1)
    with caplog.at_level(logging.ERROR, "napari_latentfm"):
        _end(qtbot, SamplingJob(failing.load).start(request_for()))
    assert "sample_steps" in caplog.text
    assert "KeyError" in caplog.text


def test_a_user_error_is_not_logged_as_a_bug(
    qtbot: Any, request_for: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.DEBUG, "napari_latentfm"):
        outcome = _end(qtbot, SamplingJob().start(request_for(tmp_path)))
    assert isinstance(outcome.error, ModelFolderError)
    assert "Traceback" not in caplog.text


def test_unreadable_image_is_reported(qtbot: Any, tiny_model_folder: Path) -> None:
    def read() -> ImageInput:
        raise OSError("the disk is gone")

    outcome = _end(qtbot, SamplingJob().start(ImageRequest(read, tiny_model_folder, SETTINGS)))
    assert outcome.error is not None
    assert "the disk is gone" in str(outcome.error)


def test_each_viewer_has_one_job(make_napari_viewer_proxy: Any) -> None:
    first, second = make_napari_viewer_proxy(), make_napari_viewer_proxy()
    assert job_of(first) is job_of(first)
    assert job_of(first) is job_of(first.__wrapped__)
    assert job_of(first) is not job_of(second)
