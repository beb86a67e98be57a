"""The simulated annotator of ``--prompt``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from latentfm_core.cli.arguments import reject_unused
from latentfm_core.errors import ConfigError
from latentfm_core.evaluation.evaluate import Case, Draw
from latentfm_core.evaluation.prompted import Annotator, prompted_cases
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.vocabulary import PromptGroup, PromptKind


def prompt_group(args: argparse.Namespace) -> PromptGroup:
    """Return the kind of prompts that the calibration is for."""
    kind: PromptKind = args.prompt
    return "box" if kind == "corrections" else kind


def with_prompts(
    args: argparse.Namespace, cases: Iterator[Case], segmenter: Segmenter, seed: int
) -> tuple[Iterator[Case], Draw | None]:
    """Return the cases to compare and the function that samples them.

    Raises
    ------
    ConfigError
        If the model does not take prompts, the number of corrections is out of range, or an option
        has no effect.
    """
    if args.prompt != "corrections":
        reject_unused(args, ("corrections",), "without --prompt corrections")
    if args.prompt == "none":
        reject_unused(args, ("most_objects",), "without --prompt")
        return cases, None
    if args.refine:
        reject_unused(args, ("refine",), "with --prompt")
    if not segmenter.card.config.model.prompts:
        raise ConfigError(
            f"The model {segmenter.card.id} does not take prompts. Remove --prompt, or choose a "
            "model that does, for example generalist."
        )
    if not 1 <= args.corrections <= 100:
        raise ConfigError("--corrections must be from 1 to 100.")
    chosen = prompted_cases(cases, args.most_objects, seed)
    return chosen, Annotator(args.prompt, args.corrections)
