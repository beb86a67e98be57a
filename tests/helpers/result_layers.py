"""Results of random samples, placed into a viewer without a window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from latentfm_core.config import SamplingConfig
from latentfm_core.progress import finish
from latentfm_core.types import Geometry, SampleSet, SamplingRecord
from latentfm_core.uncertainty.summary import summarise
from napari_latentfm.layers.edits import EditedLayers, is_result
from napari_latentfm.layers.planes import Plane, displayed_plane
from napari_latentfm.layers.specs import METADATA_KEY, LayerSpec, result_layers
from napari_latentfm.layers.update import place_steps


def random_samples(shape: tuple[int, int], count: int = 3, seed: int = 0) -> SampleSet:
    side = max(shape)
    rng = np.random.default_rng(seed)
    values = rng.random((count, side, side), np.float32)
    geometry = Geometry(shape, side, (0, 0, *shape))
    seeds = tuple(range(seed, seed + count))
    options = SamplingConfig(n_samples=count, steps=4, seed=seed).model_dump(mode="json")
    return SampleSet(
        values, geometry, SamplingRecord("tiny", "ab" * 32, seeds, 4, options, seconds=0.1)
    )


def specs_of(layer: Image, plane: Plane, count: int = 3, seed: int = 0) -> list[LayerSpec]:
    samples = random_samples(plane.shape, count, seed)
    return result_layers(layer, plane, samples, summarise(samples))


def never_asked(names: Any) -> EditedLayers:
    pytest.fail(f"asked about {names}, which nobody edited")


def show(
    viewer: ViewerModel, layer: Image, count: int = 3, seed: int = 0, ask: Any = never_asked
) -> bool:
    specs = specs_of(layer, displayed_plane(layer, viewer.dims), count, seed)
    return finish(place_steps(viewer, specs, ask))


def by_role(viewer: ViewerModel, role: str) -> Any:
    (layer,) = (
        layer
        for layer in viewer.layers
        if is_result(layer) and layer.metadata[METADATA_KEY]["role"] == role
    )
    return layer


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()
