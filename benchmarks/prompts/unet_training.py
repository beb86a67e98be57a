"""Train the promptable U-Net with the data and prompts of a LatentFM configuration."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.accuracy.clock import counting
from benchmarks.accuracy.lite_unet import LiteUNetNetwork
from benchmarks.accuracy.loop import STREAM, StepLosses, optimise, step_generator
from benchmarks.accuracy.settings import Clock, OptimiserSettings
from latentfm_core.config import Config
from latentfm_core.datasets.layouts import training_pairs
from latentfm_core.datasets.object_set import ObjectSet, find_sets, load_objects, load_sets
from latentfm_core.datasets.splits import make_split
from latentfm_core.errors import ConfigError
from latentfm_core.files.atomic import atomic_path, write_text
from latentfm_core.inference.device import autocast, describe, resolve_device, resolve_precision
from latentfm_core.output.paths import printable
from latentfm_core.output.sidecar import now, versions
from latentfm_core.training.batches import seed_for
from latentfm_core.training.global_batch import GlobalBatch
from latentfm_core.training.losses import mask_loss
from latentfm_core.training.object_source import ObjectSource
from latentfm_core.training.prompt_simulation import correct
from latentfm_core.training.prompted_batch import prompted_batch
from latentfm_core.training.run_card import portable
from latentfm_core.training.step_timer import StepTimer

logger = logging.getLogger(__name__)

WEIGHTS = "unet.safetensors"
CARD = "unet.json"
LABEL = "U-Net, same encoder"


class PromptedUNetTask:
    """`LiteUNetNetwork` with prompts, trained on the crops that LatentFM is trained on."""

    def __init__(self, config: Config) -> None:
        self.config = config
        torch.manual_seed(seed_for(config.training.seed, 98))
        self.module = LiteUNetNetwork(config, prompts=True)
        self.module.load_imagenet()

    def parameters(self) -> list[nn.Parameter]:
        """Return all parameters but those of the encoder's frozen stages."""
        return self.module.trained_parameters()

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the encoder."""
        return list(self.module.pyramid.encoder.parameters())

    def step_losses(self, train: ObjectSet, device: torch.device, dtype: torch.dtype) -> StepLosses:
        """Return the losses of batches of crops with simulated prompts and corrections."""
        training, timer = self.config.training, StepTimer(device)

        def losses(step: int, index: NDArray[np.intp], done: float) -> dict[str, Tensor]:
            generator = step_generator(training.seed, step)
            draws = seed_for(training.seed, STREAM, step, 2)
            seeds = tuple(seed_for(draws, row) for row in range(len(index)))
            source = ObjectSource(train, index, seeds, self.size_at(done), timer, device, dtype)
            whole = GlobalBatch.alone(generator, len(index))
            batch = prompted_batch(source, training.augmentation, whole)
            with autocast(device, dtype):
                features = self.module.encode(batch["images"])
                prompts = self._with_corrections(features, batch)
                logits = self.module.decode(features, prompts)
            return {"loss": mask_loss(logits.float(), batch["masks"])}

        return losses

    def size_at(self, done: float) -> int:
        """Return the side of the crops: small ones for the share of the flow stage of LatentFM."""
        flow, side = self.config.training.flow, self.config.data.size
        small = done < flow.small_epochs / max(1, flow.epochs)
        return min(flow.small_size, side) if small else side

    def _with_corrections(self, features: list[Tensor], batch: dict[str, Tensor]) -> Tensor:
        """Return the prompts with corrections of the network's current answers.

        The counterpart of `latentfm_core.training.prompted_batch.with_corrections`.
        """
        prompts = batch["prompts"]
        rows = batch["corrected"].nonzero()[:, 0]
        if not len(rows):
            return prompts
        with torch.no_grad():
            logits = self.module.decode([f.detach()[rows] for f in features], prompts[rows])
        answers = (logits[:, 0] > 0).cpu().numpy()
        targets = batch["masks"][rows, 0].cpu().numpy() > 0
        changed = prompts[rows].cpu().numpy()
        for k, row in enumerate(rows.tolist()):
            rng = np.random.default_rng((int(batch["seeds"][row]), 2))
            correct(changed[k], answers[k], targets[k], rng)
        out = prompts.clone()
        out[rows] = torch.from_numpy(changed).to(out)
        return out


def load_train(config: Config) -> ObjectSet:
    """Decode the training images of all sets of a configuration.

    Raises
    ------
    ConfigError, DatasetError
        As in the training of LatentFM.
    """
    data = config.data
    if data.sets:
        return load_sets(find_sets(data), "train", data)
    pairs = {pair.name: pair for pair in training_pairs(data)}
    return load_objects([pairs[name] for name in make_split(pairs, data).train], data)


def train_unet(
    config: Config, budget: float, clock: Clock, out: Path, command: str
) -> dict[str, Any]:
    """Train for `budget` seconds and write weights and description to `out`.

    Batch size, learning rates, weight decay, averaging of weights and augmentation are those of
    the flow stage of `config`.

    Returns
    -------
    dict
        The description.

    Raises
    ------
    ConfigError
        If the configuration has no pretrained encoder, or its weights are not installed.
    """
    if config.model.condition != "pretrained":
        raise ConfigError('The U-Net needs a configuration with model.condition = "pretrained".')
    flow, training = config.training.flow, config.training
    settings = OptimiserSettings(
        label=LABEL,
        seed=training.seed,
        batch_size=flow.batch_size,
        learning_rate=flow.learning_rate,
        weight_decay=flow.weight_decay,
        ema_decay=flow.ema_decay,
        encoder_rate=flow.encoder_rate,
    )
    device = resolve_device(training.device)
    dtype = resolve_precision(training.precision, device)
    task, train = PromptedUNetTask(config), load_train(config)
    with counting(clock):
        losses = task.step_losses(train, device, dtype)
        log = optimise(task, train, losses, settings, budget, device)
    card = {
        "schema_version": 1,
        "label": LABEL,
        "config": portable(config).to_json(),
        "training": log | {"images": len(train.names), "budget": budget, "clock": clock},
        "device": describe(device, dtype),
        "versions": versions(),
        "created": now(),
        "command": printable(command),
    }
    state = {name: value.detach().cpu().contiguous() for name, value in _state(task.module)}
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / WEIGHTS) as temporary:
        save_file(state, str(temporary))
    write_text(out / CARD, json.dumps(card, indent=1) + "\n")
    logger.info("written to %s", out)
    return card


def _state(module: nn.Module) -> list[tuple[str, Tensor]]:
    return list(module.state_dict().items())
