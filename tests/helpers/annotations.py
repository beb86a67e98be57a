"""Small annotations with their provenance."""

from __future__ import annotations

import numpy as np

from latentfm_core.annotation.provenance import AnnotationSidecar

SIGN = "ab" * 16


def info(shape: tuple[int, ...] = (40, 50), **more: object) -> AnnotationSidecar:
    values = {"image": "skin.png", "shape": shape, "axes": "TZYX"[-len(shape) :], **more}
    return AnnotationSidecar.model_validate(values)


def labels_of(value: int, shape: tuple[int, ...] = (40, 50)) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[..., 5:20, 10:30] = value
    return labels
