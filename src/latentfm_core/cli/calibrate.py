"""``latentfm-calibrate``: fit a model's confidence and threshold to validation data."""

from __future__ import annotations

import argparse
import sys

from latentfm_core.cli.common import entry_point
from latentfm_core.cli.data_options import (
    add_data_arguments,
    add_grouping,
    add_part,
    add_reading_arguments,
)
from latentfm_core.cli.object_options import add_prompt_kind
from latentfm_core.cli.options import add_model, add_sampling_arguments
from latentfm_core.files.user_path import user_path

MIN_IMAGES = 20
"""Fewer images need ``--allow-few``."""

FITTED = ("threshold", "noise_scale", "confidence")
"""Sampling options that this command fits itself."""

DESCRIPTION = """\
Calibrate a model on validation images, and write to its card (model.json):
  noise scale     at which samples differ from each other as much as from the expert
  confidence      how often pixels of each confidence agree with the expert
  probability     how often pixels of each mean probability are foreground
  expected Dice   from the agreement of the samples
  threshold       of the mean mask, with the best Dice
If the training images are available too, their statistics are written to domain.safetensors, so
that the model recognises images unlike them. Never use test images: scores on them would be too
optimistic afterwards."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``latentfm-calibrate``."""
    parser = argparse.ArgumentParser(
        prog="latentfm-calibrate",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_arguments(parser, "with --split, its training part is used")
    add_model(parser, own=True)
    add_part(parser, "val; test needs --allow-test")
    add_grouping(parser)
    add_prompt_kind(parser)
    _add_domain_arguments(parser)
    allowed = parser.add_argument_group("overrides")
    allowed.add_argument(
        "--allow-test",
        action="store_true",
        help="calibrate on test images; scores on them are then too optimistic",
    )
    allowed.add_argument(
        "--allow-few",
        action="store_true",
        help=f"calibrate on fewer than {MIN_IMAGES} images, where chance dominates",
    )
    add_sampling_arguments(parser, leave_out=FITTED)
    add_reading_arguments(parser)
    return parser


def _add_domain_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the out-of-domain score."""
    group = parser.add_argument_group(
        "out-of-domain score",
        "Recognises images that are unlike the training images. It is fitted with the calibration "
        "if --split, or the split in the model folder, names training images that are available.",
    )
    group.add_argument(
        "--domain-only",
        action="store_true",
        help="fit only the out-of-domain score (a minute or two); the calibration does not change",
    )
    group.add_argument(
        "--training-config",
        type=user_path,
        metavar="FILE",
        help="with --domain-only, the TOML file of the model's training; its data sets and their "
        "parts replace --images, --masks and --split",
    )


main = entry_point(build_parser, "Lower --batch-size or --samples")

if __name__ == "__main__":
    sys.exit(main())
