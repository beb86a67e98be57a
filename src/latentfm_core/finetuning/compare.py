"""Compare the old and the new model on held-out images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from latentfm_core.config import Config
from latentfm_core.datasets.label_names import check_label_names
from latentfm_core.datasets.layouts import training_pairs
from latentfm_core.datasets.pair_reading import read_references
from latentfm_core.datasets.pairs import Pair
from latentfm_core.errors import Cancelled
from latentfm_core.evaluation.evaluate import Case, evaluate
from latentfm_core.finetuning.messages import Verdict
from latentfm_core.inference.segmenter import Segmenter


def held_out_pairs(config: Config, names: Sequence[str]) -> list[Pair]:
    """Return the files of the images named `names`."""
    data = config.data
    if not names:
        return []
    wanted = set(names)
    return [pair for pair in training_pairs(data) if pair.name in wanted]


def held_out_dice(
    model: Path,
    pairs: Sequence[Pair],
    config: Config,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[float, ...]:
    """Return the Dice of a model's mean mask on each image, at the images' own resolution.

    Parameters
    ----------
    config
        Sampling settings, and device and precision of the training.

    Raises
    ------
    ConfigError
        If the model has the classes in another order.
    Cancelled
        If `should_stop` returned true.
    """
    if not pairs:
        return ()
    segmenter = Segmenter.load(model, config.training.device, config.training.precision)
    named = dict(enumerate(config.model.classes, start=1))
    check_label_names(segmenter.card.config.model.classes, named, Path("model.classes"))
    classes = len(config.model.classes)

    def cases() -> Iterator[Case]:
        for pair in pairs:
            if should_stop():
                raise Cancelled("Stopped while comparing on the held-out images.")
            data = config.data
            read = read_references(pair, data.mask_threshold, classes, data.reading)
            yield Case(read.image, read.masks)

    settings = config.sampling.model_copy(update={"precision": config.training.precision})
    return tuple(evaluate(segmenter, cases(), settings).values("dice"))


def judge(old: Sequence[float], new: Sequence[float]) -> Verdict:
    """Compare the Dice of both models on the same images."""
    if not old or not new:
        return Verdict(old=None, new=None, n_held_out=0, n_better=0)
    better = sum(b > a for a, b in zip(old, new, strict=True))
    return Verdict(
        old=float(np.mean(old)), new=float(np.mean(new)), n_held_out=len(old), n_better=better
    )
