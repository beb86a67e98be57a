"""Fitting and application of calibrations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

from latentfm_core.config import SamplingConfig, config_from_mapping
from latentfm_core.errors import DatasetError
from latentfm_core.evaluation.calibrate import fit_calibration
from latentfm_core.evaluation.evaluate import Case, evaluate
from latentfm_core.evaluation.evidence import SIGMA_SHARES, THRESHOLDS, choose_threshold
from latentfm_core.evaluation.frequency import Frequency
from latentfm_core.images.canvas import from_canvas
from latentfm_core.images.read import read_image, read_mask
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.metrics.reliability import error_auroc
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.training.validate import draft_card
from latentfm_core.types import ImageInput, SampleSet
from latentfm_core.uncertainty.calibration import MAX_KNOTS, Calibration
from latentfm_core.uncertainty.summary import summarise
from tests.helpers.calibrating import RAW, SETTINGS, with_calibration
from tests.helpers.fixtures import Folders, tiny_settings


@pytest.fixture(scope="module")
def odd_cases(blob_folders: Folders) -> list[Case]:
    """Cases of two raters who draw differently from the training data: one wide, one narrow.

    What the samples agree on is then often wrong.
    """
    cases = []
    for index in range(0, 40, 2):
        name = f"blob_{index:03d}.png"
        mask = read_mask(blob_folders[1] / name)
        wide = binary_dilation(mask, iterations=9)
        narrow = binary_erosion(mask, iterations=1 + index % 3)
        cases.append(Case(read_image(blob_folders[0] / name), np.stack([wide, narrow])))
    return cases


@pytest.fixture(scope="module")
def fitted(segmenter: Segmenter, odd_cases: list[Case]) -> Calibration:
    return fit_calibration(segmenter, odd_cases[::2], SETTINGS)


# --- the maps -----------------------------------------------------------------------------


def test_calibrated_confidence_equals_accuracy(
    segmenter: Segmenter, fitted: Calibration, odd_cases: list[Case]
) -> None:
    """On images outside the fit, for which the raw confidence is far off."""
    mine = with_calibration(segmenter, fitted)
    raw = evaluate(mine, odd_cases[1::2], RAW)
    calibrated = evaluate(mine, odd_cases[1::2], SETTINGS)
    assert raw.means()["confidence_ece"] > 0.08
    assert calibrated.means()["confidence_ece"] < 0.25 * raw.means()["confidence_ece"]
    assert calibrated.means()["dataset_ece"] < 0.5 * raw.means()["dataset_ece"]
    # The neighbourhood finds more errors than the spread of a single pixel.
    assert calibrated.mean("error_auroc") > raw.mean("error_auroc")
    bins = calibrated.agreement
    full = bins.count > 0.02 * bins.count.sum()
    assert full.sum() >= 3
    np.testing.assert_allclose(bins.mean_probability[full], bins.frequency[full], atol=0.1)
    for name in ("dice", "iou", "sample_dice", "ged", "diversity"):
        assert calibrated.mean(name) == raw.mean(name), "masks stay as they are"


def test_the_fit_recovers_a_known_frequency() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(400_000, dtype=np.float32) ** 3
    found = Frequency.empty()
    found.add(score, rng.random(score.size) < 0.2 + 0.7 * score)
    fit = found.fit()
    assert len(fit.x) <= MAX_KNOTS
    at = np.linspace(0.01, 0.95, 40)
    np.testing.assert_allclose(fit(at), 0.2 + 0.7 * at, atol=0.03)
    assert (np.diff(fit(np.linspace(0, 1, 500))) >= 0).all()


@pytest.mark.parametrize("value", [True, False])
def test_a_single_outcome_gives_a_constant(value: bool) -> None:
    found = Frequency.empty()
    found.add(np.linspace(0, 1, 50, dtype=np.float32), np.full(50, value))
    np.testing.assert_array_equal(found.fit()(np.array([0.0, 0.3, 1.0])), float(value))


def test_threshold_and_neighbourhood_are_optimal(
    segmenter: Segmenter, fitted: Calibration, odd_cases: list[Case]
) -> None:
    mine = with_calibration(segmenter, fitted)
    drawn = [(mine.sample(case.image, SETTINGS), case) for case in odd_cases[::2]]

    def dice_of(samples: SampleSet, case: Case, threshold: float) -> float:
        mask = summarise(samples, threshold).mean_mask
        return float(np.mean([dice(mask, rater) for rater in case.references]))

    table = np.array([[dice_of(*one, value) for value in THRESHOLDS] for one in drawn])
    assert fitted.threshold == THRESHOLDS[choose_threshold(table)]
    assert np.ptp(table.mean(axis=0)) > 0.05, "they differ"

    def pooled_auroc(sigma: float) -> float:
        confidence, mask, truth = [], [], []
        for samples, case in drawn:
            q = gaussian_filter(samples.probabilities.mean(axis=0), sigma, mode="nearest")
            q = from_canvas(q, samples.geometry)
            for rater in case.references:
                confidence.append(1 - 4 * q * (1 - q))
                mask.append(summarise(samples, fitted.threshold).mean_mask)
                truth.append(rater)
        return error_auroc(np.stack(confidence), np.stack(mask), np.stack(truth)) or 0.0

    best = max(pooled_auroc(64 * share) for share in SIGMA_SHARES)
    assert pooled_auroc(fitted.sigma) == pytest.approx(best, abs=0.005)


def test_the_threshold_differs_from_one_half_only_if_significant() -> None:
    rng = np.random.default_rng(5)
    low, middle = THRESHOLDS.index(0.3), THRESHOLDS.index(0.5)
    dice_of = np.full((60, len(THRESHOLDS)), 0.5)
    dice_of[:, middle] = rng.uniform(0.7, 0.9, 60)

    always_better = dice_of.copy()
    always_better[:, low] = dice_of[:, middle] + 0.01
    assert choose_threshold(always_better) == low

    better_by_luck = dice_of.copy()
    better_by_luck[:, low] = dice_of[:, middle] + np.where(np.arange(60) % 2, 0.06, -0.05)
    assert better_by_luck.mean(axis=0).argmax() == low, "the highest mean is not enough"
    assert choose_threshold(better_by_luck) == middle

    assert choose_threshold(always_better[:1]) == middle, "one image says nothing of chance"


def test_refined_samples_use_a_lower_default_threshold(promptable: Segmenter) -> None:
    once = SamplingConfig(refine=False)
    assert promptable.resolved().threshold == 0.45
    assert promptable.resolved(once).threshold == 0.5
    assert promptable.resolved(group="box").threshold == 0.5
    even = np.full((10, len(THRESHOLDS)), 0.5)
    assert THRESHOLDS[choose_threshold(even, usual=0.45)] == 0.45


def test_a_threshold_that_suits_only_one_video_is_not_chosen() -> None:
    """Of 40 frames, 24 of one video gain with another threshold, and the others lose slightly."""
    low, middle = THRESHOLDS.index(0.1), THRESHOLDS.index(0.5)
    videos = ["a"] * 24 + ["b"] * 10 + ["c"] * 6
    dice_of = np.full((40, len(THRESHOLDS)), 0.5)
    dice_of[:, middle] = 0.7
    dice_of[:, low] = 0.7 + np.where(np.array(videos) == "a", 0.1, -0.01)
    assert choose_threshold(dice_of) == low, "as single images they seem to agree"
    assert choose_threshold(dice_of, videos) == middle
    dice_of[:, low] = 0.78 + 0.001 * np.arange(40)
    assert choose_threshold(dice_of, videos) == low


def test_summary_follows_the_formulas(segmenter: Segmenter, fitted: Calibration) -> None:
    pixels = np.random.default_rng(3).integers(60, 220, (50, 70, 3), dtype=np.uint8)
    samples = segmenter.sample(ImageInput(pixels), SETTINGS)
    mine = with_calibration(segmenter, fitted)
    raw, calibrated = mine.summarise(samples, RAW), mine.summarise(samples, SETTINGS)
    assert (raw.calibrated, calibrated.calibrated) == (False, True)
    canvas = samples.probabilities.astype(np.float64).mean(axis=0)
    q = gaussian_filter(canvas, fitted.sigma, mode="nearest", truncate=3.0).astype(np.float32)
    q = from_canvas(q, samples.geometry)
    expected = np.interp(1 - 4 * q * (1 - q), fitted.confidence.x, fitted.confidence.y)
    np.testing.assert_allclose(calibrated.confidence, expected, atol=1e-3)
    assert fitted.probability is not None
    expected = np.interp(raw.mean_probability, fitted.probability.x, fitted.probability.y)
    np.testing.assert_allclose(calibrated.mean_probability, expected, atol=1e-6)
    np.testing.assert_array_equal(raw.mean_mask, raw.mean_probability >= fitted.threshold)
    for name in ("mean_mask", "variance", "sample_masks"):
        np.testing.assert_array_equal(getattr(calibrated, name), getattr(raw, name))
    np.testing.assert_allclose(raw.confidence, 1 - 4 * raw.variance, atol=1e-6)


def test_one_image_is_held_at_a_time(segmenter: Segmenter, odd_cases: list[Case]) -> None:
    events: list[str] = []

    def cases() -> Any:
        for index, case in enumerate(odd_cases[:3]):
            events.append(f"read {index}")
            yield case

    fit_calibration(segmenter, cases(), SETTINGS, lambda done: events.append(f"did {done}"))
    assert events == ["read 0", "did 1", "read 1", "did 2", "read 2", "did 3"]


def test_several_classes_are_calibrated_together(odd_cases: list[Case]) -> None:
    """The calibrated confidence of a random model is close to its accuracy."""
    config = config_from_mapping({**tiny_settings(), "model": {"classes": ["disc", "square"]}})
    torch.manual_seed(0)
    segmenter = Segmenter(LatentFM(config.model), draft_card(config), "cpu", "fp32")
    cases = [
        Case(c.image, c.references.astype(np.uint8) * (1, 2)[i % 2])
        for i, c in enumerate(odd_cases[:6])
    ]
    fitted = fit_calibration(segmenter, cases, SETTINGS)
    assert (fitted.probability, fitted.threshold) == (None, 0.5)
    mine = with_calibration(segmenter, fitted)
    found, raw = evaluate(mine, cases, SETTINGS), evaluate(mine, cases, RAW)
    assert found.means()["confidence_ece"] < 0.5 * raw.means()["confidence_ece"]
    assert found.mean("dice") == raw.mean("dice")


def test_calibration_without_images_is_refused(segmenter: Segmenter) -> None:
    with pytest.raises(DatasetError, match="no image"):
        fit_calibration(segmenter, [], SETTINGS)
