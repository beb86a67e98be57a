"""Groups of similar samples, and agreement contours."""

from __future__ import annotations

import time

import numpy as np
import pytest
from skimage.draw import polygon2mask

from latentfm_core.metrics.distribution import pairwise_distance
from latentfm_core.metrics.overlap import dice, iou
from latentfm_core.uncertainty.contours import agreement_contours, foreground_share
from latentfm_core.uncertainty.hypotheses import (
    MAX_HYPOTHESES,
    ORDERS,
    find_hypotheses,
    ordered,
    sample_distances,
)
from tests.helpers.pictures import disc_mask as disc


def mean_of(samples: np.ndarray) -> np.ndarray:
    return samples.mean(axis=0) >= 0.5


@pytest.fixture
def two_looks() -> np.ndarray:
    """Six large discs at the left, three small ones at the right and an empty mask, shuffled."""
    rng = np.random.default_rng(3)
    left = [disc(32, 24 + rng.uniform(-1, 1), 16 + rng.uniform(-1, 1)) for _ in range(6)]
    right = [disc(30, 62 + rng.uniform(-1, 1), 9 + rng.uniform(-0.5, 0.5)) for _ in range(3)]
    masks = np.stack([*left, *right, np.zeros((64, 80), bool)])
    return masks[[0, 6, 1, 9, 2, 7, 3, 8, 4, 5]]


# --- hypotheses ---------------------------------------------------------------------------


def test_groups_are_the_distinct_outlines(two_looks: np.ndarray) -> None:
    found = find_hypotheses(two_looks, mean_of(two_looks))
    assert [h.members for h in found] == [(0, 2, 4, 6, 8, 9), (1, 5, 7), (3,)]
    assert [h.weight for h in found] == pytest.approx([0.6, 0.3, 0.1])
    assert [h.empty for h in found] == [False, False, True]


def test_figures_belong_to_the_medoid(two_looks: np.ndarray) -> None:
    mean = mean_of(two_looks)
    for hypothesis in find_hypotheses(two_looks, mean):
        mask = two_looks[hypothesis.medoid]
        assert hypothesis.medoid in hypothesis.members
        assert hypothesis.area == mask.sum()
        assert hypothesis.agreement == pytest.approx(dice(mask, mean))
        assert hypothesis.distance == pytest.approx(1 - iou(mask, mean))


def test_medoid_is_nearest_to_its_group() -> None:
    samples = np.stack([disc(32, 40, radius) for radius in (10, 11, 12, 13, 14)])
    first, *rest = find_hypotheses(np.concatenate([samples, [disc(8, 8, 4)] * 2]), samples[2])
    assert first.members == (0, 1, 2, 3, 4)
    assert first.medoid == 2
    assert [h.members for h in rest] == [(5, 6)]


def test_each_sample_is_in_one_group_and_weights_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    samples = np.stack(
        [disc(rng.uniform(5, 59), rng.uniform(5, 75), rng.uniform(2, 20)) for _ in range(40)]
    )
    found = find_hypotheses(samples, mean_of(samples))
    assert 2 <= len(found) <= MAX_HYPOTHESES
    assert sorted(i for h in found for i in h.members) == list(range(40))
    assert sum(h.weight for h in found) == pytest.approx(1)
    assert find_hypotheses(samples, mean_of(samples)) == found


