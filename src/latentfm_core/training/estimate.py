"""Estimate of the time and memory of a training run, from a small step of each stage."""

from __future__ import annotations

import copy
import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.datasets.summary import duration, megabytes
from latentfm_core.inference.device import autocast
from latentfm_core.training.batches import steps_per_epoch
from latentfm_core.training.checkpoint import DONE
from latentfm_core.training.global_batch import GlobalBatch
from latentfm_core.training.run_data import DataSet
from latentfm_core.training.run_state import RunState
from latentfm_core.training.stage_input import StageInput
from latentfm_core.training.stages import STAGES, Stage, freeze_except, make_stage
from latentfm_core.training.time_budget import is_trained, stage_seconds

logger = logging.getLogger(__name__)

_PROBED = 2
"""Largest number of images in the batch that is used for the estimate."""
_SLOW = 2.0
"""If the first step takes this many seconds, there is no second one."""
_STATES = 5
"""Copies of the weights during training: weights, gradient, two AdamW moments, average."""


def expected(run: RunState) -> str:
    """Return the time and memory that the rest of a run will take, for the data summary."""
    kept = sum(_bytes_of(each) for each in (run.data.train, run.data.val) if each is not None)
    weights = sum(value.numel() * value.element_size() for value in run.model.parameters())
    memory = f"{megabytes(kept)} for images, {megabytes(_STATES * weights)} for the networks"
    try:
        seconds, batch = work_left(run)
    except Exception:
        # An estimate must not stop a run; the training reports the error if it persists.
        logger.debug("cannot estimate time and memory", exc_info=True)
        return memory
    left = " left" if run.checkpoint is not None else ""
    most = run.config.training.minutes
    limit = "" if most is None else f", at most {most:g} min in all with it"
    return (
        f"about {duration(seconds)}{left} without validation{limit}; {memory}, {megabytes(batch)} "
        "for a batch"
    )


def _bytes_of(data: DataSet) -> int:
    if isinstance(data, CanvasSet):
        return data.images.nbytes + data.masks.nbytes
    return sum(image.rgb.nbytes + sum(mask.nbytes for mask in image.masks) for image in data.images)


def work_left(run: RunState) -> tuple[float, int]:
    """Return the seconds of the stages that are left, and the bytes of their largest batch.

    Both are estimated from a step of each stage on a copy of the networks.
    """
    total, largest = 0.0, 0
    stages = () if run.position.stage == DONE else STAGES[STAGES.index(run.position.stage) :]
    for name in stages:
        if not is_trained(run.config, name):
            continue
        stage = make_stage(name, copy.deepcopy(run.model), run.config)
        probe = _probe(stage, run)
        total += _seconds_left(stage, run, probe.seconds_per_pixel)
        of_process = -(-stage.settings.batch_size // run.processes.size)
        largest = max(largest, min(of_process, len(run.data.train.names)) * probe.bytes_per_image)
    return total, largest


def _seconds_left(stage: Stage, run: RunState, per_pixel: float) -> float:
    position, epochs = run.position, stage.settings.epochs
    at_it = position.stage == stage.name
    per_epoch = steps_per_epoch(len(run.data.train.names), stage.settings.batch_size)
    done = position.step / per_epoch if at_it else 0.0
    extended = at_it and position.extended_step > 0
    # Of at most 1000 epochs, evenly spread over what is left.
    shares = np.linspace(done / epochs, 1.0, min(epochs, 1000), endpoint=False)
    pixels = [stage.size_at(1.0 if extended else float(share)) ** 2 for share in shares]
    images = max(0.0, epochs - done) * len(run.data.train.names)
    seconds = per_pixel * float(np.mean(pixels)) * images
    budget = stage_seconds(run.config, stage.name)
    if budget is None:
        return seconds
    return min(seconds, max(0.0, budget - (position.stage_seconds if at_it else 0.0)))


@dataclass(frozen=True)
class _Probe:
    """What a step of a stage takes at its full image size."""

    seconds_per_pixel: float
    bytes_per_image: int


def _probe(stage: Stage, run: RunState) -> _Probe:
    count = min(_PROBED, stage.settings.batch_size, len(run.data.train.names))
    inputs = StageInput(stage, run.data.train, run.device, run.dtype)
    source = inputs.at(0, np.arange(count), slice(0, count), 1.0)
    freeze_except(stage.model, stage.parameters())
    cuda = [run.device] if run.device.type == "cuda" else []
    kept = _KeptForBackward(stage)
    seconds = []
    with torch.random.fork_rng(devices=cuda):
        stage.begin()
        stage.model.train()
        for _ in range(2):  # the first step also sets things up
            start = time.perf_counter()
            global_batch = GlobalBatch.alone(stage.generator(0), count)
            batch = stage.prepare(source, global_batch)
            with autocast(run.device, run.dtype), kept.counted():
                losses = stage.losses(batch, global_batch)
            losses["loss"].backward()
            float(losses["loss"].detach())
            seconds.append(time.perf_counter() - start)
            if seconds[0] > _SLOW:
                break
    return _Probe(seconds[-1] / (count * stage.size_at(1.0) ** 2), kept.bytes // count)


class _KeptForBackward:
    """Counts the memory of what a forward pass keeps for the backward pass, on any device."""

    def __init__(self, stage: Stage) -> None:
        self._weights = {value.data_ptr() for value in stage.model.parameters()}
        self._sizes: dict[int, int] = {}

    @property
    def bytes(self) -> int:
        """Size of all memory kept at once, without the weights."""
        return sum(self._sizes.values())

    def counted(self) -> torch.autograd.graph.saved_tensors_hooks:
        """Return a context in which a forward pass is counted, in place of an earlier one."""
        self._sizes.clear()
        return torch.autograd.graph.saved_tensors_hooks(self._add, lambda value: value)

    def _add(self, value: Tensor) -> Tensor:
        memory = value.untyped_storage()
        if memory.data_ptr() not in self._weights:
            self._sizes[memory.data_ptr()] = memory.nbytes()
        return value
