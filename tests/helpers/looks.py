"""Results with several plausible masks, put under review without PyTorch."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image

from latentfm_core.types import Geometry, SampleSet, SamplingRecord, Summary
from napari_latentfm.background.image_request import Result
from napari_latentfm.layers.planes import displayed_plane
from napari_latentfm.results.session import Reviewed
from tests.helpers.pictures import disc_mask

SHAPE = (60, 80)
disc = partial(disc_mask, shape=SHAPE)
LARGE, SMALL = (30, 30, 18), (28, 64, 9)
"""Row, column and radius of the two looks."""


def two_looks() -> np.ndarray:
    """Six large discs, three small ones and an empty mask."""
    masks = [disc(*LARGE)] * 6 + [disc(*SMALL)] * 3 + [np.zeros(SHAPE, bool)]
    return np.stack(masks)


def reviewed(
    layer: Image, viewer: Any, masks: np.ndarray, strokes: np.ndarray | None = None
) -> Reviewed:
    """Return masks (bool, or uint8 labels of two classes) as the result of a run."""
    classes = ("cell",) if masks.dtype == bool else ("cell", "nucleus")
    foreground = masks != 0
    mean = foreground.mean(axis=0).astype(np.float32)
    summary = Summary(
        mean_probability=mean,
        mean_mask=mean >= 0.5 if masks.dtype == bool else np.median(masks, 0).astype(np.uint8),
        variance=mean * (1 - mean),
        confidence=1 - 4 * mean * (1 - mean),
        sample_masks=masks,
        class_confidence=None if masks.dtype == bool else np.zeros((2, *SHAPE), np.float32),
    )
    samples = SampleSet(
        np.zeros((len(masks), 8, 8), np.float32),
        Geometry(SHAPE, 8, (0, 0, 8, 8)),
        SamplingRecord("test", "0" * 64, tuple(range(len(masks))), 1, classes=classes),
        strokes=strokes,
    )
    plane = displayed_plane(layer, viewer.dims)
    return Reviewed(layer, plane, "test", Result(samples, summary, "CPU"))
