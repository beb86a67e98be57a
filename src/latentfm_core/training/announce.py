"""Summary of a training run before it begins: data, expected time and memory."""

from __future__ import annotations

import copy
import logging
import time
from dataclasses import asdict
from itertools import chain

import numpy as np
import torch

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
    log_findings,
    mask_findings,
    size_findings,
    stored_findings,
)
from latentfm_core.datasets.stored import StoredPair
from latentfm_core.datasets.summary import (
    duration,
    log_summary,
    mask_rows,
    megabytes,
    size_text,
    stored_rows,
)
from latentfm_core.inference.device import autocast, describe
from latentfm_core.training.batches import steps_per_epoch
from latentfm_core.training.global_batch import GlobalBatch
from latentfm_core.training.plan import plan_findings
from latentfm_core.training.run_data import DataSet, RunData
from latentfm_core.training.run_state import RunState
from latentfm_core.training.stage_input import StageInput
from latentfm_core.training.stages import STAGES, Stage, freeze_except, make_stage
from latentfm_core.training.time_budget import is_trained, stage_seconds

logger = logging.getLogger(__name__)

_PROBED = 2
"""Largest number of images in the batch that is used to estimate the time of a step."""
_SLOW = 2.0
"""If the first step takes this many seconds, there is no second one."""
_STATES = 5
"""Copies of the weights during training: weights, gradient, two AdamW moments, average."""


def announce(run: RunState) -> None:
    """Log the data summary of a training run and warn about anything implausible.

    Raises
    ------
    DatasetError
        If nothing can be learned from the masks, because all are empty or full, or if a value or
        colour that only some masks have may be a class.
    """
    train, val = run.data.train, run.data.val
    classes, side = run.config.model.classes, run.config.data.size
    masks = _facts(train, len(classes))
    held_out = [] if val is None else _facts(val, len(classes))
    sizes, where = _sizes(run.data)
    stored = _stored(run.data)
    log_summary(
        {
            "device": describe(run.device, run.dtype),
            "images": _parts(run.data),
            "sizes": f"{size_text(sizes)}{where}; the network sees {side} x {side}",
            **stored_rows(chain.from_iterable(stored.values()), run.config.data.reading),
            "masks": f"{len(masks) + len(held_out)} of train and val",
            **mask_rows([*masks, *held_out], classes),
            "stages": _stages(run.config, len(train.names)),
            "expected": _expected(run),
        }
    )
    threshold = run.config.data.mask_threshold
    findings = plan_findings(run.config, len(train.names), validated=val is not None)
    findings += mask_findings(masks, classes, threshold)
    for name, pairs in stored.items():
        findings += stored_findings(pairs, f" of the set {name}" if name else "")
    if isinstance(train, CanvasSet):
        part = " of the validation part"
        findings += mask_findings(held_out, classes, threshold, where=part, stops=False)
        findings += size_findings(sizes)
        findings += copy_findings(sorted(_copies(run.data)))
    log_findings(findings)


def _facts(data: DataSet, classes: int) -> list[MaskFacts]:
    if isinstance(data, CanvasSet):
        return facts_of_canvases(data, classes)
    return [mask_facts(image.name, mask > 0, 1) for image in data.images for mask in image.masks]


def _sizes(data: RunData) -> tuple[list[tuple[int, int]], str]:
    """Return the sizes of all images, or of those in memory, and say which."""
    if isinstance(data.train, CanvasSet):
        return image_sizes([pair for part in _chosen(data).values() for pair in part]), ""
    in_memory = [each.images for each in (data.train, data.val) if isinstance(each, ObjectSet)]
    sizes = [(image.rgb.shape[0], image.rgb.shape[1]) for images in in_memory for image in images]
    return sizes, " in memory"


