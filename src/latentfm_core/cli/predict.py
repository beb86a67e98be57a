"""``latentfm-predict``: write plausible masks of images, and where they disagree, to files."""

from __future__ import annotations

import argparse
import sys
from typing import get_args

from latentfm_core.cli.common import entry_point
from latentfm_core.cli.data_options import FOLDER, add_reading_arguments, add_skip_bad
from latentfm_core.cli.object_options import add_prompt_arguments
from latentfm_core.cli.options import add_model, add_sampling_arguments, add_tiling_arguments
from latentfm_core.files.user_path import user_path
from latentfm_core.output.kinds import DEFAULT_KINDS, Format, Kind

FORMATS: dict[str, tuple[Format, ...]] = {
    "tiff": ("tiff",),
    "png": ("png",),
    "both": ("tiff", "png"),
}

DESCRIPTION = """\
Draw plausible masks of images with a LatentFM model, and write for each image:
  NAME_mean_mask    255 where the mean probability reaches the threshold, else 0; with several
                    classes the number of the most probable one
  NAME_samples      the sample masks: one stack (TIFF), or a folder of files (PNG)
  NAME_variance     variance of the samples, 0 to 0.25
  NAME_confidence   0 to 1: the chance that the mean mask agrees with an expert, if the model
                    is calibrated; else, or with --confidence raw, 1 - 4 variance, which is 1
                    where every sample agrees
  NAME_probability  mean probability of the samples, if --outputs asks for it
  NAME.json         expected Dice of the mean mask; out_of_domain, true if the image is unlike
                    the training images, so that the confidence cannot be trusted; model, seeds,
                    settings, versions and files. It is written last: a result with it is
                    complete
With --stack, each image is a TIFF of several planes (3D, or a time series). All planes are drawn
from the same seeds, so that sample n continues from plane to plane, and each map is one TIFF with
the axes of the stack. With --follow, one object is followed through the planes from its prompt on
one of them; planes without it are empty.
With --tiled, images of any size (also Zarr folders) are segmented in overlapping tiles. Memory
does not grow with the image, and all maps go into NAME.zarr (OME-NGFF).
TIFF files keep the numbers (float32) and the pixel size of the image. PNG files have 8 bits:
white is 0.25 for the variance, and 1 for the confidence and the probability.
Under torchrun, several processes share the images. When started again, they continue with the
missing ones, as with --skip-done."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``latentfm-predict``."""
    parser = argparse.ArgumentParser(
        prog="latentfm-predict",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_files(parser)
    add_skip_bad(parser)
    parser.add_argument(
        "--stack", action="store_true", help="segment all planes of each TIFF stack; TIFF only"
    )
    parser.add_argument(
        "--plane",
        type=str.upper,
        default="YX",
        metavar="AXES",
        help="with --stack, the two axes of the stack that form a plane (default: YX)",
    )
    add_tiling_arguments(parser)
    add_prompt_arguments(parser)
    parser.add_argument(
        "--follow",
        type=_plane_number,
        metavar="PLANE",
        help="with --stack and --box or --prompts: the prompt belongs to this plane (from 0), and "
        "its object is followed from there through the stack, in both directions",
    )
    add_sampling_arguments(parser)
    add_reading_arguments(parser)
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images",
        nargs="+",
        type=user_path,
        metavar="IMAGE_OR_FOLDER",
        help="images, or folders of images (subfolders are ignored)",
    )
    add_model(parser)
    parser.add_argument(
        "--out", type=user_path, required=True, metavar=FOLDER, help="folder for the results"
    )
    parser.add_argument(
        "--format", choices=tuple(FORMATS), default="both", help="file formats (default: both)"
    )
    parser.add_argument(
        "--outputs",
        type=_kinds,
        default=DEFAULT_KINDS,
        metavar="KIND,KIND,...",
        help=f"maps to write, of {', '.join(get_args(Kind))} (default: all but the last)",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results in --out (default: stop if one exists)",
    )
    existing.add_argument(
        "--skip-done",
        action="store_true",
        help="skip images whose results are complete, to continue after an interruption; stop if "
        "a result is of another image of that name, another model or calibration, another prompt, "
        "or other settings",
    )


def _kinds(text: str) -> tuple[Kind, ...]:
    asked = {item.strip() for item in text.split(",")}
    unknown = asked - set(get_args(Kind))
    if unknown:
        raise argparse.ArgumentTypeError(
            f"unknown output: {', '.join(sorted(unknown)) or 'nothing'}; "
            f"choose from {', '.join(get_args(Kind))}"
        )
    return tuple(kind for kind in get_args(Kind) if kind in asked)


def _plane_number(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a plane; planes are 0, 1, 2, ...")
    return number


main = entry_point(build_parser, "Lower --batch-size or --samples, or crop the image")

if __name__ == "__main__":
    sys.exit(main())
