"""Summary of a training run before it begins: data, expected time and memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import Config, SetConfig
from latentfm_core.datasets.facts import (
    MaskFacts,
    copied_images,
    copies,
    facts_of_canvases,
    image_sizes,
    mask_facts,
)
from latentfm_core.datasets.groups import groups_text, read_groups
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.datasets.nnunet import with_description
from latentfm_core.datasets.object_set import alone, names_in_set, set_of
from latentfm_core.datasets.pairs import Pair
from latentfm_core.datasets.plausibility import (
    copy_findings,
    group_findings,
    log_findings,
    mask_findings,
    size_findings,
)
from latentfm_core.datasets.stored import StoredPair
from latentfm_core.datasets.stored_findings import stored_findings
from latentfm_core.datasets.summary import (
    duration,
    log_summary,
    mask_rows,
    size_text,
    stored_rows,
)
from latentfm_core.errors import DatasetError
from latentfm_core.inference.device import describe
from latentfm_core.names import counted
from latentfm_core.training.batches import steps_per_epoch
from latentfm_core.training.estimate import expected
from latentfm_core.training.parent_findings import parent_findings
from latentfm_core.training.plan import plan_findings
from latentfm_core.training.run_data import DataSet, RunData
from latentfm_core.training.run_state import RunState
from latentfm_core.training.stages import STAGES
from latentfm_core.training.time_budget import is_trained, stage_seconds


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
    sizes = image_sizes([pair for part in _chosen(run.data).values() for pair in part])
    stored = _stored(run.data, run.config.data.sets)
    grouped = _groups(run)
    log_summary(
        {
            "device": describe(run.device, run.dtype),
            "images": _parts(run.data),
            "groups": "; ".join(
                f"{name} {groups_text(groups)}".strip() for name, (_, groups) in grouped.items()
            ),
            **_sets(run),
            "sizes": f"{size_text(sizes)}; the network sees {side} x {side}",
            **stored_rows([*chain.from_iterable(stored.values())], run.config.data.reading),
            "masks": f"{len(masks) + len(held_out)} of train and val",
            **mask_rows([*masks, *held_out], classes),
            "stages": _stages(run.config, len(train.names)),
            "best weights": _best_weights(val) if is_trained(run.config, "flow") else "",
            "expected": expected(run),
        }
    )
    threshold = run.config.data.mask_threshold
    findings = plan_findings(run.config, len(train.names), validated=val is not None)
    findings += mask_findings(masks, classes, threshold)
    for name, pairs in stored.items():
        findings += stored_findings(pairs, f" of the set {name}" if name else "")
    part = " of the validation part"
    findings += mask_findings(held_out, classes, threshold, where=part, stops=False)
    findings += size_findings(sizes)
    findings += copy_findings(sorted(_copies(run.data)))
    for column, groups in grouped.values():
        findings += group_findings(groups, column)
    findings += parent_findings(run)
    folder = run.config.data.folder
    log_findings(
        [
            replace(one, text=with_description(one.text, one.names_classes, folder))
            for one in findings
        ]
    )


def _facts(data: DataSet, classes: int) -> list[MaskFacts]:
    if isinstance(data, CanvasSet):
        return facts_of_canvases(data, classes)
    return [
        mask_facts(
            image.name, mask > 0, 1, None if image.stored is None else image.stored.objects[n]
        )
        for image in data.images
        for n, mask in enumerate(image.masks)
    ]


def _stored(data: RunData, sets: Sequence[SetConfig]) -> dict[str, list[StoredPair]]:
    """Return how all files of training and validation store their pixels, set by set."""
    found: dict[str, list[StoredPair]] = {}
    for part in (data.train, data.val):
        if isinstance(part, CanvasSet):
            for pair in part.stored:
                found.setdefault(set_of(pair.name, sets), []).append(pair)
        elif part is not None:
            for image in part.images:
                if image.stored is not None:
                    found.setdefault(image.set_name, []).append(image.stored)
    return found


def _chosen(data: RunData) -> dict[str, list[Pair]]:
    parts = asdict(data.split)
    return {part: [data.pairs[name] for name in names] for part, names in parts.items()}


def _copies(data: RunData) -> set[tuple[str, ...]]:
    parts = {"train": data.train, "val": data.val}
    read = {part: dict(_images(each)) for part, each in parts.items() if each is not None}
    return {*copies(_chosen(data)), *copied_images(read)}


def _images(data: DataSet) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    if isinstance(data, CanvasSet):
        return zip(data.names, data.images, strict=True)
    return ((image.name, image.rgb) for image in data.images)


def _parts(data: RunData) -> str:
    split = data.split
    used = len(split.train) + len(split.val) + len(split.test)
    skipped = len(data.train.skipped) + (0 if data.val is None else len(data.val.skipped))
    text = f"{len(split.train)} train, {len(split.val)} val, {len(split.test)} test"
    if skipped:
        text += f"; {skipped} unusable and left out"
    left = len(data.pairs) - used - skipped
    if left > 0:
        unused = counted(left, "image of the folder is", "images of the folder are")
        text += f"; {unused} not in any part and not used"
    return text


def _groups(run: RunState) -> dict[str, tuple[str, dict[str, str]]]:
    """Return column and groups of each data set with groups, by its name; "" if there is one."""
    data, split = run.config.data, run.data.split
    every = (*split.train, *split.val, *split.test)
    sources = {one.name: (alone(one, data), names_in_set(one.name, every)) for one in data.sets}
    found = {}
    for name, (own, names) in (sources or {"": (data, every)}).items():
        if own.group_file is not None and own.group_column is not None and names:
            # A resumed run has its parts and does not need the file.
            with suppress(DatasetError):
                found[name] = own.group_column, read_groups(own.group_file, own.group_column, names)
    return found


def _sets(run: RunState) -> dict[str, str]:
    """Return a row for several data sets: images of each, and how often they are drawn."""
    sets, train = run.config.data.sets, run.data.train
    if not sets:
        return {}
    weights = np.full(len(train.names), 1.0) if train.weights is None else train.weights
    drawn = dict.fromkeys((one.name for one in sets), 0.0)
    for name, weight in zip(train.names, weights / weights.sum(), strict=True):
        drawn[set_of(name, sets)] += weight
    return {
        "sets": "; ".join(
            f"{name} {len(names_in_set(name, run.data.split.train))} train, "
            f"{len(names_in_set(name, run.data.split.val))} val, drawn {share:.0%}"
            for name, share in drawn.items()
        )
    }


def _stages(config: Config, images: int) -> str:
    parts = []
    for name in STAGES:
        settings = getattr(config.training, name)
        if is_trained(config, name):
            steps = settings.epochs * steps_per_epoch(images, settings.batch_size)
            limit = stage_seconds(config, name)
            most = "" if limit is None else f", at most {duration(limit)}"
            epochs = counted(settings.epochs, "epoch")
            parts.append(f"{name} {epochs} ({counted(steps, 'step')}{most})")
    return ", ".join(parts) or "none"


def _best_weights(val: DataSet | None) -> str:
    """Return which figure of the validations selects the weights, as `selection_score` does."""
    if val is None:
        return ""
    if isinstance(val, CanvasSet):
        return "lowest validation GED" if val.raters.max() > 1 else "highest validation Dice"
    several = any(len(image.masks) > 1 for image in val.images)
    own = ", also with several raters (not GED)" if several else ""
    return f"highest validation Dice, mean over the kinds of prompt{own}"
