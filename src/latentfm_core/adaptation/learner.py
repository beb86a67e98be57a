"""Train the parts of a model after its image encoder, on stored features."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import repeat

import numpy as np
import torch
from torch import Tensor, nn

from latentfm_core.adaptation.views import View, ViewStore
from latentfm_core.config import AdaptationConfig, Config, FlowConfig
from latentfm_core.inference.device import autocast, to_device
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.training.batches import generator_for, seed_for
from latentfm_core.training.ema import EMA
from latentfm_core.training.global_batch import GlobalBatch
from latentfm_core.training.prompt_simulation import simulate_prompts
from latentfm_core.training.prompted_batch import with_corrections
from latentfm_core.training.stage import Batch
from latentfm_core.training.stages import FlowStage, freeze_except

CPU = torch.device("cpu")
GRADIENT_CLIP = 1.0


class KeptFeatureStage(FlowStage):
    """The flow stage on features that were computed once; the encoder is not trained."""

    def parameters(self) -> list[nn.Parameter]:
        """Return what follows the encoder: prompt encoder, top-down path and velocity network."""
        model = self.model
        modules: list[nn.Module | None] = [model.velocity, model.prompt_encoder]
        if self._has_auxiliary():
            modules.append(model.auxiliary)
        if model.encoder is not None:
            modules += [model.encoder.laterals, model.encoder.merges]
        return [p for module in modules if module is not None for p in module.parameters()]

    def batch_of(self, views: list[View], rng: np.random.Generator) -> Batch:
        """Return the inputs of `losses` for views, with new simulated prompts."""
        shown = np.stack([view.shown for view in views])
        targets = np.stack([view.target for view in views])
        absent = np.array([not view.target.any() for view in views])
        prompted = [view.prompted for view in views]
        prompts, corrected = simulate_prompts(shown, absent, prompted, repeat(rng))
        levels = zip(*(view.features for view in views), strict=True)
        return {
            "masks": torch.from_numpy(targets)[:, None].float(),
            "prompts": torch.from_numpy(prompts),
            "corrected": torch.from_numpy(corrected),
            "seeds": torch.from_numpy(rng.integers(2**31, size=len(views))),
            **{f"features{i}": _stacked(level) for i, level in enumerate(levels)},
        }

    def _features(self, batch: Batch, global_batch: GlobalBatch) -> list[Tensor]:
        count = sum(name.startswith("features") for name in batch)
        kept = [batch[f"features{i}"] for i in range(count)]
        prompts = with_corrections(self.model, kept, batch, global_batch)
        return self.model.with_prompts(kept, prompts)


def _stacked(maps: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(maps)).float().contiguous(memory_format=torch.channels_last)


def learning_config(parent: Config, config: AdaptationConfig) -> Config:
    """Return the settings of the parent with those of the adaptation in the flow stage."""
    own = {
        "learning_rate": config.learning_rate,
        "noise_draws": config.noise_draws,
        "batch_size": config.batch_size,
        "ema_decay": config.ema_decay,
    }
    flow: FlowConfig = parent.training.flow.model_copy(update=own)
    training = parent.training.model_copy(update={"flow": flow})
    return parent.model_copy(update={"training": training})


class Learner:
    """A copy of a model that learns from stored views.

    Parameters
    ----------
    original
        The model to adapt; not changed. The weights are pulled back to its own.

    Attributes
    ----------
    model
        The adapted model in evaluation mode, with averaged weights. Updated by `publish`.
    """

    def __init__(
        self,
        original: LatentFM,
        parent: Config,
        config: AdaptationConfig,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._config, self._dtype = config, dtype
        self._training = to_device(copy.deepcopy(original), CPU)
        self.model = copy.deepcopy(original).eval()
        stage = KeptFeatureStage(self._training, learning_config(parent, config))
        self.stage = stage
        self._parameters = stage.parameters()
        freeze_except(self._training, self._parameters)
        self._original = [p.detach().clone() for p in self._parameters]
        self._begin()

    def _begin(self) -> None:
        config = self._config
        self._optimizer = torch.optim.AdamW(
            self._parameters, config.learning_rate, weight_decay=0.0, foreach=True
        )
        self._ema = EMA(self._parameters, config.ema_decay)
        self.steps = 0

    def reset(self) -> None:
        """Return to the original weights."""
        self._set(self._original)
        self._begin()
        self.publish()

    def continue_from(self, model: LatentFM) -> None:
        """Start from the weights of an adapted model of an earlier session."""
        self._training.load_state_dict(model.state_dict(), strict=False)
        self._begin()
        self.publish()

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)

    def step(self, store: ViewStore) -> float:
        """Take one optimiser step; return the loss.

        Raises
        ------
        ValueError
            If there are no views.
        """
        if not len(store):
            raise ValueError("there are no views to learn from")
        config = self._config
        rng = np.random.default_rng(seed_for(config.seed, 2, self.steps))
        count = config.batch_size
        batch = self.stage.batch_of(store.draw(count, rng), rng)
        alone = GlobalBatch.alone(generator_for(config.seed, 3, self.steps), count)
        self._training.train()
        with autocast(CPU, self._dtype):
            loss = self.stage.losses(batch, alone)["loss"]
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, GRADIENT_CLIP)
        self._optimizer.step()
        self._pull_back()
        self.steps += 1
        self._ema.update(self.steps)
        return float(loss.detach())

    @torch.no_grad()
    def _pull_back(self) -> None:
        """Move the weights a little towards the original ones (decoupled L2-SP)."""
        share = min(1.0, self._config.learning_rate * self._config.anchor)
        if share:
            values = [p.detach() for p in self._parameters]
            torch._foreach_lerp_(values, self._original, share)

    def publish(self) -> LatentFM:
        """Copy the averaged weights to `model`, and return it."""
        with self._ema.applied():
            self.model.load_state_dict(self._training.state_dict())
        return self.model.eval()
