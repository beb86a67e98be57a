"""Samples that follow the strokes of an annotator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from latentfm_core.config import CorrectionConfig, SamplingConfig
from latentfm_core.correction.guidance import Mismatch
from latentfm_core.correction.strokes import BACKGROUND, FOREGROUND, impose
from latentfm_core.errors import ImageError
from latentfm_core.images.canvas import strokes_to_canvas
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.types import ImageInput
from tests.helpers.plugin_fixtures import disc_image

SHAPE = (60, 80)
SETTINGS = SamplingConfig(n_samples=4, steps=4, device="cpu", precision="fp32")


@pytest.fixture
def image() -> ImageInput:
    return ImageInput(disc_image(SHAPE))


def bar(rows: slice, columns: slice, label: int) -> np.ndarray:
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[rows, columns] = label
    return strokes


RIGHT_OF_DISC = bar(slice(26, 34), slice(58, 62), FOREGROUND)
LEFT_HALF_OUT = bar(slice(24, 36), slice(26, 29), BACKGROUND)


def test_every_sample_agrees_with_the_strokes(segmenter: Segmenter, image: ImageInput) -> None:
    strokes = RIGHT_OF_DISC + LEFT_HALF_OUT
    before = segmenter.summarise(segmenter.sample(image, SETTINGS))
    # The strokes contradict the model, or the test would show nothing.
    assert not before.mean_mask[strokes == FOREGROUND].all()
    assert before.mean_mask[strokes == BACKGROUND].any()
    summary = segmenter.summarise(segmenter.sample(image, SETTINGS, strokes=strokes))
    assert summary.sample_masks[:, strokes == FOREGROUND].all()
    assert not summary.sample_masks[:, strokes == BACKGROUND].any()
    assert summary.mean_mask[strokes == FOREGROUND].all()
    assert not summary.mean_mask[strokes == BACKGROUND].any()
    np.testing.assert_array_equal(summary.confidence[strokes > 0], 1)


def test_the_outline_moves_beyond_the_brush(segmenter: Segmenter, image: ImageInput) -> None:
    before = segmenter.summarise(segmenter.sample(image, SETTINGS))
    after = segmenter.summarise(segmenter.sample(image, SETTINGS, strokes=RIGHT_OF_DISC))
    unpainted = RIGHT_OF_DISC == 0
    beside = np.zeros(SHAPE, bool)
    beside[22:38, 54:66] = True
    share = [s.sample_masks[:, beside & unpainted].mean() for s in (before, after)]
    assert share[1] > share[0] + 0.1
    # Far away, on the other side of the disc, the outline stays where it was.
    far = np.s_[:, :, :36]
    assert (before.sample_masks[far] == after.sample_masks[far]).mean() > 0.9


def test_raw_samples_agree_before_the_strokes_are_imposed(
    segmenter: Segmenter, image: ImageInput
) -> None:
    said = RIGHT_OF_DISC == FOREGROUND

    def agreement(strokes: np.ndarray | None) -> float:
        samples = replace(segmenter.sample(image, SETTINGS, strokes=strokes), strokes=None)
        return float(segmenter.summarise(samples).sample_masks[:, said].mean())

    assert agreement(RIGHT_OF_DISC) > agreement(None) + 0.3


def test_same_seed_same_correction(segmenter: Segmenter, image: ImageInput) -> None:
    one = segmenter.sample(image, SETTINGS, strokes=RIGHT_OF_DISC)
    two = segmenter.sample(image, SETTINGS, strokes=RIGHT_OF_DISC)
    np.testing.assert_array_equal(one.probabilities, two.probabilities)
    batches = SETTINGS.model_copy(update={"batch_size": 3})
    three = segmenter.sample(image, batches, strokes=RIGHT_OF_DISC)
    np.testing.assert_allclose(one.probabilities, three.probabilities, atol=1e-3)


def test_correction_does_not_change_the_model(segmenter: Segmenter, image: ImageInput) -> None:
    plain = segmenter.sample(image, SETTINGS)
    trainable = [p.requires_grad for p in segmenter.model.parameters()]
    segmenter.sample(image, SETTINGS, strokes=RIGHT_OF_DISC)
    assert [p.requires_grad for p in segmenter.model.parameters()] == trainable
    assert all(p.grad is None for p in segmenter.model.parameters())
    again = segmenter.sample(image, SETTINGS)
    np.testing.assert_array_equal(plain.probabilities, again.probabilities)


def test_correction_reports_every_step_and_stops_within_one(
    segmenter: Segmenter, image: ImageInput
) -> None:
    six = CorrectionConfig(steps=6)
    steps = segmenter.sample_steps(image, SETTINGS, RIGHT_OF_DISC, six)
    assert [(p.done, p.total) for p in (next(steps), next(steps))] == [(1, 6), (2, 6)]
    steps.close()
    samples = segmenter.sample(image, SETTINGS, strokes=RIGHT_OF_DISC, correction=six)
    assert samples.nfe == 6


@pytest.mark.parametrize(
    ("strokes", "words"),
    [
        (np.ones((5, 5), np.uint8), "this image"),
        (np.full(SHAPE, 3, np.uint8), "label 3"),
        (np.full(SHAPE, -1), "whole numbers"),
        (np.full(SHAPE, 0.5), "whole numbers"),
        (np.zeros(SHAPE, np.uint8), "no strokes yet"),
    ],
)
def test_unusable_strokes_are_refused(
    segmenter: Segmenter, image: ImageInput, strokes: np.ndarray, words: str
) -> None:
    with pytest.raises(ImageError, match=words):
        segmenter.sample(image, SETTINGS, strokes=strokes)


def test_strokes_select_classes() -> None:
    p = np.full((3, 2, 2), 1 / 3, np.float32)
    impose(p, np.array([[0, 1], [2, 3]], np.uint8))
    np.testing.assert_allclose(p[:, 0, 0], 1 / 3)
    np.testing.assert_array_equal(p[:, 0, 1], [1, 0, 0])
    np.testing.assert_array_equal(p[:, 1, 0], [0, 1, 0])
    np.testing.assert_array_equal(p[:, 1, 1], [0, 0, 1])


def test_mismatch_is_the_cross_entropy_at_the_strokes() -> None:
    canvas = np.array([[0, 1], [3, 0]], np.uint8)
    logits = torch.zeros(2, 3, 2, 2)
    logits[1, 0, 0, 1] = logits[1, 2, 1, 0] = 50.0
    found = Mismatch(canvas, torch.device("cpu"))(logits)
    np.testing.assert_allclose(found, [np.log(3), 0], atol=1e-5)


def test_thin_strokes_on_a_large_image_are_not_lost() -> None:
    strokes = np.zeros((1200, 1600), np.uint8)
    strokes[600:603, 200:1400] = FOREGROUND
    strokes[900, 200:1400] = BACKGROUND
    canvas = strokes_to_canvas(strokes, 64, "pad")
    assert set(np.unique(canvas)) == {0, BACKGROUND, FOREGROUND}
    line = canvas == FOREGROUND
    assert line.sum(axis=1).max() >= 45
    assert line.any(axis=1).sum() <= 2


def test_strokes_are_not_smeared_when_the_canvas_is_larger() -> None:
    strokes = bar(slice(20, 24), slice(30, 40), FOREGROUND)
    canvas = strokes_to_canvas(strokes, 320, "pad")
    assert (canvas > 0).sum() == pytest.approx(40 * 16, rel=0.1)
