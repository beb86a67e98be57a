"""A real napari window with the panel in it, and helpers to drive it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QWidget

from latentfm_core.config import SamplingConfig
from latentfm_core.images.canvas import to_canvas
from latentfm_core.images.read import to_rgb
from latentfm_core.inference.batches import Progress
from latentfm_core.types import ImageInput, SampleSet, SamplingRecord, Summary
from latentfm_core.uncertainty.summary import summarise
from napari_latentfm.dock.entries import open_dock
from napari_latentfm.dock.panel import LatentFMPanel
from napari_latentfm.layers.edits import digest
from napari_latentfm.sampling.panel import SamplingPanel
from tests.helpers.pictures import disc_image

BEFORE_0_7 = tuple(int(part) for part in version("napari").split(".")[:2]) < (0, 7)
PATIENCE = 120_000
"""Timeout in milliseconds, for busy machines; a passing test never reaches it."""

DOCK = "Sample segmentation"
Window = tuple[Any, SamplingPanel]
"""A viewer and the panel docked in it."""
OpenPanel = Callable[..., Window]
OpenDock = Callable[..., tuple[Any, LatentFMPanel]]


@pytest.fixture
def blob_image() -> np.ndarray:
    return disc_image()


def docked(viewer: Any, panel: Any) -> Any:
    """Add a panel to the window, and return it.

    Without a window only Python owns it: PyQt6 deletes it with timers that still fire, and the
    process ends with a segmentation fault.
    """
    viewer.window.add_dock_widget(panel)
    return panel


@pytest.fixture
def docked_panel(
    make_napari_viewer_proxy: Callable[..., Any], tiny_model_folder: Path
) -> OpenPanel:
    """Return a function that opens a viewer with the panel docked and the tiny model chosen."""

    def open_panel(**viewer_options: Any) -> Window:
        viewer = make_napari_viewer_proxy(**viewer_options)
        panel = SamplingPanel(viewer)
        viewer.window.add_dock_widget(panel, name=DOCK)
        panel.form.model.choose(tiny_model_folder)
        panel.form.device.value = "cpu"
        panel.form.n_samples.value = 3
        panel.form.steps.value = 2
        return viewer, panel

    return open_panel


@pytest.fixture
def opened_dock(make_napari_viewer: Callable[..., Any], tiny_model_folder: Path) -> OpenDock:
    """Return a function that opens a viewer with the whole dock and the tiny model chosen."""

    def open_one(show: bool = False) -> tuple[Any, LatentFMPanel]:
        viewer = make_napari_viewer(show=show)
        dock = open_dock(viewer)
        form = dock.sampling.form
        form.model.choose(tiny_model_folder)
        form.device.value = "cpu"
        form.n_samples.value = 3
        form.steps.value = 2
        return viewer, dock

    return open_one


@pytest.fixture
def photo_window(docked_panel: OpenPanel, blob_image: np.ndarray) -> Window:
    """A viewer with the panel and a photograph of a disc, named "a"."""
    viewer, panel = docked_panel()
    viewer.add_image(blob_image, rgb=True, name="a")
    return viewer, panel


def choose_model(panel: SamplingPanel, folder: Path, n_samples: int) -> None:
    """Choose a model folder, the number of samples, and two ODE steps."""
    panel.form.model.choose(folder)
    panel.form.n_samples.value = n_samples
    panel.form.steps.value = 2


def run(qtbot: Any, panel: SamplingPanel) -> str:
    """Press Run, wait for the end and return how the run ended."""
    return ending_of(qtbot, panel, panel.form.run_button.native.click)


def ending_of(qtbot: Any, panel: Any, start: Callable[[], object]) -> str:
    """Start a run of a panel, wait for its end and return how it ended."""
    endings: list[str] = []
    panel.finished.connect(endings.append)
    start()
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    panel.finished.disconnect(endings.append)
    assert len(endings) == 1
    return endings[0]


@pytest.fixture
def forget_notifications() -> None:
    """Clear notifications of other tests."""
    notification_manager.records.clear()


def shown_errors() -> list[str]:
    """Return the errors that napari has shown."""
    return [str(r.message) for r in notification_manager.records if str(r.severity) == "error"]


def contents_of(viewer: Any) -> dict[str, tuple[str, str]]:
    """Return identity and content of every layer by its name."""
    return {x.name: (str(x.unique_id), digest(x.data)) for x in viewer.layers}


def assert_idle(panel: SamplingPanel) -> None:
    """Check that the panel is ready for the next run."""
    assert not panel.running
    assert not panel.job.busy
    assert panel.form.run_button.enabled
    assert panel.form.n_samples.enabled
    assert not panel.form.cancel_button.enabled


class GatedSegmenter:
    """Replaces a model; each ODE step waits until the test allows it.

    Used only if a slow or failing run must be caught at an exact point.
    """

    device_label = "gated"
    device = torch.device("cpu")
    precision = "fp32"

    def __init__(self, error: Exception | None = None, total: int = 50) -> None:
        self.error = error
        self.total = total
        self.gate = threading.Semaphore(0)
        self.done = 0
        self.closed = threading.Event()

    def load(self, *_: object) -> GatedSegmenter:
        return self

    def sample_steps(
        self,
        image: ImageInput,
        settings: SamplingConfig,
        strokes: object = None,
        prompt: object = None,
    ) -> Generator[Progress, None, SampleSet]:
        try:
            for step in range(self.total):
                # The limit only frees the thread of a test that has already failed.
                self.gate.acquire(timeout=PATIENCE / 1000)
                if self.error is not None:
                    raise self.error
                self.done = step + 1
                yield Progress(self.done, self.total)
            return self._samples(image, settings)
        finally:
            self.closed.set()

    def summarise(self, samples: SampleSet, settings: SamplingConfig) -> Summary:
        return summarise(samples, settings.threshold)

    def summary_steps(
        self, samples: SampleSet, settings: SamplingConfig
    ) -> Generator[Progress, None, Summary]:
        yield Progress(1, 1)
        return self.summarise(samples, settings)

    def allow(self, steps: int) -> None:
        self.gate.release(steps)

    def _samples(self, image: ImageInput, settings: SamplingConfig) -> SampleSet:
        _, geometry = to_canvas(to_rgb(image), 64, "pad")
        seeds = tuple(settings.seed + n for n in range(settings.n_samples))
        values = np.stack([np.random.default_rng(s).random((64, 64), np.float32) for s in seeds])
        options = settings.model_dump(mode="json")
        return SampleSet(
            values, geometry, SamplingRecord("gated", "0" * 64, seeds, self.total, options)
        )


def run_to_first_step(
    qtbot: Any, panel: SamplingPanel, **options: Any
) -> tuple[GatedSegmenter, list[str]]:
    """Start a gated run; return its gate, after the first step, and the list of its ends."""
    slow, endings = gate(panel, **options), list[str]()
    panel.finished.connect(endings.append)
    panel.run()
    slow.allow(1)
    qtbot.waitUntil(lambda: slow.done == 1, timeout=PATIENCE)
    return slow, endings


def gate(panel: SamplingPanel, **options: Any) -> GatedSegmenter:
    """Replace the model of the panel's job by a gated one."""
    segmenter = GatedSegmenter(**options)
    panel.job.load = segmenter.load
    return segmenter


def met_by_tab(widgets: Sequence[QWidget]) -> list[QWidget]:
    """Return the `widgets` that Tab reaches between the first and the last, in that order."""
    here, met = widgets[0], [widgets[0]]
    for _ in range(500):
        here = here.nextInFocusChain()
        if here in widgets:
            met.append(here)
        if here is widgets[-1]:
            break
    return met
