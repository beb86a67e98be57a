"""The LatentFM rows: presets under a time budget, trained by the package's own trainer."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from benchmarks.accuracy.settings import RunSettings
from latentfm_core.config import Config, SamplingConfig, preset, with_overrides
from latentfm_core.datasets.splits import read_split
from latentfm_core.errors import LatentFMError
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.training.checkpoint import FILE
from latentfm_core.training.resuming import resumed_config
from latentfm_core.training.trainer import RunOptions, Trainer
from latentfm_core.types import ImageInput, SampleSet

logger = logging.getLogger(__name__)

NEVER = 10**6
"""Validation interval in epochs, longer than any training."""

ENDLESS_IMAGES = 16_000_000
"""Images of a stage, more than any time budget allows; the trainer lists all its steps."""

STAGES = ("image_vae", "mask_vae", "flow")


def make_config(settings: RunSettings, name: str) -> Config:
    """Return preset `name` on the data and under the budget of `settings`.

    The last weights count: validation runs once, at the end, because keeping the best of
    many validations would be a choice that the other rows do not have. A model without an image
    VAE gets the seconds of that stage for its flow.
    """
    config = preset(name)
    stages = config.training
    epochs = max(1, ENDLESS_IMAGES // max(1, len(read_split(settings.split).train)))
    image_vae, mask_vae, flow = settings.stage_seconds
    if with_overrides(config, settings.overrides).model.condition == "pretrained":
        image_vae, flow = 0.0, image_vae + flow
    values: dict[str, object] = {
        "data.images": settings.images.resolve(),
        "data.masks": settings.masks.resolve(),
        "data.split_file": settings.split.resolve(),
        "data.size": settings.size,
        "data.mask_threshold": "null"
        if settings.mask_threshold is None
        else settings.mask_threshold,
        "training.image_vae.size": min(stages.image_vae.size or settings.size, settings.size),
        "training.flow.small_epochs": 0,
        "training.flow.validate_every": NEVER,
        "training.validation_images": 6,
        "training.seed": settings.seed,
        "training.device": settings.device,
        "training.precision": settings.precision,
    }
    for stage, seconds in zip(STAGES, (image_vae, mask_vae, flow), strict=True):
        if seconds > 0:
            values[f"training.{stage}.epochs"] = epochs
            values[f"training.{stage}.max_seconds"] = seconds
        else:
            values[f"training.{stage}.epochs"] = 0
    config = with_overrides(config, [f"{key}={value}" for key, value in values.items()])
    return with_overrides(config, settings.overrides)


def train_preset(settings: RunSettings, command: str) -> tuple[Path, dict[str, Any]]:
    """Train the preset named by the row, or resume an interrupted training.

    Returns
    -------
    tuple
        The model folder, and the log.
    """
    folder = settings.out / "model"
    config = make_config(settings, settings.row)
    resume = (folder / "training" / FILE).is_file() and _same(folder, config)
    if not resume and folder.exists():
        shutil.rmtree(folder)
    options = RunOptions(folder, resume=resume, command=command, card={"id": settings.row})
    trainer = Trainer(config, options)
    card = trainer.run()
    if card is None:
        raise LatentFMError(f"The training of {settings.label} was stopped; start it again.")
    log = {"seconds": card.training.seconds, "val_metrics": card.metrics}
    return folder, log | {"config": card.config.to_json()}


def _same(folder: Path, config: Config) -> bool:
    try:
        return resumed_config(folder) == config
    except LatentFMError:
        return False


class LatentFMPredictor:
    """A LatentFM model folder through the `Segmenter` that users run."""

    deterministic = False

    def __init__(self, folder: Path, settings: RunSettings) -> None:
        self.segmenter = Segmenter.load(folder, settings.device, settings.precision)
        self.sampling = SamplingConfig(
            n_samples=settings.samples,
            steps=settings.sampler_steps,
            solver=settings.solver,
            seed=settings.seed,
        )
        self.parameters = sum(p.numel() for p in self.segmenter.model.parameters())
        self.nfe = 0

    def sample(self, image: ImageInput) -> SampleSet:
        """Return the samples of `image`."""
        samples = self.segmenter.sample(image, self.sampling)
        self.nfe = samples.nfe
        return samples
