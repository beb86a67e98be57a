"""Run ``latentfm-evaluate`` with parsed arguments."""

from __future__ import annotations

import argparse
import logging
from typing import Any

from latentfm_core.bars import progress_bar
from latentfm_core.cli.cases import ChosenPairs, OpenCases, choose_pairs, open_cases
from latentfm_core.cli.common import print_line
from latentfm_core.cli.inputs import reject_among, reject_models
from latentfm_core.cli.model import load_segmenter, warn_of_one_sample
from latentfm_core.cli.prompt_kind import prompt_group
from latentfm_core.config import NUMBER_FORMATS, SamplingConfig, report_settings
from latentfm_core.errors import ConfigError
from latentfm_core.evaluation.evaluate import evaluate
from latentfm_core.evaluation.scores import Evaluation, ImageScores
from latentfm_core.files.locks import one_writer
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.names import counted, shown
from latentfm_core.output.paths import prepare_folder, printable, reject_existing
from latentfm_core.output.sidecar import now, versions
from latentfm_core.output.tables import evaluation_files, readable, write_evaluation
from latentfm_core.report.evaluation import write_report
from latentfm_core.report.gallery import Gallery

# Under ``python -m`` this module is named "__main__", whose logger has no handler.
logger = logging.getLogger("latentfm_core.cli.evaluate")
BUSY = "Wait until it has finished, or choose another --out."


def gallery_for(
    args: argparse.Namespace, segmenter: Segmenter, settings: SamplingConfig
) -> Gallery | None:
    """Return the collector of the report's pictures, or None without ``--report``.

    Raises
    ------
    ConfigError
        If ``--report-cases`` is used without ``--report``.
    """
    given = {} if args.report_cases is None else {"cases": args.report_cases}
    if args.report:
        return Gallery(segmenter, settings, report_settings(**given))
    if given:
        raise ConfigError("--report-cases needs --report. Add it, or remove --report-cases.")
    return None


def run(args: argparse.Namespace, command: str) -> None:
    """Run the command."""
    reject_models(args.out)
    chosen = choose_pairs(args)
    read = {file.parent for pair in chosen.pairs for file in (pair.image, *pair.masks)}
    read |= set() if args.data is None else {args.data}
    reject_among(sorted(read), args.out)
    if not args.overwrite:
        reject_existing(evaluation_files(args.out))
    segmenter, settings = load_segmenter(args, prompt_group(args))
    warn_of_one_sample(segmenter, settings)
    gallery = gallery_for(args, segmenter, settings)
    opened = open_cases(args, chosen, segmenter, settings)
    prepare_folder(args.out)
    opened.survey.log(
        segmenter, settings, chosen.part or "", args.mask_threshold, objects=opened.objects
    )
    with one_writer(args.out, "writing to", BUSY):
        _evaluate(args, command, segmenter, settings, chosen, opened, gallery)
    opened.bad.report()
    logger.info("written to %s", shown(args.out))


def _evaluate(
    args: argparse.Namespace,
    command: str,
    segmenter: Segmenter,
    settings: SamplingConfig,
    chosen: ChosenPairs,
    opened: OpenCases,
    gallery: Gallery | None,
) -> None:
    with progress_bar(opened.count, "evaluating", opened.unit, args.quiet) as bar:

        def show(scores: ImageScores) -> None:
            bar.set_postfix_str(f"Dice {scores.dice:.3f}", refresh=False)
            bar.update()

        look = None if gallery is None else gallery.add
        evaluation = evaluate(segmenter, opened.cases, settings, show, look, opened.draw)
    facts = describe(args, segmenter, settings, chosen, opened, command)
    try:
        write_evaluation(args.out, evaluation, facts)
    finally:
        # The scores may be hours of work: print them even if they cannot be written.
        print_line(
            report(evaluation, segmenter, settings, chosen.part, opened.trained_on, args.prompt)
        )
    if gallery is not None:
        write_report(args.out, evaluation, gallery, facts)


def describe(
    args: argparse.Namespace,
    segmenter: Segmenter,
    settings: SamplingConfig,
    chosen: ChosenPairs,
    opened: OpenCases,
    command: str,
) -> dict[str, Any]:
    """Return the facts of the summary: model, data, settings and command."""
    used = {"precision": NUMBER_FORMATS[segmenter.precision], "device": segmenter.device_label}
    members = [member.model_dump() for member in segmenter.card.members]
    return {
        "schema_version": 1,
        "created": now(),
        "command": printable(command),
        "model": {
            "id": segmenter.card.id,
            "sha256": segmenter.card.weights_sha256,
            **({"members": members} if members else {}),
        },
        "data": {
            "part": chosen.part,
            "trained_on": opened.trained_on,
            "mask_threshold": args.mask_threshold,
            **({"most_objects": args.most_objects} if opened.unit == "object" else {}),
            "prompt": args.prompt,
            "corrections": args.corrections if args.prompt == "corrections" else 0,
            "left_out": [printable(name) for name in (*opened.bad.reasons, *opened.without)],
        },
        "settings": settings.model_dump(mode="json") | used,
        "versions": versions(),
    }


def report(
    evaluation: Evaluation,
    segmenter: Segmenter,
    settings: SamplingConfig,
    part: str | None,
    trained_on: int,
    prompt: str,
) -> str:
    """Return the printed table."""
    card = segmenter.card
    facts = {
        "model": f"{card.id} (weights {card.weights_sha256[:12]})",
        "samples": f"{settings.n_samples}, seed {settings.seed}",
        "ODE": f"{counted(settings.ode_steps, f'{settings.solver} step')}, "
        f"{counted(evaluation.scores[0].nfe, 'evaluation')}",
        "device": segmenter.device_label,
    }
    if settings.n_samples > 1 and not settings.calibrated:
        facts["calibrated"] = "no: the expected Dice is usually too high"
    if prompt != "none":
        facts["prompt"] = prompt
    if part:
        facts["part"] = part
    if trained_on:
        facts["TRAINED ON"] = f"{trained_on} of these images: the scores are too optimistic"
    return readable(evaluation, facts)
