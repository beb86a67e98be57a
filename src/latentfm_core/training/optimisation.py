"""One optimisation step of a stage: input, losses, gradients and weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from latentfm_core.config import DistillConfig, FlowConfig
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.datasets.object_set import ObjectSet
from latentfm_core.errors import Cancelled
from latentfm_core.inference.device import autocast
from latentfm_core.training.distributed import ProcessGroup
from latentfm_core.training.divergence import DivergenceWatch
from latentfm_core.training.ema import EMA
from latentfm_core.training.global_batch import GlobalBatch
from latentfm_core.training.stage_input import StageInput
from latentfm_core.training.stage_progress import StageProgress
from latentfm_core.training.stages import Batch, Stage, freeze_except

_WITH_AVERAGES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Optimisation:
    """Optimises the parameters of a stage, step by step."""

    def __init__(
        self,
        stage: Stage,
        data: CanvasSet | ObjectSet,
        processes: ProcessGroup,
        dtype: torch.dtype,
        progress: StageProgress,
        watch: DivergenceWatch,
    ) -> None:
        self._stage, self._processes, self._dtype = stage, processes, dtype
        self._progress, self._watch = progress, watch
        parameters = stage.parameters()
        freeze_except(stage.model, parameters)
        # One pass over all weights; on the CPU a sixth of the time of the loop over tensors.
        fused = processes.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(_parameter_groups(parameters, stage), fused=fused)
        settings = stage.settings
        decay = settings.ema_decay if isinstance(settings, FlowConfig | DistillConfig) else 0.0
        self.ema = EMA(parameters, decay) if decay else None
        self._input = StageInput(stage, data, processes.device, dtype)
        self.timer = self._input.timer
        self._losses = processes.wrap(stage)
        modules = list(stage.model.modules())
        # Running averages of an aborted step would stay in the network.
        self._has_averages = any(isinstance(module, _WITH_AVERAGES) for module in modules)
        # On a GPU a step is short, and its layers only start the work.
        slow = processes.size == 1 and processes.device.type == "cpu" and not self._has_averages
        self._layers = [each for each in modules if slow and not any(each.children())]

    @property
    def learning_rate(self) -> float:
        """Learning rate of the last step."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def step(
        self,
        step: int,
        index: NDArray[np.intp],
        own: Callable[[], list[float]],
        urgent: Callable[[], bool],
    ) -> tuple[dict[str, float], list[float]]:
        """Do a step; return its losses, and the means over the processes of the values of `own`.

        Raises
        ------
        Cancelled
            If `urgent` aborted the step; the weights are unchanged.
        Diverged
            If the loss is NaN or infinite.
        """
        generator = self._stage.generator(step)
        # Dropout draws from the global generator; each process drops out for its own images.
        torch.manual_seed(generator.initial_seed() + self._processes.rank)
        rows = self._processes.rows(len(index))
        weight = (rows.stop - rows.start) / len(index)
        whole = GlobalBatch(
            generator, len(index), rows, lambda value: self._processes.sum(value * weight)
        )
        self.timer.begin_step(step)
        with self.timer.part("augmentation"):
            source = self._input.at(step, index, rows, self._progress.share_for_size())
            batch = self._stage.prepare(source, whole)
        self._stage.model.train()
        self._abort_if(urgent)
        with self.timer.part("network"):
            with self._aborting(urgent):
                names, figures = self._differentiate(batch, whole, weight, urgent)
            found, agreed = self._processes.agree(figures, weight, own())
        values = dict(zip(names, found, strict=True))
        # Checked before the weight update, so that the last checkpoint stays valid.
        self._watch.check_finite(values["loss"], step)
        if not self._has_averages:
            self._abort_if(urgent)
        with self.timer.part("optimiser"):
            self._update(step)
        return values, agreed

    def _differentiate(
        self, batch: Batch, whole: GlobalBatch, weight: float, urgent: Callable[[], bool]
    ) -> tuple[list[str], torch.Tensor]:
        """Compute losses and gradients; return the names and values of the losses."""
        with autocast(self._processes.device, self._dtype):
            losses = self._losses(batch, whole)
        if not self._has_averages:
            self._abort_if(urgent)
        self.optimizer.zero_grad(set_to_none=True)
        self._processes.backward(losses["loss"], weight)
        # Synchronise with the device once, not per value, and after the work is queued.
        return list(losses), torch.stack([value.detach() for value in losses.values()])

    @contextmanager
    def _aborting(self, urgent: Callable[[], bool]) -> Iterator[None]:
        """Abort between layers too, forwards and backwards: on a CPU a step may take seconds."""

        def done(module: nn.Module, inputs: Any, output: Any) -> None:
            self._abort_if(urgent)
            if isinstance(output, torch.Tensor) and output.requires_grad:
                output.register_hook(lambda _: self._abort_if(urgent))

        with ExitStack() as hooks:
            for layer in self._layers:
                hooks.callback(layer.register_forward_hook(done).remove)
            yield

    def _abort_if(self, urgent: Callable[[], bool]) -> None:
        if self._processes.size == 1 and urgent():
            raise Cancelled("Stopped within a step.")

    def _update(self, step: int) -> None:
        groups, rate = self.optimizer.param_groups, self._progress.learning_rate(step)
        for group in groups:
            group["lr"] = group["rate"] * rate
        parameters = [p for group in groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self._stage.config.training.gradient_clip)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(step)


def _parameter_groups(parameters: list[nn.Parameter], stage: Stage) -> list[dict[str, object]]:
    """Decay weights but not biases or scales; lower the rate of a pretrained encoder.

    Each group has a factor ``"rate"`` for the learning rate.
    """
    decay, settings = stage.settings.weight_decay, stage.settings
    slow = {id(p) for p in stage.model.pretrained_parameters()}
    encoder_rate = settings.encoder_rate if isinstance(settings, FlowConfig) else 1.0
    groups: list[dict[str, object]] = []
    for is_slow, rate in ((False, 1.0), (True, encoder_rate)):
        some = [p for p in parameters if (id(p) in slow) == is_slow]
        for is_weight, rated in ((True, decay), (False, 0.0)):
            chosen = [p for p in some if (p.ndim > 1) == is_weight]
            if chosen:
                groups.append({"params": chosen, "weight_decay": rated, "rate": rate})
    return groups


def load_optimiser() -> None:
    """Import the modules of the first PyTorch optimiser, which takes two seconds."""
    torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
