"""Sizes of marked objects against shapes whose sizes are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.measure import regionprops

from latentfm_core.measures.objects import MarkedObject, objects_of
from latentfm_core.uncertainty.size import diameter_spread


def ellipse(
    axes: tuple[float, float], spacing: tuple[float, float], angle: float = 0.0
) -> np.ndarray:
    """Return an ellipse with these semi-axes in units, on pixels of this size."""
    reach = max(axes) * 1.2
    rows, columns = (math.ceil(2 * reach / step) for step in spacing)
    y, x = np.mgrid[:rows, :columns] + 0.5
    y, x = y * spacing[0] - reach, x * spacing[1] - reach
    turned = (y * math.cos(angle) - x * math.sin(angle), y * math.sin(angle) + x * math.cos(angle))
    return np.asarray((turned[0] / axes[0]) ** 2 + (turned[1] / axes[1]) ** 2 <= 1, np.uint8)


def around_ellipse(a: float, b: float) -> float:
    """Return the perimeter of an ellipse (Ramanujan's second formula, exact to 1e-5 here)."""
    h = ((a - b) / (a + b)) ** 2
    return math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))


def only(labels: np.ndarray) -> MarkedObject:
    (found,) = objects_of(labels)
    return found


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.25), (0.1, 0.3), (0.25, 0.5)])
@pytest.mark.parametrize("axes", [(20.0, 20.0), (30.0, 12.0)])
@pytest.mark.parametrize("angle", [0.0, 0.5, 1.2])
def test_ellipses_have_their_sizes_on_any_pixels(
    axes: tuple[float, float], spacing: tuple[float, float], angle: float
) -> None:
    found = only(ellipse(axes, spacing, angle))
    assert found.area(spacing) == pytest.approx(math.pi * axes[0] * axes[1], rel=0.01)
    corners = math.hypot(*spacing)
    assert 2 * max(axes) - corners <= found.diameter(spacing) <= 2 * max(axes) + corners
    assert found.perimeter(spacing) == pytest.approx(around_ellipse(*axes), rel=0.035)


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 4])
def test_the_perimeter_of_a_rectangle_at_any_angle(angle: float) -> None:
    y, x = np.mgrid[:260, :260] - 129.7
    along, across = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    found = only(np.asarray((abs(along) < 80) & (abs(across) < 40), np.uint8))
    assert found.perimeter() == pytest.approx(480, rel=0.015)
    assert found.diameter() == pytest.approx(math.hypot(160, 80), abs=2)


def test_a_pixel_and_a_row_of_pixels_have_their_corners_as_diameter() -> None:
    labels = np.zeros((9, 30), np.uint8)
    labels[4, 3:28] = 1
    assert only(labels).diameter((2.0, 0.5)) == pytest.approx(math.hypot(2, 12.5))
    labels[:] = 0
    labels[0, 29] = 7
    found = only(labels)
    assert (found.label, found.pixels, len(found.pieces)) == (7, 1, 1)
    assert found.diameter() == pytest.approx(math.sqrt(2))
    assert 2 < found.perimeter() <= 4


def test_pieces_belong_to_their_label_and_holes_count_for_the_perimeter() -> None:
    disc, hole = ellipse((40, 40), (1, 1)), ellipse((15, 15), (1, 1))
    labels = np.zeros((140, 200), np.uint16)
    labels[: disc.shape[0], : disc.shape[1]] = disc * np.uint16(300)
    row = (disc.shape[0] - hole.shape[0]) // 2
    labels[row : row + hole.shape[0], row : row + hole.shape[1]][hole != 0] = 0
    labels[110:130, 150:180] = 300
    labels[2:5, 150:160] = 4
    small, large = objects_of(labels)
    assert (small.label, large.label) == (4, 300)
    assert len(large.pieces) == 2
    assert large.pixels == np.count_nonzero(labels == 300)
    assert large.perimeter() == pytest.approx(2 * math.pi * 55 + 100, rel=0.02)
    assert large.diameter() == pytest.approx(80, abs=1.5), "of the largest piece"


def test_touching_corners_are_one_piece_and_touching_labels_two_objects() -> None:
    labels = np.zeros((6, 6), np.uint8)
    labels[1, 1] = labels[2, 2] = 1
    labels[2, 1] = 2
    one, two = objects_of(labels)
    assert (len(one.pieces), one.pixels, two.pixels) == (1, 2, 1)


def test_labels_without_background_and_without_anything() -> None:
    assert [found.pixels for found in objects_of(np.full((3, 4), 2**32 - 1, np.uint32))] == [12]
    assert list(objects_of(np.zeros((3, 4), np.uint8))) == []


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.25)])
def test_area_and_diameter_are_those_of_scikit_image(spacing: tuple[float, float]) -> None:
    rng = np.random.default_rng(3)
    mask = ellipse((25, 9), spacing, 0.7)
    mask[rng.random(mask.shape) < 0.01] = 0
    found = only(mask)
    (theirs,) = regionprops(mask, spacing=spacing)
    assert found.area(spacing) == pytest.approx(theirs.area)
    # It measures from the middles of pixel edges, not from the corners.
    assert found.diameter(spacing) == pytest.approx(
        theirs.feret_diameter_max, abs=math.hypot(*spacing)
    )
    (spread,) = diameter_spread(mask[None], spacing).values
    assert found.diameter(spacing) == spread, "the same figure in every panel"
