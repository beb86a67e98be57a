"""The claim of the method: samples follow the distribution of plausible masks."""

from __future__ import annotations

import numpy as np
import torch
from skimage.draw import disk

from latentfm_core.config import Config, SamplingConfig
from latentfm_core.data.loading import CanvasSet
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import iou
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.training.checkpoint import Position
from latentfm_core.training.loop import Hooks, StageLoop
from latentfm_core.training.stages import make_stage
from latentfm_core.training.team import Team
from latentfm_core.training.validate import draft_card, latent_statistics
from latentfm_core.types import ImageInput
from tests.fixtures import tiny_config

SIZE = 64
SHARE_OF_A = 0.7
COUNT = 200


def _two_shapes() -> tuple[np.ndarray, np.ndarray]:
    a = np.zeros((SIZE, SIZE), bool)
    a[disk((24, 24), 14)] = True
    b = np.zeros((SIZE, SIZE), bool)
    b[28:56, 32:58] = True
    return a, b


def _train(config: Config, data: CanvasSet) -> LatentFM:
    torch.manual_seed(0)
    model = LatentFM(config.model)
    hooks = Hooks(lambda: False, lambda loop: None, lambda loop, report: None)
    for name in ("mask_vae", "flow"):
        stage = make_stage(name, model, config)
        loop = StageLoop(stage, data, Position(name), Team(torch.device("cpu")), torch.float32)
        assert loop.run(hooks, save_every=1e9)
        if name == "mask_vae":
            masks = torch.from_numpy(data.masks)
            mean, std = latent_statistics(
                lambda x: model.mask_vae.encode(x.float() * 2 - 1), masks, torch.device("cpu")
            )
            model.latent_mean.copy_(mean)
            model.latent_std.copy_(std)
    if loop.ema is not None:
        loop.ema.copy_to_model()
    return model


def test_samples_reproduce_the_known_distribution_of_masks() -> None:
    """One image, 70 % shape A and 30 % shape B: samples must be A or B in that proportion."""
    shape_a, shape_b = _two_shapes()
    pixels = np.random.default_rng(0).integers(90, 160, (SIZE, SIZE, 3), dtype=np.uint8)
    is_a = np.arange(COUNT) < SHARE_OF_A * COUNT
    data = CanvasSet(
        names=tuple(f"{i:03d}" for i in range(COUNT)),
        images=np.repeat(pixels[None], COUNT, axis=0),
        masks=np.where(is_a[:, None, None], shape_a, shape_b).astype(np.uint8)[:, None],
        raters=np.ones(COUNT, dtype=np.intp),
        skipped={},
    )
    stage = {"batch_size": 20, "learning_rate": 3e-3, "warmup_steps": 10}
    config = tiny_config(
        augmentation="none",
        mask_vae={**stage, "epochs": 6},
        flow={**stage, "epochs": 40, "ema_decay": 0.98},
    )
    segmenter = Segmenter(_train(config, data), draft_card(config), "cpu", "fp32")
    settings = SamplingConfig(n_samples=256, steps=20, seed=1, batch_size=64)
    samples = segmenter.sample(ImageInput(pixels), settings).probabilities >= 0.5
    to_a = np.array([iou(sample, shape_a) for sample in samples])
    to_b = np.array([iou(sample, shape_b) for sample in samples])
    decided = np.maximum(to_a, to_b) > 0.8
    assert decided.mean() > 0.9, "samples must be one of the two shapes, not a blend"
    assert abs((to_a > to_b).mean() - SHARE_OF_A) <= 0.07
