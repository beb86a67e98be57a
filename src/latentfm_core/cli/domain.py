"""Fit the out-of-domain score of a model, and store it."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from latentfm_core.bars import progress_bar
from latentfm_core.cli.arguments import reject_unused
from latentfm_core.cli.cases import ChosenPairs
from latentfm_core.cli.common import print_line
from latentfm_core.cli.data_options import reading_from
from latentfm_core.cli.model_split import ModelSplit
from latentfm_core.config import ReadingConfig, load_config
from latentfm_core.datasets.folds import training_split
from latentfm_core.datasets.layouts import read_layout, training_pairs
from latentfm_core.datasets.object_set import find_sets
from latentfm_core.datasets.pairs import Pair, find_pairs
from latentfm_core.datasets.splits import Split, read_split
from latentfm_core.errors import ConfigError, DatasetError, ImageError
from latentfm_core.evaluation.domain import (
    MOST_OF_ONE_TRAIN,
    MOST_OF_ONE_VAL,
    MOST_TRAIN,
    MOST_VAL,
    domain_of,
    drawn,
)
from latentfm_core.images.read import read_image
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.domain import write_domain
from latentfm_core.types import ImageInput
from latentfm_core.uncertainty.domain import FEWEST, PASSING, TrainingDomain

logger = logging.getLogger(__name__)

_OF_CALIBRATION = (
    *("mask_threshold", "mask_channel", "keep_numbers", "group_file", "group_column"),
    *("prompt", "corrections", "mask_kind", "most_objects"),
    *("n_samples", "steps", "solver", "seed", "batch_size", "refine", "distilled"),
)
"""Options without an effect on the out-of-domain score."""

Parts = tuple[list[list[Pair]], list[Pair]]
"""Training pairs of each set, and validation pairs of all."""


def parts_of_config(file: Path) -> Parts:
    """Return training and validation pairs of the settings of a training.

    Of several sets each gives about as many images, so that a large one does not decide alone.

    Raises
    ------
    ConfigError, DatasetError
        If they cannot be used, or name no data.
    """
    data = load_config(file).data
    if not data.sets:
        pairs = {pair.name: pair for pair in training_pairs(data)}
        known, held_out = _parts(pairs, training_split(pairs, data))
        return [known], held_out
    train: list[list[Pair]] = []
    val: list[Pair] = []
    sets = find_sets(data)
    for one in sets:
        known, held_out = _parts(one.pairs, one.split)
        train.append(drawn(known, min(MOST_OF_ONE_TRAIN, MOST_TRAIN // len(sets))))
        val += drawn(held_out, min(MOST_OF_ONE_VAL, MOST_VAL // len(sets)))
    return train, val


def training_part(args: argparse.Namespace, own: ModelSplit | None) -> list[Pair]:
    """Return the training pairs that belong to the arguments; empty if they are not there."""
    if args.split is None and own is None:
        return []
    limits = reading_from(args)
    try:
        if args.data is not None:
            found = read_layout(args.data, limits).pairs("train", limits=limits)
        else:
            found = find_pairs(args.images, args.masks, limits=limits)
    except DatasetError as error:
        logger.info("The training images cannot be read: %s", error)
        return []
    split = None if own is None else own.split
    if args.split is not None:
        split = read_split(args.split, [pair.name for pair in found])
    wanted = set() if split is None else set(split.train)
    return [pair for pair in found if pair.name in wanted]


def _parts(pairs: dict[str, Pair], split: Split) -> tuple[list[Pair], list[Pair]]:
    train, val = ([pairs[n] for n in part if n in pairs] for part in (split.train, split.val))
    return train, val


def fit(args: argparse.Namespace, segmenter: Segmenter, parts: Parts) -> TrainingDomain | None:
    """Return the domain of a model, or None, with a message, if there are too few images.

    Raises
    ------
    ImageError
        If an image cannot be used.
    """
    train = [drawn(known, MOST_OF_ONE_TRAIN) for known in parts[0]]
    val = drawn(parts[1], MOST_OF_ONE_VAL if len(train) == 1 else MOST_VAL)
    count = sum(map(len, train))
    # A calibration on few images is requested by --allow-few; a limit on few is not.
    fewest = 1 if args.allow_few and args.domain_only else FEWEST
    if count < fewest or len(val) < fewest:
        print_line(
            f"No out-of-domain score: it needs {fewest} training and {fewest} validation images, "
            f"and there are {count} and {len(val)}."
        )
        return None
    limits = reading_from(args)
    with progress_bar(count + len(val), "training images", "image", args.quiet) as bar:
        known = [_read(pairs, limits, args.skip_bad) for pairs in train if pairs]
        return domain_of(segmenter, known, _read(val, limits, args.skip_bad), bar.update)


def check_domain_arguments(args: argparse.Namespace) -> None:
    """Raise `ConfigError` for options of the out-of-domain score that do not go together."""
    if args.training_config is not None and not args.domain_only:
        raise ConfigError("--training-config needs --domain-only. Add --domain-only.")
    if args.training_config is not None and (args.images or args.masks or args.data or args.split):
        raise ConfigError(
            "--training-config names the data itself: leave --images, --masks, --data and --split "
            "out."
        )
    if args.domain_only:
        reject_unused(args, _OF_CALIBRATION, "with --domain-only, which draws no samples")
    if args.training_config is not None:
        reject_unused(args, ("part", "allow_test"), "with --training-config, which names the parts")


def fit_each(
    args: argparse.Namespace, segmenter: Segmenter, held_out: ChosenPairs
) -> dict[str, TrainingDomain]:
    """Return the domains of a model by the subfolder to write them to.

    A single model has one, with an empty name. In an ensemble each member has its own, of a
    cross-validation from its own training and validation images. Empty if there are too few
    images.

    Raises
    ------
    ImageError
        If an image cannot be used.
    """
    members = segmenter.card.members
    pairs, fold_of = held_out.pairs, held_out.fold_of
    if not members:
        parts = [[training_part(args, held_out.own)]], [pairs]
    elif fold_of is not None:
        count = len(members)
        folds = [[p for p in pairs if fold_of[p.name] == fold] for fold in range(count)]
        rest = [[[p for p in pairs if fold_of[p.name] != fold]] for fold in range(count)]
        parts = rest, folds
    else:
        parts = [[training_part(args, held_out.own)]] * len(members), [pairs] * len(members)
    return fit_members(args, segmenter, list(zip(*parts, strict=True)))


def fit_members(
    args: argparse.Namespace, segmenter: Segmenter, parts: Sequence[Parts]
) -> dict[str, TrainingDomain]:
    """Return the domain of each member from its `parts`, as `fit_each` does."""
    folders = [member.folder for member in segmenter.card.members] or [""]
    fitted: dict[str, TrainingDomain] = {}
    for folder, member, part in zip(folders, segmenter.members, parts, strict=True):
        domain = fit(args, member, part)
        if domain is None:
            return {}
        fitted[folder] = domain
    return fitted


def write_domains(
    folder: Path, segmenter: Segmenter, domains: Mapping[str, TrainingDomain]
) -> None:
    """Write the domains that `fit_each` returned, and say so.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    for (name, domain), member in zip(domains.items(), segmenter.members, strict=True):
        write_domain(folder / name, domain, member.card.weights_sha256)
        print_line(f"{member.card.id}: {description(domain)}")


def description(domain: TrainingDomain) -> str:
    """Return one line about a fitted domain."""
    return (
        f"out-of-domain score from {domain.n_train} training images; {PASSING:.0%} of "
        f"{domain.n_val} validation images and their changed copies are below its limit"
    )


def _read(pairs: Sequence[Pair], limits: ReadingConfig, skip: bool) -> Iterator[ImageInput]:
    for pair in pairs:
        try:
            yield read_image(pair.image, limits)
        except ImageError:
            if not skip:
                raise
