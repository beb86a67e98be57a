"""``latentfm-evaluate``: compare a model's samples with reference masks."""

from __future__ import annotations

import argparse
import sys

from latentfm_core.cli.common import entry_point
from latentfm_core.cli.data_options import (
    FOLDER,
    add_data_arguments,
    add_part,
    add_reading_arguments,
)
from latentfm_core.cli.object_options import add_prompt_kind
from latentfm_core.cli.options import add_model, add_sampling_arguments
from latentfm_core.cli.setting_types import type_of
from latentfm_core.config import REPORT, ReportConfig
from latentfm_core.files.user_path import user_path

DESCRIPTION = """\
Segment images that have reference masks, and score the samples at the resolution of the
masks. Files written:
  per_image.csv   one line per image, or per object (column object) if masks number the objects
                  and --prompt marks them
  summary.json    means over these lines (of objects also over the images), calibration over all
                  pixels (including the bins of a reliability diagram), model and settings
  report.html     with --report: the same as a page, with pictures of the best and worst cases
The summary is also printed. Its scores:
  Dice, IoU           overlap of the mean mask with the reference (0 none, 1 perfect)
  Dice of samples     mean of the same for single samples
  GED, HM-IoU         distance of samples and references as sets (best: GED 0, HM-IoU 1)
  diversity           how much the samples of an image differ: mean 1 - IoU over pairs
  ECE, Brier          calibration of the mean probability (0 is best); for the confidence,
                      against how often the mean mask agrees with the reference
  AUROC               chance that a wrong pixel of the mean mask has lower confidence than a
                      correct one
  domain score        how unlike the training images an image is: above 1 it is out of domain
  seconds             from the pixels in memory to the finished maps"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``latentfm-evaluate``."""
    parser = argparse.ArgumentParser(
        prog="latentfm-evaluate",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data_arguments(parser, "with --split, its training part is used")
    add_model(parser)
    add_part(parser, "test, or every image if there is no split for the folder")
    parser.add_argument(
        "--out", type=user_path, required=True, metavar=FOLDER, help="folder for the files"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an evaluation in --out (default: stop if there is one)",
    )
    add_prompt_kind(parser)
    parser.add_argument(
        "--report",
        action="store_true",
        help="also write report.html: one self-contained file for any browser. It shows the "
        "images and their names",
    )
    parser.add_argument(
        "--report-cases",
        type=type_of(ReportConfig, "cases"),
        metavar="COUNT",
        help="how many of the best and of the worst images the report shows with outlines "
        f"(default: {REPORT.cases})",
    )
    add_sampling_arguments(parser)
    add_reading_arguments(parser)
    return parser


main = entry_point(build_parser, "Lower --batch-size or --samples, or use smaller images")

if __name__ == "__main__":
    sys.exit(main())
