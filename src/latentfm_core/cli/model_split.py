"""The parts that a model was trained with, where the user names no split."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latentfm_core.datasets.pairs import Pair, name_some
from latentfm_core.datasets.splits import Split, read_split
from latentfm_core.errors import DatasetError, ModelFolderError
from latentfm_core.model_io.bundled import bundled_models, resolve_model
from latentfm_core.training.trained_on import trained_on

logger = logging.getLogger(__name__)

ALL = "all"
"""The part of all images, whatever the model was trained on."""


@dataclass(frozen=True)
class ModelSplit:
    """What a run of training left beside its model.

    Attributes
    ----------
    file
        ``training/split.json`` of the model folder.
    split
        Its content.
    trained_on
        Names of the images that the model was trained on, in any of the run's parts.
    """

    file: Path
    split: Split
    trained_on: frozenset[str]


def model_split(args: argparse.Namespace) -> ModelSplit | None:
    """Return the parts that the model was trained with; None if its folder does not hold them.

    Raises
    ------
    DatasetError
        If the file is damaged.
    """
    names = bundled_models()
    source = args.model or (names[0] if names else None)
    if source is None:
        return None
    try:
        folder = resolve_model(source) / "training"
    except ModelFolderError:
        return None  # reported when the model is loaded
    file = folder / "split.json"
    if not file.is_file():
        return None
    split = read_split(file)
    return ModelSplit(file, split, frozenset(trained_on(split, folder)))


def pairs_of_model(
    args: argparse.Namespace, pairs: Sequence[Pair], model: ModelSplit | None, default: str
) -> list[Pair]:
    """Return the pairs of ``args.part`` by the model's own split, and say which these are.

    Without ``--part`` all pairs are taken if the images are not those of the split: if one of the
    default part is missing among them. ``args.part`` becomes the part that was taken.

    Parameters
    ----------
    args
        The options.
    pairs
        All images that were named.
    model
        The model's split, if there is one.
    default
        The part to take without ``--part``.

    Raises
    ------
    DatasetError
        If ``--part`` asks for images that are not there.
    """
    if args.part == ALL or model is None:
        return list(pairs)
    part = args.part or default
    wanted: tuple[str, ...] = getattr(model.split, part)
    found = [pair for pair in pairs if pair.name in set(wanted)]
    if args.part is None and (not wanted or len(found) < len(wanted)):
        logger.info(
            "All %d images are taken: they are not those that %s divides.", len(pairs), model.file
        )
        return list(pairs)
    if not wanted:
        raise DatasetError(f"The part {part} of {model.file} is empty; choose another --part.")
    missing = set(wanted) - {pair.name for pair in found}
    if missing:
        raise DatasetError(
            f"{args.images} lacks {len(missing)} images of the part {part} of {model.file}: "
            f"{name_some(missing)}. Name the folder of the training, or other parts with --split "
            f"FILE, or add --part {ALL}."
        )
    args.part = part
    logger.info(
        "The %d images of part %s of %s are taken, of %d; --part %s takes all.",
        len(found), part, model.file, len(pairs), ALL,
    )  # fmt: skip
    return found


def warn_of_trained(pairs: Sequence[Pair], model: ModelSplit | None) -> int:
    """Warn if images, by their names, were trained on; return how many."""
    if model is None:
        return 0
    trained = [pair.name for pair in pairs if pair.name in model.trained_on]
    if trained:
        logger.warning(
            "WARNING: the model was trained on %d of these %d images (%s). Figures on them say "
            "too much. (Compared by name with %s.)",
            len(trained),
            len(pairs),
            name_some(trained),
            model.file,
        )
    return len(trained)