def test_the_maximum_includes_the_empty_group(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.stack(
        [disc(10 + 15 * k, 10 + 20 * k, 6) for k in range(4)] + [np.zeros((64, 80), bool)]
    )
    assert len(find_hypotheses(samples, samples[0])) == 5
    monkeypatch.setattr("latentfm_core.uncertainty.hypotheses.MAX_HYPOTHESES", 3)
    capped = find_hypotheses(samples, samples[0])
    assert len(capped) == 3
    assert [h.members for h in capped if h.empty] == [(4,)]
    # With room for one group besides the empty one, all others share it.
    monkeypatch.setattr("latentfm_core.uncertainty.hypotheses.MAX_HYPOTHESES", 2)
    assert sorted(len(h.members) for h in find_hypotheses(samples, samples[0])) == [1, 4]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_samples_that_agree_are_one_hypothesis(count: int) -> None:
    samples = np.stack([disc(32, 40, 20)] * count)
    samples[-1, 32, 20] ^= True
    (only,) = find_hypotheses(samples, samples[0])
    assert only.members == tuple(range(count))
    assert only.weight == 1


def test_only_empty_samples_are_one_group() -> None:
    samples = np.zeros((3, 64, 80), bool)
    (only,) = find_hypotheses(samples, samples[0])
    assert only.empty
    assert only.weight == 1
    assert (only.agreement, only.distance) == (1, 0)


@pytest.mark.parametrize("columns", [(20, 60), (12, 40, 68), (68, 12)])
def test_dissimilar_samples_are_hypotheses_in_their_order(columns: tuple[int, ...]) -> None:
    samples = np.stack([disc(32, column, 9) for column in columns])
    found = find_hypotheses(samples, samples[0])
    assert [h.members for h in found] == [(n,) for n in range(len(columns))]


def test_single_pixels_are_distinguished_on_a_large_image() -> None:
    """The grid is coarse there; small foreground must still count."""
    samples = np.zeros((4, 900, 900), bool)
    samples[:2, 3, 5] = samples[2:, 871, 7] = True
    samples[:, 880, 890] = True
    distances = sample_distances(samples)
    assert distances[0, 1] == 0
    assert distances[0, 2] == pytest.approx(2 / 3, abs=1e-6)
    assert [h.members for h in find_hypotheses(samples, samples[0])] == [(0, 1), (2, 3)]


def test_distance_is_one_minus_iou_on_small_images(two_looks: np.ndarray) -> None:
    wanted = pairwise_distance(two_looks, two_looks)
    np.testing.assert_allclose(sample_distances(two_looks), wanted, atol=1e-6)


def test_distance_is_near_one_minus_iou_on_large_images() -> None:
    rng = np.random.default_rng(1)
    samples = np.stack(
        [disc(256, 256 + rng.uniform(-60, 60), rng.uniform(60, 150), (512, 512)) for _ in range(9)]
    )
    wanted = pairwise_distance(samples, samples)
    np.testing.assert_allclose(sample_distances(samples), wanted, atol=0.02)


def test_hypotheses_can_be_ordered(two_looks: np.ndarray) -> None:
    mean = mean_of(two_looks)
    found = find_hypotheses(two_looks, mean)
    areas = [h.area for h in ordered(found, "area")]
    assert areas == sorted(areas, reverse=True)
    agreements = [h.agreement for h in ordered(found, "agreement")]
    assert agreements == sorted(agreements, reverse=True)
    assert agreements[0] > agreements[-1]
    distances = [h.distance for h in ordered(found, "difference")]
    assert distances == sorted(distances, reverse=True)
    assert all(set(ordered(found, by)) == set(found) for by in ORDERS)
    with pytest.raises(ValueError, match="order must be one of"):
        ordered(found, "colour")  # type: ignore[arg-type]


def test_classes_separate_hypotheses() -> None:
    """The same outline with another class is another hypothesis."""
    shape = disc(32, 40, 15)
    cell = np.where(shape, 1, 0).astype(np.uint8)
    samples = np.stack([cell, cell, 2 * cell, cell, np.zeros_like(cell)])
    found = find_hypotheses(samples, cell)
    assert [h.members for h in found] == [(0, 1, 3), (2,), (4,)]
    assert [h.agreement for h in found] == [1, 0, 0]
    assert [h.area for h in found] == [shape.sum(), shape.sum(), 0]


def test_labels_of_one_class_equal_booleans(two_looks: np.ndarray) -> None:
    mean = mean_of(two_looks)
    labels = find_hypotheses(two_looks.astype(np.uint8) * 3, mean.astype(np.uint8) * 3)
    assert labels == find_hypotheses(two_looks, mean)


@pytest.mark.parametrize(
    ("samples", "mean"), [((0, 4, 4), (4, 4)), ((4, 4), (4, 4)), ((2, 4, 4), (4, 5))]
)
def test_unsuitable_input_is_refused(samples: tuple[int, ...], mean: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be|differ"):
        find_hypotheses(np.zeros(samples, bool), np.zeros(mean, bool))


def test_grouping_64_samples_of_512_pixels_is_fast() -> None:
    rng = np.random.default_rng(2)
    samples = np.stack(
        [disc(256, 256 + rng.uniform(-80, 80), rng.uniform(80, 200), (512, 512)) for _ in range(64)]
    )
    mean = mean_of(samples)
    best = np.inf
    # Processor time, and the best of several tries: other programs may be busy.
    for _ in range(5):
        start = time.process_time()
        find_hypotheses(samples, mean)
        best = min(best, time.process_time() - start)
    assert best < 0.2


# --- contours -----------------------------------------------------------------------------


def inside(contour: object, shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for path in contour.paths:  # type: ignore[attr-defined]
        mask ^= polygon2mask(shape, path)
    return mask


@pytest.mark.parametrize("count", [1, 3, 10, 30])
def test_contour_encloses_the_pixels_of_its_level(count: int) -> None:
    radii = np.linspace(8, 24, count)
    samples = np.stack([disc(32, 40, radius) for radius in radii])
    share = foreground_share(samples)
    contours = agreement_contours(samples)
    assert [c.level for c in contours] == [0.1, 0.5, 0.9]
    for contour in contours:
        wanted = share >= contour.level - 1e-6
        differs = (inside(contour, (64, 80)) != wanted).sum()
        assert differs <= 0.03 * wanted.sum()
        assert len(contour.paths) == 1


def test_contours_are_closed_along_the_image_border() -> None:
    samples = np.ones((4, 20, 30), bool)
    for contour in agreement_contours(samples):
        (path,) = contour.paths
        np.testing.assert_array_equal(path[0], path[-1])
        # Interpolation puts the line between the outermost pixel centres and the border.
        assert (path.min(axis=0) <= 0).all()
        assert (path.max(axis=0) >= [19, 29]).all()
        assert (path >= -0.5).all()
        assert (path <= [19.5, 29.5]).all()
        np.testing.assert_array_equal(inside(contour, (20, 30)), samples[0])


def test_two_objects_and_a_hole_have_three_paths() -> None:
    ring = disc(30, 24, 18) & ~disc(30, 24, 8)
    samples = np.stack([ring | disc(30, 66, 8)] * 3)
    assert [len(c.paths) for c in agreement_contours(samples)] == [3, 3, 3]


def test_a_lone_pixel_has_a_contour_and_no_foreground_has_none() -> None:
    samples = np.zeros((2, 9, 9), bool)
    assert [c.paths for c in agreement_contours(samples)] == [(), (), ()]
    samples[0, 4, 4] = True
    assert [len(c.paths) for c in agreement_contours(samples)] == [1, 1, 0]


def test_every_class_counts_as_foreground() -> None:
    samples = np.stack([disc(32, 40, 12).astype(np.uint8) * label for label in (1, 2)])
    (contour,) = agreement_contours(samples, [1.0])
    assert inside(contour, (64, 80))[32, 40]


@pytest.mark.parametrize("level", [0.0, 1.1])
def test_a_level_out_of_range_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="levels must lie"):
        agreement_contours(np.ones((2, 4, 4), bool), [level])
