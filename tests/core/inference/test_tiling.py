"""Images of any size in tiles without seams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from latentfm_core.flow.noise import field_noise, seeded_noise
from latentfm_core.inference import network as network_module
from latentfm_core.inference import tiling as tiling_module
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.types import Float32, ImageInput
from tests.helpers.tiling import SETTINGS, Whole, picture, segmenter, tiled

__all__ = ["picture", "segmenter"]


def test_crops_of_the_noise_field_agree_in_any_order() -> None:
    whole = field_noise((4, 5), 3, 0, 0, (80, 100))
    for top, left in ((40, 3), (0, 60), (33, 31)):
        crop = field_noise((4, 5), 3, top, left, (40, 40))
        np.testing.assert_array_equal(crop, whole[..., top : top + 40, left : left + 40])
    assert abs(float(whole.mean())) < 0.02
    assert abs(float(whole.std()) - 1) < 0.02


def test_neighbouring_blocks_and_samples_have_unrelated_noise() -> None:
    noise = field_noise((4, 5), 1, 0, 0, (64, 64)).numpy()[:, 0]
    blocks = [sample[y : y + 32, x : x + 32] for sample in noise for y in (0, 32) for x in (0, 32)]
    correlation = np.corrcoef([block.ravel() for block in blocks]) - np.eye(len(blocks))
    assert np.abs(correlation).max() < 0.15


def test_the_noise_of_one_block_equals_that_of_a_run_without_tiles() -> None:
    seeds, side = (4, 5), (32, 32)
    np.testing.assert_array_equal(
        field_noise(seeds, 3, 0, 0, side), seeded_noise(seeds, (3, *side))
    )
    assert not np.array_equal(field_noise(seeds, 3, 0, 32, side), field_noise(seeds, 3, 0, 0, side))


@pytest.mark.parametrize("channels", [3, 1])
def test_an_image_of_canvas_size_is_the_same_with_and_without_tiles(
    segmenter: Segmenter, channels: int
) -> None:
    """The trained network, on a canvas with latents of 32 x 32, like the bundled models."""
    side = 32 * segmenter.card.config.model.downsample
    data = segmenter.card.config.data.model_copy(update={"size": side})
    config = segmenter.card.config.model_copy(update={"data": data})
    card = segmenter.card.model_copy(update={"config": config})
    larger = Segmenter(segmenter.model, card, "cpu", "fp32")
    shape = (side, side, channels)[: 2 if channels == 1 else 3]
    pixels = np.random.default_rng(3).integers(0, 255, shape, dtype=np.uint8)
    pixels[60:180, 50:200] //= 3
    settings = SETTINGS.model_copy(update={"noise_scale": 1.5})
    plain = larger.summarise(larger.sample(ImageInput(pixels), settings), settings)
    parts = tiled(larger, pixels, settings)
    np.testing.assert_array_equal(parts.masks, plain.sample_masks)
    np.testing.assert_array_equal(parts.mean, plain.mean_probability)
    np.testing.assert_array_equal(parts.confidence, plain.confidence)


@pytest.mark.parametrize(
    ("length", "overlap"),
    [(64, 0.5), (50, 0.5), (100, 0.5), (333, 0.25), (200, 0.0), (500, 0.75)],
)
def test_the_weights_of_all_tiles_sum_to_one(length: int, overlap: float) -> None:
    axis = tiling_module.TileAxis(length, 64, overlap)
    total = np.zeros(length + 64)
    for index, origin in enumerate(axis.origins):
        total[origin : origin + 64] += axis.weights(index)
    np.testing.assert_allclose(total[:length], 1, atol=1e-6)


def _hard(tile: int, ramp: int) -> Float32:
    """Return a window that changes abruptly from tile to tile, in the middle of their overlap."""
    shape = np.full(tile, 1e-9)
    shape[ramp // 2 : tile - ramp // 2] = 1
    return shape


def _own_noise(seeds: Any, channels: int, top: int, left: int, side: Any) -> Any:
    return seeded_noise([seed + 7919 * top + 104729 * left for seed in seeds], (channels, *side))


def _seam(difference: Float32) -> float:
    """Return the ratio of jumps at borders of tiles of 64 pixels to jumps elsewhere.

    That is every 32 pixels from the 48th on. It compares with the whole image,
    since the decoder has its own grid.
    """
    jumps = [np.abs(np.diff(values, axis=0)).mean(axis=1) for values in (difference, difference.T)]
    at = [np.arange(48, len(values) - 16, 32) - 1 for values in jumps]
    here = np.concatenate([values[places] for values, places in zip(jumps, at, strict=True)])
    others = [np.delete(values, places) for values, places in zip(jumps, at, strict=True)]
    return float(here.mean() / np.concatenate(others).mean())


@pytest.fixture(scope="module")
def fault_free(segmenter: Segmenter, picture: np.ndarray) -> tuple[Whole, Whole]:
    settings = SETTINGS.model_copy(update={"calibrated": False, "n_samples": 4})
    # One tile as large as the image is the whole; its noise is that of the tiles.
    whole = tiled(segmenter, picture, settings, tile=192)
    return whole, tiled(segmenter, picture, settings)


@pytest.mark.parametrize("fault", [None, "no blending", "own noise"])
def test_tiles_agree_with_the_full_image(
    segmenter: Segmenter,
    picture: np.ndarray,
    fault_free: tuple[Whole, Whole],
    monkeypatch: pytest.MonkeyPatch,
    fault: str | None,
) -> None:
    settings = SETTINGS.model_copy(update={"calibrated": False, "n_samples": 4})
    whole, parts = fault_free
    if fault == "no blending":
        monkeypatch.setattr(tiling_module, "window", _hard)
        parts = tiled(segmenter, picture, settings)
    if fault == "own noise":
        monkeypatch.setattr(network_module, "field_noise", _own_noise)
        parts = tiled(segmenter, picture, settings)
    seam = _seam(parts.mean - whole.mean)
    disagreement = (parts.masks != whole.masks).mean()
    if fault is None:
        # The network sees an entire tile, hence the difference is never zero.
        assert np.abs(parts.mean - whole.mean).max() < 0.35
    assert (seam < 3.5) == (fault != "no blending")
    assert (disagreement < 0.0135) == (fault != "own noise")


def test_strips_and_tile_order_do_not_change_the_result(segmenter: Segmenter) -> None:
    wide = np.random.default_rng(2).integers(0, 255, (70, 1100, 3), dtype=np.uint8)
    settings = SETTINGS.model_copy(update={"n_samples": 1, "steps": 1})
    one = tiled(segmenter, wide, settings, overlap=0.0)
    narrow = tiled(segmenter, wide, settings, overlap=0.0, memory_mb=1)
    np.testing.assert_allclose(narrow.mean, one.mean, atol=1e-6)
    np.testing.assert_allclose(narrow.confidence, one.confidence, atol=1e-6)
    np.testing.assert_array_equal(narrow.masks, one.masks)
