"""The noise scale is fitted to the errors of a model."""

from __future__ import annotations

import numpy as np
import pytest

from latentfm_core.config import SamplingConfig
from latentfm_core.evaluation.calibrate import ends_of_range, fit_calibration
from latentfm_core.evaluation.evaluate import Case, evaluate
from latentfm_core.evaluation.noise_scale import NOISE_SCALES, choose_noise_scale
from latentfm_core.images.read import read_image, read_mask
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.distribution import sample_diversity
from latentfm_core.types import ImageInput
from latentfm_core.uncertainty.calibration import Calibration, MonotoneMap
from tests.helpers.calibrating import SETTINGS, with_calibration
from tests.helpers.fixtures import Folders


def at(scale: float) -> SamplingConfig:
    return SETTINGS.model_copy(update={"noise_scale": scale})


@pytest.fixture(scope="module")
def image(blob_folders: Folders) -> ImageInput:
    return read_image(blob_folders[0] / "blob_003.png")


@pytest.fixture(scope="module")
def disputed(blob_folders: Folders) -> list[Case]:
    """Cases of two raters, one of whom draws only empty masks."""
    cases = []
    for index in range(0, 24, 2):
        name = f"blob_{index:03d}.png"
        mask = read_mask(blob_folders[1] / name)
        cases.append(Case(read_image(blob_folders[0] / name), np.stack([mask, mask & False])))
    return cases


@pytest.fixture(scope="module")
def widened(segmenter: Segmenter) -> Segmenter:
    """The small model with a calibration of the noise scale alone."""
    same = MonotoneMap(x=(0.0, 1.0), y=(0.0, 1.0))
    numbers = {"n_images": 1, "n_samples": 4, "steps": 2, "solver": "euler"}
    calibration = Calibration(sigma=0, confidence=same, noise_scale=1.5, **numbers)
    return with_calibration(segmenter, calibration)


def test_a_larger_scale_makes_samples_differ_more(segmenter: Segmenter, image: ImageInput) -> None:
    diversity = []
    for scale in (0.5, 1.0, 2.0):
        probabilities = segmenter.sample(image, at(scale)).probabilities
        diversity.append(sample_diversity(probabilities >= 0.5))
    assert diversity[0] < diversity[1] < diversity[2]


def test_the_default_noise_scale_is_that_of_training(
    segmenter: Segmenter, image: ImageInput
) -> None:
    plain = segmenter.sample(image, SETTINGS)
    assert plain.settings["noise_scale"] == 1
    np.testing.assert_array_equal(
        plain.probabilities, segmenter.sample(image, at(1.0)).probabilities
    )


def test_calibration_finds_the_scale_closest_to_the_raters(
    segmenter: Segmenter, disputed: list[Case], caplog: pytest.LogCaptureFixture
) -> None:
    many = SETTINGS.model_copy(update={"n_samples": 16})
    drawn = [many.model_copy(update={"noise_scale": scale}) for scale in NOISE_SCALES]
    scores = [evaluate(segmenter, disputed, settings).scores for settings in drawn]
    # Pairs of different samples: a sample's distance from itself is not spread.
    fair = np.array([[score.ged - score.diversity / 16 for score in of_one] for of_one in scores])
    table = np.array([[score.dice for score in of_one] for of_one in scores])
    with caplog.at_level("INFO"):
        fitted = fit_calibration(segmenter, disputed, many)
    assert fitted.noise_scale == NOISE_SCALES[choose_noise_scale(fair.T, table.T)[0]]
    assert f"noise scale {fitted.noise_scale:g} is used: the " in caplog.text
    assert fitted.noise_scale > 1, "the raters differ more than what the model was trained on"
    assert ("an end of the range" in caplog.text) is (fitted.noise_scale == NOISE_SCALES[-1])
    usual = fair[NOISE_SCALES.index(1.0)].mean()
    assert fair[NOISE_SCALES.index(fitted.noise_scale)].mean() < usual - 0.02


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"noise_scale": 2.0},
            ["noise scale, 2, is an end of the range that is searched (0.75"],
        ),
        ({"noise_scale": 0.75}, ["noise scale, 0.75, is an end"]),
        (
            {"threshold": 0.95},
            ["threshold, 0.95, is an end of the range that is searched"],
        ),
        ({"noise_scale": 1.5, "threshold": 0.9}, []),
    ],
)
def test_a_fitted_value_at_the_limit_of_its_range_is_reported(
    widened: Segmenter, values: dict[str, float], said: list[str]
) -> None:
    assert widened.card.calibration is not None
    found = ends_of_range(widened.card.calibration.model_copy(update=values))
    assert len(found) == len(said)
    assert all(text in one for text, one in zip(said, found, strict=True))


