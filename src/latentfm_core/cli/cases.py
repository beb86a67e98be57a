"""Selection and reading of the image-mask pairs that a command compares."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from latentfm_core.cli.data_options import reading_from, refuse_two_sources
from latentfm_core.cli.inputs import BadFiles, check_all
from latentfm_core.cli.model_split import (
    ALL,
    ModelSplit,
    model_split,
    out_of_fold,
    pairs_of_model,
    warn_of_renamed,
    warn_of_trained,
)
from latentfm_core.cli.prompt_kind import with_prompts
from latentfm_core.cli.survey import Survey
from latentfm_core.config import READING, ReadingConfig
from latentfm_core.datasets.label_names import check_masks_of_list
from latentfm_core.datasets.layouts import read_layout
from latentfm_core.datasets.pair_reading import read_references
from latentfm_core.datasets.pairs import Pair, find_pairs, name_some
from latentfm_core.datasets.splits import read_split
from latentfm_core.datasets.stored import StoredPair
from latentfm_core.errors import ConfigError, DatasetError, ImageError
from latentfm_core.evaluation.evaluate import Case, Draw
from latentfm_core.images.read import check_pixels
from latentfm_core.inference.segmenter import Segmenter


def _check_data_arguments(args: argparse.Namespace) -> None:
    if args.data is None and (args.images is None or args.masks is None):
        raise ConfigError("No data. Add --images FOLDER and --masks FOLDER, or --data FOLDER.")
    refuse_two_sources(args)
    if args.part == ALL and (args.data is not None or args.split is not None):
        raise ConfigError(f"--part {ALL} needs --images and --masks, without --split.")


@dataclass(frozen=True)
class ChosenPairs:
    """The pairs to compare.

    Attributes
    ----------
    pairs
        Sorted by name.
    part
        Their part; None if they are not those of a part.
    fold_of
        The fold of each image, if they are the folds of an ensemble.
    trained_on
        How many of them the model was trained on, judged by name.
    own
        What is known of the images that the model was trained on.
    """

    pairs: list[Pair]
    part: str | None
    fold_of: dict[str, int] | None
    trained_on: int
    own: ModelSplit | None


def choose_pairs(args: argparse.Namespace, default: str = "test") -> ChosenPairs:
    """Return the pairs to compare.

    Without ``--split``, the model's own training split is used if it is in the model folder and
    matches the images. A warning names pairs that the model was trained on.

    Raises
    ------
    DatasetError
        If images and masks do not match, or the part is empty or names missing images.
    ConfigError
        If ``--part`` is used without a split, or the data is given twice or not at all.
    """
    _check_data_arguments(args)
    own = model_split(args)
    pairs, part = _chosen(args, own, default)
    fold_of = None if own is None or args.split is not None else own.fold_of(pairs, part)
    trained_on = warn_of_trained(args, pairs, own) if fold_of is None else 0
    return ChosenPairs(pairs, part, fold_of, trained_on, own)


def _chosen(
    args: argparse.Namespace, own: ModelSplit | None, default: str
) -> tuple[list[Pair], str | None]:
    limits = reading_from(args)
    if args.split is None and args.data is None:
        if own is None and args.part not in (None, ALL):
            raise ConfigError(
                "--part needs a split file, and the model folder has none; add --split FILE "
                "or remove --part."
            )
        found = find_pairs(args.images, args.masks, limits=limits)
        return pairs_of_model(args, found, own, args.part, default)
    if args.split is None:
        layout, part = read_layout(args.data, limits), args.part or default
        if own is not None and part not in layout.parts:
            # Training made its parts from the folder's part train.
            found = layout.pairs("train", limits=limits)
            return pairs_of_model(args, found, own, part, default)
        return layout.pairs(part, limits=limits), part
    part = args.part or default
    names: tuple[str, ...] = getattr(read_split(args.split), part)
    if not names:
        raise DatasetError(f"The part {part} of {args.split} is empty; choose another --part.")
    if args.data is None:
        found = find_pairs(args.images, args.masks, limits=limits)
    else:
        found = read_layout(args.data, limits).pairs("train", limits=limits)
    pairs = {pair.name: pair for pair in found}
    missing = set(names) - pairs.keys()
    if missing:
        raise DatasetError(
            f"{args.split} names {len(missing)} images that are not in "
            f"{args.images or args.data}: {name_some(missing)}. Names are file names without "
            "extension: fix the file, or choose the folder that it was made for."
        )
    return [pairs[name] for name in names], part


@dataclass(frozen=True)
class OpenCases:
    """Cases to compare, facts about all of them, the files left out, and the sampling function.

    Attributes
    ----------
    trained_on
        How many of them the model was trained on, judged by name or by pixels.
    """

    cases: Iterator[Case]
    survey: Survey
    bad: BadFiles
    draw: Draw | None
    trained_on: int


def open_cases(args: argparse.Namespace, chosen: ChosenPairs, segmenter: Segmenter) -> OpenCases:
    """Return the cases of the chosen pairs.

    Every pair is read once in advance, so that a bad one stops the command before any work, or
    is left out from the start with ``--skip-bad``.

    Raises
    ------
    ConfigError
        If the model does not take prompts, or the number of corrections is out of range.
    DatasetError
        If ``--data`` has a different number of classes, or a pair cannot be used.
    """
    limits = reading_from(args)
    survey = Survey(segmenter.card.config.model.classes, limits)
    classes = len(survey.classes)
    if args.data is not None:
        read_layout(args.data, limits).check_classes(survey.classes)
    check_masks_of_list(survey.classes, args.masks)
    read = partial(read_case, mask_threshold=args.mask_threshold, classes=classes, limits=limits)
    bad = BadFiles(len(chosen.pairs))
    good: list[Pair] = []
    every = _read_all(good, read, bad if args.skip_bad else None)
    cases, draw = with_prompts(args, every, segmenter)

    def look(pair: Pair) -> None:
        try:
            case, stored = read(pair)
        except ImageError as error:
            if not args.skip_bad:
                raise
            bad.skip(pair.name, error)
            return
        good.append(pair)
        survey.add(pair, case, stored)

    check_all(chosen.pairs, look, args.quiet)
    bad.check_any_left()
    trained_on = chosen.trained_on
    if chosen.fold_of is None:
        trained_on += warn_of_renamed(survey.stored, chosen.own)
    return OpenCases(cases, survey, bad, out_of_fold(chosen.fold_of, draw), trained_on)


def read_case(
    pair: Pair,
    mask_threshold: float | None,
    classes: int = 1,
    limits: ReadingConfig = READING,
) -> tuple[Case, StoredPair]:
    """Read an image and the masks of all its raters, and how the files store them.

    Raises
    ------
    ImageError
        If a file cannot be read or used, or the sizes differ.
    """
    pair_read = read_references(pair, mask_threshold, classes, limits)
    check_pixels(pair_read.image)
    return Case(pair_read.image, pair_read.masks), pair_read.stored


def _read_all(
    pairs: Sequence[Pair], read: Callable[[Pair], tuple[Case, StoredPair]], bad: BadFiles | None
) -> Iterator[Case]:
    """Yield one case after the other; with `bad`, unusable ones are recorded and skipped.

    Raises
    ------
    ImageError
        If a pair cannot be used and `bad` is None.
    DatasetError
        If no pair can be used.
    """
    for pair in pairs:
        try:
            case, _ = read(pair)
        except ImageError as error:
            if bad is None:
                raise
            bad.skip(pair.name, error)
        else:
            yield case
    if bad is not None:
        bad.check_any_left()
