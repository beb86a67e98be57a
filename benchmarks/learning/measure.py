"""Measure a model before and after fine-tuning on a few corrected images."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from latentfm_core.bars import is_quiet
from latentfm_core.config import DataConfig, with_overrides
from latentfm_core.datasets.pair_reading import read_binary
from latentfm_core.datasets.pairs import Pair
from latentfm_core.errors import Cancelled
from latentfm_core.evaluation.evaluate import Case, evaluate
from latentfm_core.evaluation.scores import ImageScores
from latentfm_core.finetuning.finetune import FineTune
from latentfm_core.finetuning.recipe import finetune_config
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import read_card
from latentfm_core.training.options import RunOptions

logger = logging.getLogger(__name__)

FIGURES = ("dice", "iou", "sample_dice", "ged", "diversity", "dataset_ece")


def measure(model: str | Path, pairs: Sequence[Pair], what: str) -> dict[str, float]:
    """Return the mean metrics of a model on images, with the sampling settings of its card."""
    segmenter = Segmenter.load(model)
    cases = (Case(read.image, read.masks) for read in map(read_binary, pairs))
    with tqdm(
        total=len(pairs), desc=what, unit="image", mininterval=5.0, disable=is_quiet(logger)
    ) as bar:

        def count(_: ImageScores) -> None:
            bar.update()

        found = evaluate(segmenter, cases, segmenter.card.config.sampling, count)
    means = found.means()
    spread = float(_standard_error(found.values("dice")))
    return {name: means[name] for name in FIGURES} | {"dice_standard_error": spread}


def _standard_error(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1) / len(values))


def learn(
    model: str, images: Path, corrected: Sequence[Pair], out: Path, overrides: Sequence[str]
) -> dict[str, Any]:
    """Fine-tune `model` on the masks of `corrected`; return seconds and verdict.

    The masks are copied to a separate folder, as for accepted ones.

    Raises
    ------
    Cancelled
        If the training was interrupted.
    """
    masks = out / "masks"
    shutil.rmtree(out, ignore_errors=True)
    masks.mkdir(parents=True)
    for pair in corrected:
        shutil.copy(pair.masks[0], masks)
    start = time.monotonic()
    parent = read_card(resolve_model(model))
    config = finetune_config(parent, DataConfig(images=images.resolve(), masks=masks.resolve()))
    config = with_overrides(config, overrides)
    run = FineTune(config, RunOptions(out / "model", init=model))
    verdict = run.run()
    if verdict is None:
        raise Cancelled("The training was interrupted.")
    split = run.trainer.state.data.split
    return {
        "seconds": time.monotonic() - start,
        "training_seconds": run.trainer.state.position.seconds,
        "trained_on": len(split.train),
        "held_out": len(split.val),
        "old_held_out_dice": verdict.old,
        "new_held_out_dice": verdict.new,
        "verdict": verdict.better,
    }
