"""``latentfm-export``: a model in the formats of other programs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from latentfm_core.cli.common import load_segmenter, run_cli, say
from latentfm_core.cli.options import add_reading_arguments, add_sampling_arguments, reading_from
from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ConfigError, OutputError
from latentfm_core.export.bioimage import Described, write_package
from latentfm_core.export.parts import write_parts
from latentfm_core.images.read import read_image
from latentfm_core.inference.segmenter import Segmenter

DESCRIPTION = """\
Write a model in a format that other programs run, without PyTorch and without this package.
  --format onnx        a folder: condition.onnx, velocity.onnx and decoder.onnx, each a plain
                       function; noise.npy, where the samples start; sampling.json, how to run
                       the ODE
  --format bioimageio  a .zip in the model format of the BioImage Model Zoo: one ONNX file that
                       takes an image and gives mean mask, mean probability, confidence and
                       samples, for the number of samples, seed and steps that are built in
Needs the extra export: pip install 'napari-latentfm[export]'"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``latentfm-export``."""
    parser = argparse.ArgumentParser(
        prog="latentfm-export",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--format", choices=("onnx", "bioimageio"), required=True, help="what to write, see above"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="folder (onnx) or .zip file (bioimageio) to make",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace --out (default: stop if it exists)"
    )
    zoo = parser.add_argument_group("BioImage.IO", "For --format bioimageio only.")
    zoo.add_argument(
        "--author",
        action="append",
        default=[],
        metavar="NAME",
        help="who made the model; may be repeated",
    )
    zoo.add_argument(
        "--licence",
        metavar="SPDX",
        help="licence of the weights by its SPDX name, for example CC0-1.0 or CC-BY-4.0",
    )
    zoo.add_argument(
        "--test-image",
        type=Path,
        metavar="IMAGE",
        help="8-bit image that goes into the package as its test (default: one that is drawn)",
    )
    add_sampling_arguments(parser, leave_out=("batch_size", "device", "precision"))
    add_reading_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    _check(args)
    # One place to compute what the test tensors must be: the reference of every other device.
    args.device, args.precision = "cpu", "fp32"
    segmenter, settings = load_segmenter(args)
    if args.format == "onnx":
        write_parts(args.out, segmenter, settings, overwrite=args.overwrite)
    else:
        _write_zoo(args, segmenter, settings)
    say(f"{segmenter.card.id} written to {args.out}")


def _write_zoo(args: argparse.Namespace, segmenter: Segmenter, settings: SamplingConfig) -> None:
    picture = None
    if args.test_image is not None:
        picture = read_image(args.test_image, reading_from(args))
    told = Described(tuple(args.author), args.licence, picture)
    write_package(args.out, segmenter, settings, told)


def _check(args: argparse.Namespace) -> None:
    zoo = args.format == "bioimageio"
    if not zoo and (args.author or args.licence or args.test_image):
        raise ConfigError(
            "--author, --licence and --test-image belong to --format bioimageio: leave them out."
        )
    if zoo and args.out.suffix.lower() != ".zip":
        raise OutputError(f"{args.out}: a BioImage.IO package ends in .zip. Choose such a name.")
    if args.out.exists() and (not args.overwrite or args.out.is_dir() == zoo):
        raise OutputError(f"{args.out} exists already. Choose another --out, or add --overwrite.")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``latentfm-export``; returns the exit code."""
    return run_cli(run, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
