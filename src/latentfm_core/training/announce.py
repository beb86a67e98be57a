"""Summary of a training run before it begins: data, expected time and memory."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from latentfm_core.config import Config
from latentfm_core.datasets.facts import (
    MaskFacts,
    copied_canvases,
    copies,
    facts_of_canvases,
    image_sizes,
    mask_facts,
)
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.datasets.object_set import ObjectSet
from latentfm_core.datasets.pairs import Pair
from latentfm_core.datasets.plausibility import (
    copy_findings,
    mask_findings,
    say_findings,
    size_findings,
)
from latentfm_core.datasets.splits import Split
from latentfm_core.datasets.summary import duration, mask_rows, megabytes, say_summary, size_text
from latentfm_core.inference.device import autocast, describe
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.training.batch_source import Feeder, Source
from latentfm_core.training.batches import draw_raters, seed_for, steps_per_epoch
from latentfm_core.training.globalbatch import GlobalBatch
from latentfm_core.training.object_source import ObjectSource
from latentfm_core.training.stage import BatchSource
from latentfm_core.training.stages import STAGES, Stage, freeze_except, make_stage
from latentfm_core.training.step_timer import PartsClock
from latentfm_core.training.time_budget import is_trained, stage_seconds

logger = logging.getLogger(__name__)

DataSet = CanvasSet | ObjectSet
"""Canvases; for a promptable model, images with their objects."""

_PROBED = 2
"""Largest number of images in the batch that is used to estimate the time of a step."""
_SLOW = 2.0
"""If the first step takes this many seconds, there is no second one."""
_STATES = 5
"""Copies of the weights during training: weights, gradient, two AdamW moments, average."""


def announce(
    config: Config,
    pairs: Mapping[str, Pair],
    split: Split,
    train: CanvasSet,
    val: CanvasSet | None,
    model: LatentFM,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Print the data summary of a training run and warn about anything implausible.

    Raises
    ------
    DatasetError
        If nothing can be learned from the masks: every one is empty, or full.
    """
    classes = config.model.classes
    masks = facts_of_canvases(train, len(classes))
    held_out = [] if val is None else facts_of_canvases(val, len(classes))
    chosen = {
        part: [pairs[name] for name in getattr(split, part)] for part in ("train", "val", "test")
    }
    every = [pair for part in chosen.values() for pair in part]
    sizes, side = image_sizes(every), config.data.size
    say_summary(
        {
            "device": describe(device, dtype),
            "images": _parts(split, len(pairs), train, val),
            "sizes": f"{size_text(sizes)}; the network sees {side} x {side}",
            "masks": f"{len(masks) + len(held_out)} of train and val",
            **mask_rows([*masks, *held_out], classes),
            "stages": _stages(config, len(train.names)),
            "expected": _expected(config, train, val, model, device, dtype),
        }
    )
    sets = {"train": train} | ({} if val is None else {"val": val})
    same = {*copies(chosen), *copied_canvases(sets)}
    threshold = config.data.mask_threshold
    say_findings(
        [
            *mask_findings(masks, classes, threshold),
            *mask_findings(
                held_out, classes, threshold, where=" of the validation part", stops=False
            ),
            *size_findings(sizes),
            *copy_findings(sorted(same)),
        ]
    )


