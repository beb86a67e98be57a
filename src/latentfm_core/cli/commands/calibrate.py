"""Run ``latentfm-calibrate`` with parsed arguments."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path

from latentfm_core.bars import progress_bar
from latentfm_core.cli.calibrate import MIN_IMAGES
from latentfm_core.cli.cases import ChosenPairs, choose_pairs, open_cases
from latentfm_core.cli.common import print_line
from latentfm_core.cli.domain import (
    check_domain_arguments,
    fit_each,
    fit_members,
    parts_of_config,
    write_domains,
)
from latentfm_core.cli.model import load_segmenter
from latentfm_core.cli.prompt_kind import prompt_group
from latentfm_core.datasets.plausibility import group_findings, log_findings
from latentfm_core.datasets.splits import read_groups
from latentfm_core.errors import ConfigError, OutputError
from latentfm_core.evaluation.calibrate import fit_calibration
from latentfm_core.evaluation.evaluate import unprompted
from latentfm_core.evaluation.noise_scale import NOISE_SCALES
from latentfm_core.files.disk_errors import check_still_there
from latentfm_core.files.locks import one_writer
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.bundled import is_bundled, resolve_model
from latentfm_core.model_io.card import ModelCard, read_card
from latentfm_core.model_io.folder import write_card
from latentfm_core.names import counted
from latentfm_core.output.paths import prepare_folder
from latentfm_core.uncertainty.calibration import Calibration
from latentfm_core.uncertainty.domain import TrainingDomain
from latentfm_core.vocabulary import PromptGroup

# Under ``python -m`` this module is named "__main__", whose logger has no handler.
logger = logging.getLogger("latentfm_core.cli.calibrate")


def run(args: argparse.Namespace, command: str) -> None:
    """Run the command."""
    _check_arguments(args)
    if args.domain_only:
        _run_domain(args)
        return
    chosen = choose_pairs(args, "val")
    _check_images(args, chosen)
    names = [pair.name for pair in chosen.pairs]
    groups = None
    if args.group_file is not None:
        groups = read_groups(args.group_file, args.group_column, names)
        log_findings(group_findings(groups, args.group_column))
    group = prompt_group(args)
    segmenter, settings = load_segmenter(args, group)
    if settings.n_samples == 1:
        logger.warning(
            "One sample has no spread: the calibration will only suit results of one sample. "
            "Leave --samples 1 out, unless you always draw one."
        )
    opened = open_cases(args, chosen, segmenter, settings)
    _reject_few(args, opened.images)
    folder = resolve_model(args.model)
    draws = len(NOISE_SCALES) if settings.n_samples > 1 else 1
    prepare_folder(folder)  # fail before the work if it cannot be written
    part = chosen.part or ""
    opened.survey.log(
        segmenter, settings, part, args.mask_threshold,
        draws=draws, stops=True, objects=opened.objects, groups=groups,
    )  # fmt: skip
    with one_writer(folder, "writing to", "Wait until it has finished."):
        with progress_bar(opened.count, "calibrating", opened.unit, args.quiet) as bar:
            draw = opened.draw or unprompted
            calibration = fit_calibration(
                segmenter, opened.cases, settings, lambda _: bar.update(), part, groups, draw
            )
        check_still_there(folder)
        card = _unchanged_card(folder, segmenter.card)
        # Saved at once: an unreadable training image must not lose the calibration.
        write_card(folder, with_calibration(card, calibration, group))
        print_line(
            f"{segmenter.card.id}: noise scale {calibration.noise_scale:g}, threshold "
            f"{calibration.threshold:g}, neighbourhood {calibration.sigma:g} pixels, from "
            f"{counted(calibration.n_images, opened.unit)}"
        )
        opened.bad.report()
        if group == "none" and chosen.part == "val":
            _write_domain(folder, segmenter, fit_each(args, segmenter, chosen))


def _check_arguments(args: argparse.Namespace) -> None:
    """Raise `ConfigError` for options that contradict each other."""
    if args.model is None:
        raise ConfigError("No model to calibrate. Add --model FOLDER.")
    folder = resolve_model(args.model)
    if is_bundled(folder):
        raise ConfigError(
            f"{args.model} is part of the installed package, which others may use too. Copy the "
            f"folder {folder} and calibrate the copy: --model COPY."
        )
    if (args.group_file is None) != (args.group_column is None):
        raise ConfigError("--group-file and --group-column belong together: use both or neither.")
    check_domain_arguments(args)


def _run_domain(args: argparse.Namespace) -> None:
    """Fit and write the out-of-domain score alone."""
    parts = None
    if args.training_config is not None:
        parts = parts_of_config(args.training_config)
    else:
        chosen = choose_pairs(args, "val")
        _check_images(args, chosen)
    segmenter, _ = load_segmenter(args)
    folder = resolve_model(args.model)
    prepare_folder(folder)
    with one_writer(folder, "writing to", "Wait until it has finished."):
        if parts is None:
            domains = fit_each(args, segmenter, chosen)
        else:
            domains = fit_members(args, segmenter, [parts] * len(segmenter.members))
        _write_domain(folder, segmenter, domains)


def _write_domain(
    folder: Path, segmenter: Segmenter, domains: Mapping[str, TrainingDomain]
) -> None:
    """Write what was fitted, unless there were too few images, to the unchanged model."""
    if domains:
        check_still_there(folder)
        _unchanged_card(folder, segmenter.card)
        write_domains(folder, segmenter, domains)


def _check_images(args: argparse.Namespace, chosen: ChosenPairs) -> None:
    """Raise `ConfigError` for test images and for too few images, unless an option allows that."""
    tested = set(chosen.own.split.test) if chosen.own is not None else set()
    pairs = chosen.pairs
    count = len(pairs) if chosen.part == "test" else sum(pair.name in tested for pair in pairs)
    if count and not args.allow_test:
        raise ConfigError(
            f"{count} of the {len(pairs)} images belong to the test part. Scores on them would be "
            "too optimistic: use --part val, or override with --allow-test."
        )
    _reject_few(args, len(pairs))


def _reject_few(args: argparse.Namespace, count: int) -> None:
    if count < MIN_IMAGES and not args.allow_few:
        raise ConfigError(
            f"{counted(count, 'image is', 'images are')} too few for a calibration: chance would "
            "dominate. Use "
            f"{MIN_IMAGES} or more, or add --allow-few."
        )


def _unchanged_card(folder: Path, before: ModelCard) -> ModelCard:
    """Return the current card; raise `OutputError` if the weights were replaced meanwhile."""
    card = read_card(folder)
    if card.weights_sha256 != before.weights_sha256:
        raise OutputError(
            f"The model in {folder} was replaced during the calibration. Calibrate it again."
        )
    return card


def with_calibration(
    card: ModelCard, calibration: Calibration, group: PromptGroup = "none"
) -> ModelCard:
    """Return the card with `calibration`, whose threshold and noise scale become the model's.

    A calibration for a `group` of prompts is stored next to the one for results without a prompt.
    """
    if group != "none":
        known = {**card.prompt_calibrations, group: calibration}
        return card.model_copy(update={"prompt_calibrations": known})
    fitted = {"threshold": None, "noise_scale": None}
    sampling = card.config.sampling.model_copy(update=fitted)
    config = card.config.model_copy(update={"sampling": sampling})
    return card.model_copy(update={"config": config, "calibration": calibration})
