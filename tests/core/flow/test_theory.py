"""Samples follow the distribution of plausible masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.draw import disk

from latentfm_core.config import Config, SamplingConfig, config_from_mapping
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import iou
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.training.checkpoint import Position
from latentfm_core.training.distributed import ProcessGroup
from latentfm_core.training.loop import Hooks, StageLoop
from latentfm_core.training.stages import make_stage
from latentfm_core.training.validate import draft_card, latent_statistics
from latentfm_core.types import ImageInput
from tests.helpers.fixtures import tiny_settings

SIZE = 32
SHARE_OF_A = 0.7
COUNT = 200
PIXELS = np.random.default_rng(0).integers(90, 160, (SIZE, SIZE, 3), dtype=np.uint8)


def _two_shapes() -> tuple[np.ndarray, np.ndarray]:
    a = np.zeros((SIZE, SIZE), bool)
    a[disk((12, 12), 7)] = True
    b = np.zeros((SIZE, SIZE), bool)
    b[14:28, 16:29] = True
    return a, b


def _optimise(model: LatentFM, config: Config, data: CanvasSet, name: str) -> None:
    hooks = Hooks(lambda: False, lambda loop: None, lambda loop, report: None)
    stage = make_stage(name, model, config)
    stage.begin()
    loop = StageLoop(stage, data, Position(name), ProcessGroup(torch.device("cpu")), torch.float32)
    assert loop.run(hooks, save_every=1e9)
    if loop.ema is not None:
        loop.ema.copy_to_model()


def _train(config: Config, data: CanvasSet) -> LatentFM:
    torch.manual_seed(0)
    model = LatentFM(config.model)
    _optimise(model, config, data, "mask_vae")
    masks = torch.from_numpy(data.masks)
    mean, std = latent_statistics(
        lambda x: model.mask_vae.encode(x.float() * 2 - 1), masks, torch.device("cpu")
    )
    model.latent_mean.copy_(mean)
    model.latent_std.copy_(std)
    for name in ("flow", "distill"):
        _optimise(model, config, data, name)
    return model


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    """A model of one image, 70 % of whose masks are shape A and 30 % shape B."""
    shape_a, shape_b = _two_shapes()
    is_a = np.arange(COUNT) < SHARE_OF_A * COUNT
    data = CanvasSet(
        names=tuple(f"{i:03d}" for i in range(COUNT)),
        images=np.repeat(PIXELS[None], COUNT, axis=0),
        masks=np.where(is_a[:, None, None], shape_a, shape_b).astype(np.uint8)[:, None],
        raters=np.ones(COUNT, dtype=np.intp),
        skipped={},
    )
    stage = {"batch_size": 20, "learning_rate": 3e-3, "warmup_steps": 10}
    values = tiny_settings(
        augmentation="none",
        mask_vae={**stage, "epochs": 6},
        flow={**stage, "epochs": 40, "ema_decay": 0.98, "endpoint_weight": 0.2},
        distill={**stage, "epochs": 10, "ema_decay": 0.95, "noise_draws": 4},
    )
    values["model"] = {**values["model"], "distilled_steps": 1}  # type: ignore[dict-item]
    values["data"] = {**values["data"], "size": SIZE}  # type: ignore[dict-item]
    config = config_from_mapping(values)
    return Segmenter(_train(config, data), draft_card(config), "cpu", "fp32")


def _shares(segmenter: Segmenter, settings: SamplingConfig) -> tuple[float, float]:
    """Return the share of samples that are one of the shapes, and the share that are A."""
    shape_a, shape_b = _two_shapes()
    samples = segmenter.sample(ImageInput(PIXELS), settings).probabilities >= 0.5
    to_a = np.array([iou(sample, shape_a) for sample in samples])
    to_b = np.array([iou(sample, shape_b) for sample in samples])
    return float((np.maximum(to_a, to_b) > 0.8).mean()), float((to_a > to_b).mean())


def test_samples_reproduce_the_known_distribution_of_masks(segmenter: Segmenter) -> None:
    """One image, 70 % shape A and 30 % shape B: samples must be A or B in that proportion."""
    settings = SamplingConfig(n_samples=256, steps=20, seed=1, batch_size=64)
    decided, of_a = _shares(segmenter, settings)
    assert decided > 0.9, "samples must be one of the two shapes, not a blend"
    assert abs(of_a - SHARE_OF_A) <= 0.07


def test_one_distilled_step_keeps_the_distribution(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step of the few-step network is compared with twenty steps of the flow."""
    settings = SamplingConfig(n_samples=256, steps=1, seed=1, batch_size=64)
    decided, of_a = _shares(segmenter, settings)
    assert decided > 0.85
    assert abs(of_a - SHARE_OF_A) <= 0.07
    # Without it, one long step of the flow leads nearly always to the commoner answer.
    plain = Segmenter(segmenter.model, segmenter.card, "cpu", "fp32")
    monkeypatch.setattr(plain.model, "few_step_velocity", None)
    assert abs(_shares(plain, settings)[1] - SHARE_OF_A) > 0.15