def announce_objects(
    config: Config,
    split: Split,
    train: ObjectSet,
    val: ObjectSet | None,
    model: LatentFM,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Do what `announce` does for the data of a promptable model.

    Raises
    ------
    DatasetError
        If every mask is empty, or full.
    """
    classes = config.model.classes
    masks = _facts_of_objects(train)
    held_out = [] if val is None else _facts_of_objects(val)
    everything = [*train.images, *(() if val is None else val.images)]
    sizes = [(image.rgb.shape[0], image.rgb.shape[1]) for image in everything]
    side = config.data.size
    say_summary(
        {
            "device": describe(device, dtype),
            "images": _parts(split, 0, train, val),
            "sizes": f"{size_text(sizes)} in memory; the network sees {side} x {side}",
            "masks": f"{len(masks) + len(held_out)} of train and val",
            **mask_rows([*masks, *held_out], classes),
            "stages": _stages(config, len(train.names)),
            "expected": _expected(config, train, val, model, device, dtype),
        }
    )
    say_findings(mask_findings(masks, classes, config.data.mask_threshold))


def _facts_of_objects(data: ObjectSet) -> list[MaskFacts]:
    return [mask_facts(image.name, mask > 0, 1) for image in data.images for mask in image.masks]


def _parts(split: Split, there: int, train: DataSet, val: DataSet | None) -> str:
    used = len(split.train) + len(split.val) + len(split.test)
    skipped = len(train.skipped) + (0 if val is None else len(val.skipped))
    text = f"{len(split.train)} train, {len(split.val)} val, {len(split.test)} test"
    if skipped:
        text += f"; {skipped} unusable and left out"
    if there - used - skipped > 0:
        text += f"; {there - used - skipped} of the folder are not in any part and not used"
    return text


def _stages(config: Config, images: int) -> str:
    parts = []
    for name in STAGES:
        settings = getattr(config.training, name)
        if is_trained(config, name):
            steps = settings.epochs * steps_per_epoch(images, settings.batch_size)
            limit = stage_seconds(config, name)
            most = "" if limit is None else f", at most {duration(limit)}"
            parts.append(f"{name} {settings.epochs} epochs ({steps:,} steps{most})")
    return ", ".join(parts) or "none"


def _expected(
    config: Config,
    train: DataSet,
    val: DataSet | None,
    model: LatentFM,
    device: torch.device,
    dtype: torch.dtype,
) -> str:
    kept = sum(_bytes_of(each) for each in (train, val) if each is not None)
    weights = sum(value.numel() * value.element_size() for value in model.parameters())
    memory = f"{megabytes(kept)} for images, {megabytes(_STATES * weights)} for the networks"
    try:
        seconds = _seconds(config, train, model, device, dtype)
    except Exception:
        # An estimate must not stop a run; the training reports the error if it persists.
        logger.debug("cannot estimate the time", exc_info=True)
        return memory
    return f"about {duration(seconds)} without validation; {memory}"


def _bytes_of(data: DataSet) -> int:
    if isinstance(data, CanvasSet):
        return data.images.nbytes + data.masks.nbytes
    return sum(image.rgb.nbytes + sum(mask.nbytes for mask in image.masks) for image in data.images)


def _seconds(
    config: Config, train: DataSet, model: LatentFM, device: torch.device, dtype: torch.dtype
) -> float:
    """Estimate the time of the stages from one step of each on a copy of the networks."""
    total = 0.0
    for name in STAGES:
        settings = getattr(config.training, name)
        if not is_trained(config, name):
            continue
        stage = make_stage(name, copy.deepcopy(model), config)
        per_pixel = _seconds_per_pixel(stage, train, device, dtype)
        epochs = settings.epochs
        pixels = [stage.size_at(epoch / epochs) ** 2 for epoch in range(min(epochs, 1000))]
        seconds = per_pixel * float(np.mean(pixels)) * epochs * len(train.names)
        total += min(seconds, stage_seconds(config, name) or seconds)
    return total


def _seconds_per_pixel(
    stage: Stage, data: DataSet, device: torch.device, dtype: torch.dtype
) -> float:
    count = min(_PROBED, stage.settings.batch_size, len(data.names))
    index = np.arange(count)
    size = stage.size_at(1.0)
    source = _probe(stage, data, index, device, dtype)
    freeze_except(stage.model, stage.parameters())
    cuda = [device] if device.type == "cuda" else []
    seconds = []
    with torch.random.fork_rng(devices=cuda):
        stage.begin()
        stage.model.train()
        for _ in range(2):  # the first step also sets things up
            start = time.perf_counter()
            global_batch = GlobalBatch.alone(stage.generator(0), count)
            batch = stage.prepare(source, global_batch)
            with autocast(device, dtype):
                losses = stage.losses(batch, global_batch)
            losses["loss"].backward()
            float(losses["loss"].detach())
            seconds.append(time.perf_counter() - start)
            if seconds[0] > _SLOW:
                break
    return seconds[-1] / (count * size**2)


def _probe(
    stage: Stage, data: DataSet, index: NDArray[np.intp], device: torch.device, dtype: torch.dtype
) -> BatchSource:
    """Return the batch that the first step of a stage would read, for a few images."""
    size, draws, clock = stage.size_at(1.0), stage.draws(0), PartsClock(device)
    if isinstance(data, CanvasSet):
        feeder = Feeder(data, stage.config.model.mask_channels, device)
        return Source(feeder, index, draw_raters(data, index, draws), size, clock, dtype)
    seeds = tuple(seed_for(draws, row) for row in range(len(index)))
    return ObjectSource(data, index, seeds, size, clock, device, dtype)
