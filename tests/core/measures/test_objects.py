"""Measurements of shapes of known area, diameter and perimeter."""

from __future__ import annotations

import math

import numpy as np
import pytest

from latentfm_core.measures.objects import PixelSize, measure_objects, objects_of

SIZES = [PixelSize(1.0, 1.0, "mm"), PixelSize(0.5, 0.25, "mm"), PixelSize(0.3, 0.9, "µm")]


def plane(size: PixelSize, height: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates of pixel centres in units, from the middle of the plane."""
    rows, columns = (int(height / size.row) + 6, int(width / size.column) + 6)
    row, column = np.mgrid[:rows, :columns]
    return (row - rows / 2 + 0.27) * size.row, (column - columns / 2 + 0.41) * size.column


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("radius", [12.0, 40.0])
def test_disc(size: PixelSize, radius: float) -> None:
    row, column = plane(size, 2 * radius, 2 * radius)
    (found,) = measure_objects((row**2 + column**2 <= radius**2).astype(np.uint8), size)
    assert found.physical is not None
    assert found.physical.area == pytest.approx(math.pi * radius**2, rel=0.01)
    assert found.physical.diameter == pytest.approx(2 * radius, abs=2 * max(size.spacing))
    assert found.physical.perimeter == pytest.approx(2 * math.pi * radius, rel=0.03)
    assert (found.label, found.pieces) == (1, 1)


@pytest.mark.parametrize("size", SIZES)
def test_area_and_diameter_of_an_axis_aligned_square_are_exact(size: PixelSize) -> None:
    labels = np.zeros((60, 70), np.uint8)
    labels[10:50, 5:65] = 7
    (found,) = measure_objects(labels, size)
    height, width = 40 * size.row, 60 * size.column
    assert found.physical is not None
    assert found.physical.area == pytest.approx(height * width)
    assert found.physical.diameter == pytest.approx(math.hypot(height, width))
    # Its corners are rounded by the averaging.
    assert found.physical.perimeter == pytest.approx(2 * (height + width), rel=0.03)
    assert found.pixels.area == 2400
    assert found.pixels.diameter == pytest.approx(math.hypot(40, 60))
    assert found.label == 7


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("angle", [10, 30, 45, 75])
def test_rotated_rectangle(size: PixelSize, angle: int) -> None:
    length, width = 80.0, 30.0
    row, column = plane(size, 90, 90)
    turn = math.radians(angle)
    along = math.cos(turn) * column + math.sin(turn) * row
    across = math.cos(turn) * row - math.sin(turn) * column
    inside = (abs(along) <= length / 2) & (abs(across) <= width / 2)
    (found,) = measure_objects(inside.astype(np.uint8), size)
    assert found.physical is not None
    assert found.physical.area == pytest.approx(length * width, rel=0.02)
    assert found.physical.diameter == pytest.approx(math.hypot(length, width), rel=0.03)
    assert found.physical.perimeter == pytest.approx(2 * (length + width), rel=0.03)


def test_pieces_of_a_label_are_one_object_or_one_each() -> None:
    labels = np.zeros((50, 60), np.uint16)
    labels[5:15, 5:15] = 300
    labels[20:24, 20:24] = 300
    labels[24:26, 24:26] = 300  # touches at a corner
    labels[40:45, 40:50] = 2
    small, large = measure_objects(labels)
    assert (small.number, small.label, small.pieces, small.pixels.area) == (1, 2, 1, 50)
    assert (large.number, large.label, large.pieces, large.pixels.area) == (2, 300, 2, 120)
    assert large.pixels.diameter == pytest.approx(math.hypot(10, 10)), "of the largest piece"
    assert large.physical is None
    apart = measure_objects(labels, separate=True)
    assert [(each.number, each.label, each.pixels.area) for each in apart] == [
        (1, 2, 50),
        (2, 300, 100),
        (3, 300, 20),
    ]


def test_a_hole_counts_in_the_perimeter_and_not_in_the_area() -> None:
    labels = np.zeros((80, 80), np.uint8)
    labels[10:70, 10:70] = 1
    (whole,) = measure_objects(labels)
    labels[30:50, 30:50] = 0
    (ring,) = measure_objects(labels)
    assert whole.pixels.area - ring.pixels.area == 400
    assert ring.pixels.perimeter - whole.pixels.perimeter == pytest.approx(80, rel=0.05)
    assert ring.pieces == 1


def test_empty_labels_have_no_objects_and_large_labels_need_no_memory() -> None:
    assert measure_objects(np.zeros((5, 6), np.uint8)) == ()
    labels = np.zeros((5, 6), np.uint32)
    labels[2, 3] = 2**32 - 1
    ((label, (piece,)),) = objects_of(labels)
    assert label == 2**32 - 1
    assert (piece.top, piece.left, piece.pixels) == (2, 3, 1)
