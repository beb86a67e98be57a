"""Selection and reading of the image-mask pairs that a command compares."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from latentfm_core.cli.case_reading import read_all, read_masks, read_objects
from latentfm_core.cli.data_options import reading_from, reject_two_sources
from latentfm_core.cli.inputs import BadFiles, check_all
from latentfm_core.cli.model import warn_of_unused_members
from latentfm_core.cli.model_split import ModelSplit, model_split
from latentfm_core.cli.own_part import (
    ALL,
    known_by_name,
    out_of_fold,
    pairs_of_model,
    warn_of_parent,
    warn_of_renamed,
    warn_of_trained,
)
from latentfm_core.cli.prompt_kind import with_prompts
from latentfm_core.cli.survey import Survey
from latentfm_core.config import SamplingConfig
from latentfm_core.datasets.label_names import check_masks_of_list
from latentfm_core.datasets.layouts import read_layout
from latentfm_core.datasets.pairs import Pair, find_pairs
from latentfm_core.datasets.set_checks import check_threshold
from latentfm_core.datasets.splits import read_split
from latentfm_core.errors import ConfigError, DatasetError, ImageError
from latentfm_core.evaluation.evaluate import Case, Draw
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.names import counted, name_some
from latentfm_core.vocabulary import MaskKind

logger = logging.getLogger(__name__)


def _check_data_arguments(args: argparse.Namespace) -> None:
    if args.data is None and (args.images is None or args.masks is None):
        raise ConfigError("No data. Add --images FOLDER and --masks FOLDER, or --data FOLDER.")
    reject_two_sources(args)
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
    pairs, part, own = _chosen(args, model_split(args), default)
    fold_of = None if own is None or args.split is not None else own.fold_of(pairs, part)
    trained_on = warn_of_trained(args, pairs, own) if fold_of is None else 0
    return ChosenPairs(pairs, part, fold_of, trained_on, own)


def _chosen(
    args: argparse.Namespace, own: ModelSplit | None, default: str
) -> tuple[list[Pair], str | None, ModelSplit | None]:
    limits, part = reading_from(args), args.part or default
    if args.split is None and args.data is None and own is None and args.part not in (None, ALL):
        raise ConfigError(
            "--part needs a split file, and the model folder has none; add --split FILE "
            "or remove --part."
        )
    layout = None if args.data is None else read_layout(args.data, limits)
    # Training made its parts from the folder's part train.
    divided = layout is not None and args.split is None and (own is None or part in layout.parts)
    if layout is None:
        found = find_pairs(args.images, args.masks, limits=limits)
    else:
        found = layout.pairs(part if divided else "train", limits=limits)
    own = known_by_name(own, found, limits)
    if divided:
        return found, part, own
    if args.split is None:
        asked = args.part if layout is None else part
        return *pairs_of_model(args, found, own, asked, default), own
    split = read_split(args.split, [pair.name for pair in found])
    names: tuple[str, ...] = getattr(split, part)
    if not names:
        raise DatasetError(f"The part {part} of {args.split} is empty; choose another --part.")
    pairs = {pair.name: pair for pair in found}
    missing = set(names) - pairs.keys()
    if missing:
        count = counted(len(missing), "image that is", "images that are")
        raise DatasetError(
            f"{args.split} names {count} not in "
            f"{args.images or args.data}: {name_some(missing)}. Names are file names without "
            "extension: fix the file, or choose the folder that it was made for."
        )
    return [pairs[name] for name in names], part, own


@dataclass(frozen=True)
class OpenCases:
    """Cases to compare, facts about all of them, the files left out, and the sampling function.

    Attributes
    ----------
    unit, count
        What is compared, ``"image"`` or ``"object"``, and how many of them.
    without
        Names of the images left out because there is nothing to prompt.
    trained_on
        How many of them the model, or one that it started from, was trained on.
    """

    cases: Iterator[Case]
    survey: Survey
    bad: BadFiles
    draw: Draw | None
    trained_on: int
    unit: str
    count: int
    without: tuple[str, ...]

    @property
    def images(self) -> int:
        """Number of images that are compared."""
        return len(self.survey.pairs) - len(self.without)

    @property
    def objects(self) -> int:
        """Number of objects that are compared one by one; 0 if whole masks are."""
        return self.count if self.unit == "object" else 0


def open_cases(
    args: argparse.Namespace, chosen: ChosenPairs, segmenter: Segmenter, settings: SamplingConfig
) -> OpenCases:
    """Return the cases of the chosen pairs.

    Every pair is read once in advance, so that a bad one stops the command before any work, or
    is left out from the start with ``--skip-bad``.

    Raises
    ------
    ConfigError
        If the model does not take prompts, the number of corrections is out of range, or the
        options do not fit numbered objects.
    DatasetError
        If ``--data`` has a different number of classes, or a pair cannot be used.
    """
    limits = reading_from(args)
    survey = Survey(segmenter.card.config.model.classes, limits)
    classes = len(survey.classes)
    if args.data is not None:
        read_layout(args.data, limits).check_classes(survey.classes)
    check_masks_of_list(survey.classes, args.masks)
    kind = _mask_kind(args, chosen.own, classes)
    check_threshold("--mask-threshold", args.mask_threshold, survey.classes)
    read = partial(read_masks, threshold=args.mask_threshold, classes=classes, limits=limits)
    if kind == "instances":
        read = partial(read_objects, limits=limits)
    bad = BadFiles(len(chosen.pairs))
    good: list[Pair] = []
    every = read_all(good, read, bad if args.skip_bad else None)
    cases, draw = with_prompts(args, every, segmenter, settings.seed)
    if kind == "instances" and draw is None:
        _report_together(segmenter)
    without: list[str] = []

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
        if draw is not None and not case.references.any():
            without.append(pair.name)

    check_all(chosen.pairs, look, args.quiet)
    bad.check_any_left()
    trained_on = chosen.trained_on
    if chosen.fold_of is None:
        warn_of_unused_members(segmenter, settings.n_samples)
        trained_on += warn_of_renamed(survey.stored, chosen.own)
    held_out = chosen.fold_of is not None
    trained_on += warn_of_parent(survey.stored, chosen.own, held_out=held_out)
    drawer, unit, count = out_of_fold(chosen.fold_of, draw), "image", len(good) - len(without)
    if kind == "instances" and draw is not None:
        unit, count = "object", _count_objects(survey, args.most_objects, settings.seed)
    return OpenCases(cases, survey, bad, drawer, trained_on, unit, count, tuple(without))


def _mask_kind(args: argparse.Namespace, own: ModelSplit | None, classes: int) -> MaskKind:
    """Return the kind of masks: by default what the model learned from them, if it did."""
    if args.mask_kind is None:
        learned = own is not None and own.kind == "instances" and args.mask_threshold is None
        if learned:
            logger.info("The masks contain numbered objects, as in the training of the model.")
        return "instances" if learned else "masks"
    if args.mask_kind == "masks":
        return "masks"
    if classes > 1:
        raise ConfigError("--mask-kind instances needs a model of one class.")
    if args.mask_threshold is not None or args.data is not None:
        raise ConfigError(
            "--mask-kind instances needs --images and --masks, and no --mask-threshold: objects "
            "are read by their numbers."
        )
    return "instances"


def _report_together(segmenter: Segmenter) -> None:
    """Log that objects are not compared one by one, and which option would do so."""
    how = "add --prompt box or --prompt point"
    if not segmenter.card.config.model.prompts:
        how = "choose a model that takes prompts, and add --prompt box"
    logger.info(
        "All objects of an image together are one foreground. To compare each object with its "
        "own mask, %s.",
        how,
    )


def _count_objects(survey: Survey, most: int, seed: int) -> int:
    """Return how many numbered objects are marked, and log if that is not all of them."""
    counts = [sum(stored.objects) for stored in survey.stored]
    above = sum(count > most for count in counts)
    if above:
        logger.warning(
            "%d of %s with more than %s: %d of each are chosen at random (seed %d). "
            "--most-objects sets the number.",
            above, counted(len(counts), "image"), counted(most, "object"), most, seed,
        )  # fmt: skip
    return sum(min(count, most) for count in counts)