def _stored(data: RunData) -> dict[str, list[StoredPair]]:
    """Return how all files of training and validation store their pixels, set by set."""
    found: dict[str, list[StoredPair]] = {}
    for part in (data.train, data.val):
        if isinstance(part, CanvasSet):
            found.setdefault("", []).extend(part.stored)
        elif part is not None:
            for image in part.images:
                if image.stored is not None:
                    found.setdefault(image.set_name, []).append(image.stored)
    return found


def _chosen(data: RunData) -> dict[str, list[Pair]]:
    parts = asdict(data.split)
    return {part: [data.pairs[name] for name in names] for part, names in parts.items()}


def _copies(data: RunData) -> set[tuple[str, ...]]:
    sets = {"train": data.train, "val": data.val}
    canvases = {part: each for part, each in sets.items() if isinstance(each, CanvasSet)}
    return {*copies(_chosen(data)), *copied_canvases(canvases)}


def _parts(data: RunData) -> str:
    split = data.split
    used = len(split.train) + len(split.val) + len(split.test)
    skipped = len(data.train.skipped) + (0 if data.val is None else len(data.val.skipped))
    text = f"{len(split.train)} train, {len(split.val)} val, {len(split.test)} test"
    if skipped:
        text += f"; {skipped} unusable and left out"
    left = len(data.pairs) - used - skipped
    if left > 0 and isinstance(data.train, CanvasSet):
        text += f"; {left} of the folder are not in any part and not used"
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


def _expected(run: RunState) -> str:
    kept = sum(_bytes_of(each) for each in (run.data.train, run.data.val) if each is not None)
    weights = sum(value.numel() * value.element_size() for value in run.model.parameters())
    memory = f"{megabytes(kept)} for images, {megabytes(_STATES * weights)} for the networks"
    try:
        seconds = _seconds(run)
    except Exception:
        # An estimate must not stop a run; the training reports the error if it persists.
        logger.debug("cannot estimate the time", exc_info=True)
        return memory
    return f"about {duration(seconds)} without validation; {memory}"


def _bytes_of(data: DataSet) -> int:
    if isinstance(data, CanvasSet):
        return data.images.nbytes + data.masks.nbytes
    return sum(image.rgb.nbytes + sum(mask.nbytes for mask in image.masks) for image in data.images)


def _seconds(run: RunState) -> float:
    """Estimate the time of the stages from one step of each on a copy of the networks."""
    total, config = 0.0, run.config
    for name in STAGES:
        if not is_trained(config, name):
            continue
        stage = make_stage(name, copy.deepcopy(run.model), config)
        per_pixel = _seconds_per_pixel(stage, run)
        epochs = stage.settings.epochs
        pixels = [stage.size_at(epoch / epochs) ** 2 for epoch in range(min(epochs, 1000))]
        seconds = per_pixel * float(np.mean(pixels)) * epochs * len(run.data.train.names)
        total += min(seconds, stage_seconds(config, name) or seconds)
    return total


def _seconds_per_pixel(stage: Stage, run: RunState) -> float:
    count = min(_PROBED, stage.settings.batch_size, len(run.data.train.names))
    inputs = StageInput(stage, run.data.train, run.device, run.dtype)
    source = inputs.at(0, np.arange(count), slice(0, count), 1.0)
    freeze_except(stage.model, stage.parameters())
    cuda = [run.device] if run.device.type == "cuda" else []
    seconds = []
    with torch.random.fork_rng(devices=cuda):
        stage.begin()
        stage.model.train()
        for _ in range(2):  # the first step also sets things up
            start = time.perf_counter()
            global_batch = GlobalBatch.alone(stage.generator(0), count)
            batch = stage.prepare(source, global_batch)
            with autocast(run.device, run.dtype):
                losses = stage.losses(batch, global_batch)
            losses["loss"].backward()
            float(losses["loss"].detach())
            seconds.append(time.perf_counter() - start)
            if seconds[0] > _SLOW:
                break
    return seconds[-1] / (count * stage.size_at(1.0) ** 2)
