"""Polygons of masks, decoded again by pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco
from scipy import ndimage

from latentfm_core.measures.outlines import pieces_of, polygon


def drawn(mask: np.ndarray, tolerance: float) -> np.ndarray:
    polygons = [polygon(piece, tolerance)[:, ::-1].ravel().tolist() for piece in pieces_of(mask)]
    return coco.decode(coco.merge(coco.frPyObjects(polygons, *mask.shape))).astype(bool)


def border(mask: np.ndarray) -> np.ndarray:
    """Return the pixels within one pixel of the border of a mask."""
    around = np.ones((3, 3), bool)
    return ndimage.binary_dilation(mask, around) & ~ndimage.binary_erosion(mask, around)


def shapes() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    distance = np.hypot(*(np.mgrid[:120, :120] - 60.3))
    return {
        "disc": distance < 50,
        "ring": (distance < 50) & (distance > 20),
        "islands in holes": (distance % 20 < 10) & (distance < 55),
        "blobs with holes": ndimage.gaussian_filter(random.random((200, 210)), 3) > 0.5,
        "noise": random.random((60, 70)) < 0.6,
        "a thousand holes": random.random((200, 200)) < 0.97,
        "one pixel": np.pad(np.ones((1, 1), bool), 3),
        "diagonal line": np.eye(20, dtype=bool),
        "row": np.pad(np.ones((1, 9), bool), 2),
        "full": np.ones((5, 7), bool),
    }


@pytest.mark.parametrize("name", shapes())
def test_polygons_reproduce_the_mask(name: str) -> None:
    mask = shapes()[name]
    np.testing.assert_array_equal(drawn(mask, 1e-6), mask)
    wrong = drawn(mask, 0.5) != mask
    assert not (wrong & ~border(mask)).any()
    assert wrong.sum() <= 0.05 * mask.sum()


def test_a_smooth_outline_has_few_vertices() -> None:
    (piece,) = pieces_of(shapes()["disc"])
    assert len(polygon(piece)) < len(piece.rings[0]) / 4
