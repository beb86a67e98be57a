"""The second pass of samples that are drawn without a prompt."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latentfm_core import SamplingConfig, Segmenter
from latentfm_core.cli.predict import main as predict
from latentfm_core.images.canvas import from_canvas
from latentfm_core.inference import refining
from latentfm_core.metrics.overlap import dice
from latentfm_core.types import Bool, Float32, SampleSet
from tests.helpers.fixtures import Folders
from tests.helpers.plugin_fixtures import disc_image

SETTINGS = SamplingConfig(n_samples=3, steps=2, seed=5, batch_size=1)
SKIN, LESION = (222, 170, 150), (95, 60, 50)


@pytest.fixture(scope="module")
def bundled() -> Segmenter:
    return Segmenter.load("isic2018", "cpu")


def placed(samples: SampleSet) -> Float32:
    return from_canvas(samples.probabilities, samples.geometry)


def lesions(shape: tuple[int, int], *discs: tuple[int, int, int]) -> tuple[NDArray[np.uint8], Bool]:
    """Return a picture of dark discs on skin, and their mask."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, bool)
    for row, column, radius in discs:
        mask |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    image = np.where(mask[..., np.newaxis], LESION, SKIN)
    image = image + np.random.default_rng(0).normal(0, 5, image.shape)
    return image.clip(0, 255).astype(np.uint8), mask


def test_refined_samples_do_not_depend_on_each_other(promptable: Segmenter) -> None:
    image = disc_image((200, 260), 50)
    many = promptable.sample(image, SETTINGS.model_copy(update={"n_samples": 6}))
    few = promptable.sample(image, SETTINGS)
    np.testing.assert_array_equal(few.probabilities, many.probabilities[:3])
    later = promptable.sample(image, SETTINGS.model_copy(update={"seed": 8}))
    np.testing.assert_array_equal(later.probabilities, many.probabilities[3:])


def test_the_record_says_whether_samples_were_refined(
    promptable: Segmenter, tiny_model_folder: Path
) -> None:
    image = disc_image((200, 260), 50)
    refined = promptable.sample(image, SETTINGS)
    once = promptable.sample(image, SETTINGS.model_copy(update={"refine": False}))
    assert (refined.record.nfe, once.record.nfe) == (4, 2)
    assert (refined.settings["refine"], once.settings["refine"]) == (True, False)
    plain = Segmenter.load(tiny_model_folder, "cpu", "fp32").sample(image, SETTINGS)
    assert (plain.record.nfe, plain.settings["refine"]) == (2, False)


def test_a_small_object_in_a_large_image_gets_a_sharper_outline(bundled: Segmenter) -> None:
    image, mask = lesions((900, 900), (300, 520, 36))
    found = {
        refine: dice(bundled.summarise(bundled.sample(image, settings)).mean_mask, mask)
        for refine in (False, True)
        for settings in (SamplingConfig(n_samples=4, refine=refine),)
    }
    assert found[True] > 0.95
    assert found[True] > found[False]


def test_the_card_says_whether_refining_helps(bundled: Segmenter) -> None:
    assert bundled.resolved().refine is False, "isic2018: its lesions fill the image"
    assert bundled.resolved(SamplingConfig(refine=True)).refine is True
    assert Segmenter.load("cvc_clinicdb", "cpu").resolved().refine is True


def test_two_objects_are_both_kept(bundled: Segmenter) -> None:
    image, mask = lesions((400, 600), (120, 150, 60), (280, 460, 50))
    samples = bundled.sample(image, SamplingConfig(n_samples=4, refine=True))
    assert dice(bundled.summarise(samples).mean_mask, mask) > 0.95


def test_a_sample_of_many_objects_is_not_refined(
    promptable: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = disc_image((200, 260), 50)
    once = promptable.sample(image, SETTINGS.model_copy(update={"refine": False}))
    monkeypatch.setattr(refining, "MOST_OBJECTS", 0)
    kept = promptable.sample(image, SETTINGS)
    assert np.abs(placed(kept) - placed(once)).mean() < 0.01


def test_an_outline_that_fills_its_field_is_discarded(
    bundled: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, mask = lesions((400, 600), (120, 150, 40))
    genuine = refining.draw_rows

    def everywhere(*arguments: Any) -> Generator[Any, None, Float32]:
        return np.ones_like((yield from genuine(*arguments)))

    monkeypatch.setattr(refining, "draw_rows", everywhere)
    samples = bundled.sample(image, SamplingConfig(n_samples=2, refine=True))
    assert dice(bundled.summarise(samples).mean_mask, mask) > 0.9


def test_the_command_can_skip_refining(
    promptable_model_folder: Path, blob_folders: Folders, tmp_path: Path
) -> None:
    picture = next(iter(sorted(blob_folders[0].iterdir())))
    for words, refine in ((["--no-refine"], False), ([], True)):
        out = tmp_path / str(refine)
        model = ["--model", str(promptable_model_folder), "--samples", "2", "--quiet"]
        assert predict([str(picture), "--out", str(out), *model, *words]) == 0
        facts = json.loads((out / f"{picture.stem}.json").read_text())
        assert (facts["refine"], facts["nfe"]) == (refine, 8 if refine else 4)


@pytest.mark.parametrize(
    ("shape", "centre", "radius"),
    [
        ((160, 220), (70, 80), 35),
        ((220, 160), (100, 70), 35),
        ((300, 400), (150, 200), 60),
        ((160, 220), (50, 150), 20),
        ((256, 256), (128, 128), 70),
    ],
)
def test_a_dark_ellipse_is_found_without_a_prompt(
    bundled: Segmenter, shape: tuple[int, int], centre: tuple[int, int], radius: int
) -> None:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    mask = ((rows - centre[0]) / radius) ** 2 + ((columns - centre[1]) / radius / 1.3) ** 2 < 1
    image = np.where(mask[..., np.newaxis], LESION, SKIN)
    image = image + np.random.default_rng(0).normal(0, 5, image.shape)
    samples = bundled.sample(image.clip(0, 255).astype(np.uint8), SamplingConfig(n_samples=8))
    assert dice(bundled.summarise(samples).mean_mask, mask) > 0.95
