"""``latentfm-export``: convert a model for other programs."""

from __future__ import annotations

import argparse
import sys

from latentfm_core.cli.common import entry_point
from latentfm_core.cli.data_options import add_reading_arguments
from latentfm_core.cli.options import add_model, add_sampling_arguments
from latentfm_core.files.user_path import user_path

DESCRIPTION = """\
Write a model in a format that runs without PyTorch and without this package.
  --format onnx        a folder: condition.onnx, velocity.onnx and decoder.onnx, each a plain
                       function; noise.npy, the initial noise; sampling.json, how to scale images
                       and solve the ODE; of a promptable model also image_encoder.onnx and
                       prompt_encoder.onnx
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
    add_model(parser)
    parser.add_argument(
        "--out",
        type=user_path,
        required=True,
        metavar="PATH",
        help="folder (onnx) or .zip file (bioimageio) to write",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace --out (default: stop if it exists)"
    )
    _add_zoo_arguments(parser)
    left_out = ("batch_size", "refine", "distilled", "device", "precision")
    add_sampling_arguments(parser, leave_out=left_out)
    # The CPU is the reference for the test tensors on every other device.
    parser.set_defaults(device="cpu", precision="fp32")
    add_reading_arguments(parser)
    return parser


def _add_zoo_arguments(parser: argparse.ArgumentParser) -> None:
    zoo = parser.add_argument_group("BioImage.IO", "For --format bioimageio only.")
    zoo.add_argument(
        "--author",
        action="append",
        default=[],
        metavar="NAME",
        help="author of the model; may be repeated",
    )
    zoo.add_argument(
        "--licence",
        metavar="SPDX",
        help="SPDX identifier of the weights' licence, for example CC0-1.0 or CC-BY-4.0",
    )
    zoo.add_argument(
        "--test-image",
        type=user_path,
        metavar="IMAGE",
        help="8-bit image for the package's test (default: a synthetic one)",
    )


main = entry_point(build_parser)

if __name__ == "__main__":
    sys.exit(main())