def test_the_noise_scale_stays_near_one_without_clear_gain() -> None:
    rng = np.random.default_rng(2)
    own, middle = rng.uniform(0.2, 0.6, 40), NOISE_SCALES.index(1.0)
    ged = np.stack([own] * len(NOISE_SCALES), axis=1) + 0.05
    dice = np.full(ged.shape, 0.8)
    ged[:, middle], ged[:, middle + 1] = own, own + 0.01 * rng.standard_normal(40) - 0.001
    assert ged.mean(axis=0).argmin() == middle + 1, "the least mean is not enough"
    index, reason = choose_noise_scale(ged, dice)
    assert index == middle
    assert "GED at 1.25 is lower, but by less than the standard error" in reason
    ged[:, middle + 1] = own - 0.02 * rng.random(40)
    assert choose_noise_scale(ged, dice) == (middle + 1, "the lowest GED")
    worse = dice - 0.001 * (np.arange(len(NOISE_SCALES)) == middle + 1)
    index, reason = choose_noise_scale(ged, worse)
    assert index == middle, "the mean mask must not lose"
    assert reason == "the lowest GED, of the scales with at least the Dice at 1"
    # One of three videos improves greatly, the others do not: one observation.
    videos = ["a"] * 30 + ["b"] * 5 + ["c"] * 5
    ged[:, middle + 1] = own - np.where(np.array(videos) == "a", 0.02, -0.03)
    assert choose_noise_scale(ged, dice)[0] == middle + 1
    assert choose_noise_scale(ged, dice, videos)[0] == middle


def test_a_chance_improvement_does_not_change_the_noise(
    segmenter: Segmenter, disputed: list[Case]
) -> None:
    assert fit_calibration(segmenter, disputed[:1], SETTINGS).noise_scale == 1
    of_one = {case.image.name: "one video" for case in disputed}
    assert fit_calibration(segmenter, disputed, SETTINGS, groups=of_one).noise_scale == 1


def test_a_single_sample_has_no_spread_to_fit(segmenter: Segmenter, disputed: list[Case]) -> None:
    one = SETTINGS.model_copy(update={"n_samples": 1})
    assert fit_calibration(segmenter, disputed, one).noise_scale == 1


def test_samples_use_the_noise_scale_of_the_model_and_strokes_keep_it(
    segmenter: Segmenter, widened: Segmenter, image: ImageInput
) -> None:
    drawn = widened.sample(image, SETTINGS)
    assert drawn.settings["noise_scale"] == 1.5
    np.testing.assert_array_equal(
        drawn.probabilities, segmenter.sample(image, at(1.5)).probabilities
    )
    strokes = np.zeros(image.pixels.shape[:2], np.uint8)
    strokes[30:34, 30:34] = 2
    corrected = widened.sample(image, SETTINGS, strokes=strokes).probabilities
    np.testing.assert_array_equal(
        corrected, segmenter.sample(image, at(1.5), strokes=strokes).probabilities
    )
    usual = segmenter.sample(image, SETTINGS, strokes=strokes).probabilities
    assert np.abs(corrected - usual).max() > 0.01
