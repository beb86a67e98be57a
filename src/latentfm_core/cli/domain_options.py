"""Options of the out-of-domain score."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_domain_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the out-of-domain score."""
    group = parser.add_argument_group(
        "out-of-domain score",
        "Tells images apart that are unlike the training images. It is fitted along with the rest "
        "where --split, or the split beside the model, names training images that are there.",
    )
    group.add_argument(
        "--domain-only",
        action="store_true",
        help="fit the out-of-domain score alone, in a minute or two; the calibration stays as it "
        "is",
    )
    group.add_argument(
        "--training-config",
        type=Path,
        metavar="FILE",
        help="with --domain-only, the TOML file that the model was trained with: its data, also of "
        "several sets, and their parts are taken instead of --images, --masks and --split",
    )
