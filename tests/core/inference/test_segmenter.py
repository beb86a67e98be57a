"""`Segmenter`: seeds, batches, solvers, progress and cancelling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from latentfm_core.config import SamplingConfig, SolverName, sampling_settings
from latentfm_core.errors import Cancelled, ConfigError, ImageError, ResourceError
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.types import ImageInput
from tests.helpers.fixtures import copy_model, with_sampling

TOLERANCE = 2e-5
"""Batched convolutions may add up in another order; probabilities then differ this little."""


@pytest.fixture(scope="module")
def image() -> ImageInput:
    pixels = np.random.default_rng(3).integers(60, 220, (50, 70, 3), dtype=np.uint8)
    pixels[15:40, 20:50] //= 2
    return ImageInput(pixels)


def test_equal_seed_means_equal_samples(segmenter: Segmenter, image: ImageInput) -> None:
    settings = SamplingConfig(n_samples=3, seed=5)
    first = segmenter.sample(image, settings)
    second = segmenter.sample(image, settings)
    other = segmenter.sample(image, SamplingConfig(n_samples=3, seed=50))
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    assert np.abs(first.probabilities - other.probabilities).max() > 0.01


def test_settings_without_steps_take_those_of_the_card(
    tiny_model_folder: Path, image: ImageInput, tmp_path: Path
) -> None:
    # As on the command line and in the dock, which begin with the settings of the card.
    folder = with_sampling(copy_model(tiny_model_folder, tmp_path / "model"), steps=3)
    segmenter = Segmenter.load(folder, "cpu")
    samples = segmenter.sample(image, SamplingConfig(n_samples=2))
    assert (samples.record.nfe, samples.settings["steps"]) == (3, 3)
    same = segmenter.sample(image, segmenter.usual().model_copy(update={"n_samples": 2}))
    np.testing.assert_array_equal(samples.probabilities, same.probabilities)
    assert segmenter.sample(image, SamplingConfig(n_samples=2, steps=1)).record.nfe == 1
    # A card that sets none.
    with_sampling(folder, steps=None)
    assert Segmenter.load(folder, "cpu").sample(image, SamplingConfig(n_samples=1)).record.nfe == 4


def test_an_array_is_an_image(segmenter: Segmenter, image: ImageInput) -> None:
    settings = SamplingConfig(n_samples=2)
    expected = segmenter.sample(image, settings)
    np.testing.assert_array_equal(
        segmenter.sample(image.pixels, settings).probabilities, expected.probabilities
    )
    with pytest.raises(ImageError, match="4 dimensions"):
        segmenter.sample(image.pixels[np.newaxis], settings)


def test_more_samples_start_with_the_same_ones(segmenter: Segmenter, image: ImageInput) -> None:
    few = segmenter.sample(image, SamplingConfig(n_samples=4, seed=7))
    many = segmenter.sample(image, SamplingConfig(n_samples=8, seed=7))
    later = segmenter.sample(image, SamplingConfig(n_samples=4, seed=11))
    np.testing.assert_allclose(few.probabilities, many.probabilities[:4], atol=TOLERANCE)
    np.testing.assert_allclose(later.probabilities, many.probabilities[4:], atol=TOLERANCE)
    assert many.seeds == tuple(range(7, 15))


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_the_batch_size_does_not_change_results(
    segmenter: Segmenter, image: ImageInput, batch_size: int
) -> None:
    whole = segmenter.sample(image, SamplingConfig(n_samples=5))
    parts = segmenter.sample(image, SamplingConfig(n_samples=5, batch_size=batch_size))
    np.testing.assert_allclose(whole.probabilities, parts.probabilities, atol=TOLERANCE)


def test_large_masks_decoded_in_parts_are_the_same(
    segmenter: Segmenter, image: ImageInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = segmenter.sample(image, SamplingConfig(n_samples=5))
    decoded: list[int] = []
    logits = segmenter.model.decode_mask

    def watched(z: torch.Tensor) -> torch.Tensor:
        decoded.append(len(z))
        return logits(z)

    monkeypatch.setattr(segmenter.model, "decode_mask", watched)
    monkeypatch.setattr("latentfm_core.inference.network.PIXELS_AT_ONCE", 2 * 64**2)
    parts = segmenter.sample(image, SamplingConfig(n_samples=5))
    assert decoded == [2, 2, 1]
    np.testing.assert_allclose(whole.probabilities, parts.probabilities, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("solver", "per_step"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4)]
)
def test_solvers_report_their_nfe_and_give_probabilities(
    segmenter: Segmenter, image: ImageInput, solver: SolverName, per_step: int
) -> None:
    samples = segmenter.sample(image, SamplingConfig(n_samples=2, steps=3, solver=solver))
    assert samples.nfe == 3 * per_step
    assert np.isfinite(samples.probabilities).all()
    assert samples.probabilities.min() >= 0
    assert samples.probabilities.max() <= 1


def test_progress_counts_every_ode_step_of_every_batch(
    segmenter: Segmenter, image: ImageInput
) -> None:
    seen: list[Progress] = []
    settings = SamplingConfig(n_samples=4, steps=3, batch_size=2)
    segmenter.sample(image, settings, seen.append)
    assert [p.done for p in seen] == [1, 2, 3, 4, 5, 6]
    assert {p.total for p in seen} == {6}


def test_cancel_takes_effect_within_one_step(segmenter: Segmenter, image: ImageInput) -> None:
    seen: list[int] = []

    def stop(progress: Progress) -> None:
        seen.append(progress.done)
        if progress.done == 2:
            raise Cancelled("stopped by the user")

    with pytest.raises(Cancelled):
        segmenter.sample(image, SamplingConfig(n_samples=2, steps=50), stop)
    assert seen == [1, 2]


def test_the_segmenter_is_usable_after_closing_the_steps(
    segmenter: Segmenter, image: ImageInput
) -> None:
    steps = segmenter.sample_steps(image, SamplingConfig(n_samples=2, steps=9))
    next(steps)
    steps.close()
    assert len(segmenter.sample(image, SamplingConfig(n_samples=2))) == 2


def test_unknown_device_and_precision_are_explained(tiny_model_folder: Path) -> None:
    with pytest.raises(ResourceError, match="use auto"):
        Segmenter.load(tiny_model_folder, "tpu9")
    with pytest.raises(ResourceError, match="bf16, fp32 or auto"):
        Segmenter.load(tiny_model_folder, "cpu", "fp16")


@pytest.mark.parametrize(
    "change", [{"n_samples": 0}, {"steps": 0}, {"solver": "magic"}, {"sed": 1}]
)
def test_bad_sampling_settings_name_the_setting(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        sampling_settings(**change)


def test_the_mask_vae_reconstructs_a_disc_at_the_image_resolution(segmenter: Segmenter) -> None:
    mask = np.hypot(*np.ogrid[-50:50, -70:70]) < 30
    again = segmenter.reconstruct_mask(mask)
    assert again.shape == mask.shape
    assert dice(again, mask) > 0.9


class _SmallMemory:
    """A decoder for which memory suffices up to a number of masks at once."""

    def __init__(self, segmenter: Segmenter, most: int) -> None:
        self.most, self.decode = most, segmenter.model.decode_mask
        self.batches: list[int] = []

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(z))
        if len(z) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return self.decode(z)


def test_out_of_memory_halves_batches_without_changing_samples(
    segmenter: Segmenter,
    image: ImageInput,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = SamplingConfig(n_samples=7, steps=2)
    whole = segmenter.sample(image, settings)
    memory = _SmallMemory(segmenter, most=2)
    monkeypatch.setattr(segmenter.model, "decode_mask", memory)
    seen: list[Progress] = []
    parts = segmenter.sample(image, settings, seen.append)
    np.testing.assert_allclose(whole.probabilities, parts.probabilities, atol=TOLERANCE)
    assert parts.seeds == whole.seeds
    assert memory.batches == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert (seen[-1].done, seen[-1].total) == (14, 14)
    assert "1 sample at a time" in seen[-1].note
    assert "Low memory" in caplog.text


def test_out_of_memory_for_one_sample_gives_advice(
    segmenter: Segmenter, image: ImageInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmenter.model, "decode_mask", _SmallMemory(segmenter, most=0))
    with pytest.raises(ResourceError, match="Close other programs"):
        segmenter.sample(image, SamplingConfig(n_samples=4, steps=1))
