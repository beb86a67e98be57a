"""Edits of one label leave all other labels unchanged."""

from __future__ import annotations

from functools import partial
from typing import get_args

import numpy as np
import pytest
from skimage.measure import label as pieces_of
from skimage.measure import perimeter

from latentfm_core.annotation.editing import Kind, Operation, edit
from latentfm_core.errors import ImageError
from tests.helpers.pictures import disc_mask

SHAPE = (80, 100)
disc = partial(disc_mask, shape=SHAPE)
KINDS = get_args(Kind)


def scene() -> np.ndarray:
    """A large and a small piece of label 1, a hole with a kernel of label 2, and label 3."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[disc(40, 35, 20)] = 1
    labels[disc(40, 35, 6)] = 0
    labels[disc(40, 35, 2)] = 2
    labels[disc(20, 80, 7)] = 1
    labels[10:70, 60] = 3
    return labels


def after(labels: np.ndarray, operation: Operation, label: int = 1) -> np.ndarray:
    """Return the plane after an operation, and check that its input is unchanged."""
    before = labels.copy()
    found = edit(labels, label, operation)
    np.testing.assert_array_equal(labels, before)
    changed = labels.copy()
    changed[found.rows, found.columns] = found.values
    assert changed.dtype == labels.dtype
    assert (changed != labels).sum() == len(found.rows) == found.added + found.removed
    return changed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_other_labels_never_change(kind: Kind, dtype: type) -> None:
    labels = scene().astype(dtype)
    changed = after(labels, Operation(kind, 4, (40, 20)))
    np.testing.assert_array_equal(
        np.where(changed == 1, 0, changed), np.where(labels > 1, labels, 0)
    )
    assert not np.array_equal(changed, labels)


def test_a_piece_is_kept_or_removed() -> None:
    labels = scene()
    small = disc(20, 80, 7)
    kept = after(labels, Operation("keep", at=(20, 80)))
    np.testing.assert_array_equal(kept == 1, small)
    removed = after(labels, Operation("remove", at=(20, 80)))
    np.testing.assert_array_equal(removed == 1, (labels == 1) & ~small)
    np.testing.assert_array_equal(removed, after(labels, Operation("largest")))


@pytest.mark.parametrize("at", [(0, 0), (40, 35), (20, 60), (-1, 5), (40, 500), None])
def test_a_click_outside_the_label_is_reported(at: tuple[int, int] | None) -> None:
    with pytest.raises(ImageError, match="Click inside a piece"):
        edit(scene(), 1, Operation("remove", at=at))


def test_pieces_that_touch_at_a_corner_are_connected() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[1:3, 1:3] = labels[3:5, 3:5] = labels[6, 6] = 1
    changed = after(labels, Operation("remove", at=(1, 1)))
    assert np.argwhere(changed).tolist() == [[6, 6]]


def test_holes_are_filled_around_other_labels() -> None:
    labels = scene()
    changed = after(labels, Operation("fill"))
    kernel = disc(40, 35, 2)
    np.testing.assert_array_equal((changed == 1) | kernel, disc(40, 35, 20) | disc(20, 80, 7))
    # A bay at the border of the image is not a hole.
    bay = np.ones((9, 9), np.uint8)
    bay[3:6, 0:5] = 0
    assert len(edit(bay, 1, Operation("fill")).rows) == 0


@pytest.mark.parametrize("size", [2, 4, 10])
def test_smoothing_shortens_the_outline_and_keeps_the_area(size: int) -> None:
    rng = np.random.default_rng(0)
    ragged = disc(40, 50, 24)
    rim = disc(40, 50, 26) & ~disc(40, 50, 22)
    ragged ^= rim & (rng.random(SHAPE) < 0.4)
    ragged = np.asarray(pieces_of(ragged) == pieces_of(ragged)[40, 50])
    changed = after(ragged.astype(np.uint8), Operation("smooth", size)) == 1
    assert changed.sum() == pytest.approx(ragged.sum(), rel=0.005)
    assert perimeter(changed) < 0.9 * perimeter(ragged)
    assert (changed ^ ragged).sum() < rim.sum()


def test_smoothing_keeps_small_pieces_and_pieces_at_the_border() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:5, 50:53] = 1
    labels[30:, :40] = 1
    changed = after(labels, Operation("smooth", 12)) == 1
    assert changed[:15, 40:].sum() == pytest.approx(9, abs=4)
    # The straight sides stay straight where they meet the border of the image.
    assert changed[60:, :35].all()
    assert changed[79, 38]
    assert not changed[79, 41]


def test_growing_and_shrinking_use_the_given_distance() -> None:
    labels = disc(40, 50, 20).astype(np.uint8)
    for kind, radius in (("grow", 25), ("shrink", 15)):
        changed = after(labels, Operation(kind, 5)) == 1  # type: ignore[arg-type]
        assert changed.sum() == pytest.approx(disc(40, 50, radius).sum(), rel=0.03)


def test_growth_stops_at_other_labels_and_does_not_jump_over_them() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[disc(40, 50, 10)] = 1
    labels[:, 62:64] = 2
    changed = after(labels, Operation("grow", 20))
    assert (changed[40, :62] == 1).any()
    assert changed[40, 61] == 1
    assert not (changed[:, 64:] == 1).any()


def test_the_border_of_the_image_does_not_shrink_a_label() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[20:60, :30] = 1
    changed = after(labels, Operation("shrink", 4))
    assert changed[24:56, :26].all()
    assert changed.sum() == 32 * 26


def test_impossible_edits_are_refused() -> None:
    labels = scene()
    with pytest.raises(ImageError, match="would leave nothing of label 1"):
        edit(labels, 1, Operation("shrink", 40))
    with pytest.raises(ImageError, match="Label 9 is not on this plane"):
        edit(labels, 9, Operation("largest"))
    for pixels in (0, -3, 51):
        with pytest.raises(ImageError, match="choose 1 to 50"):
            edit(labels, 1, Operation("grow", pixels))


def test_an_edit_without_changes_is_empty() -> None:
    found = edit(disc(40, 50, 20).astype(np.uint8), 1, Operation("fill"))
    assert (found.added, found.removed) == (0, 0)


def test_a_label_that_fills_the_plane_does_not_shrink() -> None:
    assert after(np.ones((20, 30), np.uint8), Operation("shrink", 2)).all()
