"""Prompts through the sampling panel: the layers show the prompted object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from latentfm_core.config import SamplingConfig
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.field import extent
from latentfm_core.types import ImageInput
from napari_latentfm.sampling.panel import SamplingPanel
from tests.helpers.plugin_fixtures import PATIENCE
from tests.helpers.prompting import two_discs

Open = Callable[..., tuple[Any, SamplingPanel]]


def run_prompt(qtbot: Any, panel: SamplingPanel, prompt: Prompt) -> str:
    endings: list[str] = []
    panel.finished.connect(endings.append)
    panel.run_prompt(prompt)
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    panel.finished.disconnect(endings.append)
    return endings[0]


def test_a_box_prompt_gives_the_same_result_as_python(
    qtbot: Any, docked_panel: Open, promptable_model_folder: Path
) -> None:
    image, labels = two_discs(np.random.default_rng(21))
    viewer, panel = docked_panel()
    viewer.add_image(image, rgb=True, name="discs", scale=(0.5, 0.5))
    panel.form.folder.value = promptable_model_folder
    panel.form.n_samples.value = 3
    panel.form.steps.value = 2
    segmenter = Segmenter.load(promptable_model_folder, "cpu")
    for number in (2, 1):
        prompt = Prompt(box=extent(labels == number))
        assert run_prompt(qtbot, panel, prompt) == "done"
        shown = np.asarray(viewer.layers["discs · mean mask"].data) > 0
        assert dice(shown, labels == number) > 0.85
        settings = SamplingConfig(n_samples=3, steps=2, device="cpu")
        samples = segmenter.sample(ImageInput(image), settings, prompt=prompt)
        np.testing.assert_array_equal(shown, segmenter.summarise(samples).mean_mask)


def test_a_prompt_outside_the_image_shows_an_error(
    qtbot: Any, docked_panel: Open, promptable_model_folder: Path
) -> None:
    image, _ = two_discs(np.random.default_rng(21))
    viewer, panel = docked_panel()
    viewer.add_image(image, rgb=True, name="discs")
    panel.form.folder.value = promptable_model_folder
    assert run_prompt(qtbot, panel, Prompt(box=(500, 500, 600, 600))) == "failed"
    assert "outside the image of 64 x 96" in str(panel.last_error)
    assert len(viewer.layers) == 1
