"""``--prompt``: how a simulated annotator points at what is meant."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import get_args

from latentfm_core.errors import ConfigError
from latentfm_core.evaluation.evaluate import Case, Draw
from latentfm_core.evaluation.prompted import CORRECTIONS, Annotator, prompted_cases
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.prompts.annotator import PromptKind
from latentfm_core.types import PromptGroup


def add_prompt_kind(parser: argparse.ArgumentParser) -> None:
    """Add ``--prompt`` and ``--corrections``."""
    parser.add_argument(
        "--prompt",
        choices=get_args(PromptKind),
        default="none",
        help="simulate an annotator who points at the largest object of each image: with its box, "
        "with a point in its middle, or with the box and then corrections in the middle of the "
        "largest error (default: none, the whole mask is compared)",
    )
    parser.add_argument(
        "--corrections",
        type=int,
        default=CORRECTIONS,
        metavar="COUNT",
        help=f"points after the box, with --prompt corrections (default: {CORRECTIONS})",
    )


def prompt_group(args: argparse.Namespace) -> PromptGroup:
    """Return by which kind of prompts the answers are calibrated."""
    kind: PromptKind = args.prompt
    return "box" if kind == "corrections" else kind


def with_prompts(
    args: argparse.Namespace, cases: Iterator[Case], segmenter: Segmenter
) -> tuple[Iterator[Case], Draw | None]:
    """Return the cases to compare and how they are sampled.

    Raises
    ------
    ConfigError
        If the model does not take prompts, or the number of corrections is out of range.
    """
    if args.prompt == "none":
        return cases, None
    if not segmenter.card.config.model.prompts:
        raise ConfigError(
            f"The model {segmenter.card.id} does not take prompts. Leave --prompt out, or choose a "
            "model that does, for example generalist."
        )
    if not 1 <= args.corrections <= 100:
        raise ConfigError("--corrections must be from 1 to 100.")
    return prompted_cases(cases), Annotator(args.prompt, args.corrections)
