"""Uncertain regions and the spread of sizes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from skimage.draw import disk
from skimage.measure import label

from latentfm_core.types import Summary
from latentfm_core.uncertainty.regions import shape_of, uncertain_regions
from latentfm_core.uncertainty.size import area_spread, diameter_spread
from tests.helpers.pictures import disc_mask

SHAPE = (128, 160)
disc = partial(disc_mask, shape=SHAPE)


def summary_of(masks: np.ndarray, calibrated: bool = False) -> Summary:
    p = masks.mean(axis=0).astype(np.float32)
    variance = p * (1 - p)
    confidence = np.maximum(p, 1 - p) if calibrated else 1 - 4 * variance
    return Summary(p, p >= 0.5, variance, confidence, masks, calibrated=calibrated)


def planted() -> np.ndarray:
    """Ten samples: a certain disc, uncertainty at its right side, and a faint spot far from it."""
    masks = np.stack([disc(64, 60, 30)] * 10)
    masks[:5] |= disc(64, 92, 10)
    masks[:2] |= disc(20, 140, 5)
    return masks


@pytest.mark.parametrize("calibrated", [False, True])
def test_planted_uncertainty_is_found_and_ranked(calibrated: bool) -> None:
    regions, labels = uncertain_regions(summary_of(planted(), calibrated))
    bump = disc(64, 92, 10) & ~disc(64, 60, 30)
    spot = disc(20, 140, 5)
    assert [region.place for region in regions] == ["boundary", "apart"]
    np.testing.assert_array_equal(labels == 1, bump)
    np.testing.assert_array_equal(labels == 2, spot)
    assert [region.area for region in regions] == [bump.sum(), spot.sum()]
    assert regions[0].stake == pytest.approx(0.5 * bump.sum(), rel=1e-4)
    assert regions[1].stake == pytest.approx(0.2 * spot.sum(), rel=1e-4)
    for region in regions:
        assert labels[region.centre] == region.rank
        top, left, bottom, right = region.box
        assert (labels[top:bottom, left:right] == region.rank).sum() == region.area


def test_an_uncertain_outline_is_divided_into_sections() -> None:
    masks = np.stack([disc(64, 80, radius) for radius in np.linspace(36, 48, 10)])
    regions, labels = uncertain_regions(summary_of(masks))
    assert len(regions) >= 6
    # The whole ring is covered, and no section is half the ring.
    uncertain = summary_of(masks).confidence < 0.639
    assert (labels > 0).sum() > 0.97 * uncertain.sum()
    areas = [region.area for region in regions]
    assert max(areas) < 0.3 * uncertain.sum()
    assert max(areas) < 4 * min(areas)
    assert {region.place for region in regions} == {"boundary"}


def test_a_long_region_without_an_outline_is_not_cut() -> None:
    masks = np.zeros((10, *SHAPE), bool)
    masks[:3, 60:64, 10:150] = True
    regions, _ = uncertain_regions(summary_of(masks))
    assert [(region.area, region.place) for region in regions] == [(560, "apart")]


def test_samples_that_agree_have_no_uncertain_region() -> None:
    regions, labels = uncertain_regions(summary_of(np.stack([disc(64, 60, 30)] * 4)))
    assert regions == ()
    assert not labels.any()


def test_specks_and_the_tail_of_the_ranking_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = np.stack([disc(64, 60, 30)] * 10)
    masks[:5, 3, 3] = True
    assert uncertain_regions(summary_of(masks))[0] == ()
    monkeypatch.setattr("latentfm_core.uncertainty.regions.MAX_REGIONS", 1)
    regions, labels = uncertain_regions(summary_of(planted()))
    assert len(regions) == 1
    assert labels.max() == 1


def test_uncertainty_between_classes() -> None:
    p = np.zeros((3, *SHAPE), np.float32)
    p[0] = 1
    between = disc(64, 60, 10)
    p[:, between] = np.array([0.0, 0.6, 0.4], np.float32)[:, None]
    labels = p.argmax(axis=0).astype(np.uint8)
    confidence = np.where(between, 0.4, 1.0).astype(np.float32)
    summary = Summary(p, labels, 1 - confidence, confidence, labels[None])
    ((region,), _) = uncertain_regions(summary)
    assert region.stake == pytest.approx(0.4 * between.sum(), rel=1e-4)


def test_spread_of_areas_in_physical_units() -> None:
    masks = np.zeros((3, 40, 40), bool)
    masks[0, 5:15, 5:25] = True
    masks[1, 5:15, 5:15] = True
    spread = area_spread(masks, (0.5, 2.0))
    np.testing.assert_allclose(spread.values, [200, 100, 0])
    assert spread.mean == pytest.approx(100)
    assert (spread.low, spread.high) == (pytest.approx(10), pytest.approx(190))


def test_diameter_respects_the_spacing() -> None:
    masks = np.zeros((4, 60, 60), bool)
    masks[0, 10:13, 10:14] = True
    masks[1, 30, 10:50] = True
    masks[2, 20, 20] = True
    spread = diameter_spread(masks, (1.0, 1.0))
    np.testing.assert_allclose(spread.values, [5, np.hypot(1, 40), np.sqrt(2), 0])
    np.testing.assert_allclose(diameter_spread(masks, (2.0, 0.5)).values[1], np.hypot(2, 20))
    circle = disc(64, 80, 40)[None]
    assert diameter_spread(circle).mean == pytest.approx(80, rel=0.03)


def test_nine_of_ten_agreeing_is_not_uncertain() -> None:
    masks = np.stack([disc(64, 60, 30)] * 10)
    masks[0, 50:60, 50:60] = False
    masks[0, 110:120, 100:110] = True
    assert uncertain_regions(summary_of(masks))[0] == ()


def test_thousands_of_specks_give_few_regions() -> None:
    rng = np.random.default_rng(0)
    p = rng.random((512, 512), np.float32)
    summary = Summary(p, p >= 0.5, p * (1 - p), 1 - 4 * p * (1 - p), (p >= 0.5)[None])
    regions, labels = uncertain_regions(summary)
    assert len(regions) <= 10
    assert labels.max() == len(regions)


def test_a_long_ragged_ring_is_covered_by_at_most_ten_sections() -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((10, 256, 256), bool)
    for number, radius in enumerate(np.linspace(96, 112, 10)):
        masks[number][disk((128, 128), radius, shape=(256, 256))] = True
    masks ^= rng.random(masks.shape) < 0.02
    summary = summary_of(masks)
    regions, labels = uncertain_regions(summary)
    assert 6 <= len(regions) <= 10
    ring = np.zeros((256, 256), bool)
    ring[disk((128, 128), 110, shape=(256, 256))] = True
    ring[disk((128, 128), 98, shape=(256, 256))] = False
    uncertain = ring & (summary.confidence < 0.639)
    assert (labels[uncertain] > 0).mean() > 0.98
    # No region is a fragment.
    areas = [region.area for region in regions]
    assert max(areas) < 3 * min(areas)


def test_many_small_objects_are_grouped_by_neighbourhood() -> None:
    masks = np.zeros((10, 256, 256), bool)
    for row in range(20, 250, 44):
        for column in range(20, 250, 44):
            masks[:5, row - 5 : row + 5, column - 5 : column + 5] = True
    regions, labels = uncertain_regions(summary_of(masks))
    assert len(regions) == 10
    assert all(max(r.box[2] - r.box[0], r.box[3] - r.box[1]) <= 0.4 * 256 for r in regions)
    # Most of the 36 are in one of the ten.
    assert (labels > 0).sum() >= 0.8 * 3600


def test_a_band_with_gaps_is_one_region() -> None:
    masks = np.zeros((10, *SHAPE), bool)
    masks[:3, 60:64, 20:50] = True
    masks[:, :, 24::6] = False
    regions, _ = uncertain_regions(summary_of(masks))
    assert len(regions) == 1
    assert regions[0].box == (60, 20, 64, 50)


def test_the_shape_of_a_region_joins_its_fragments() -> None:
    dashes = np.zeros(SHAPE, bool)
    dashes[60:64, 20:50] = True
    dashes[:, 24::6] = False
    joined = shape_of(dashes)
    assert label(joined, return_num=True)[1] == 1
    assert joined[dashes].all()
    assert joined.sum() == pytest.approx(120, rel=0.1)
    whole = disc(64, 60, 12)
    np.testing.assert_array_equal(shape_of(whole), whole)
    # Far apart, at the border of the image: still two.
    far = disc(0, 20, 6) | disc(0, 120, 6)
    np.testing.assert_array_equal(shape_of(far), far)
