"""Run ``latentfm-export`` with parsed arguments."""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

from latentfm_core.cli.arguments import reject_unused
from latentfm_core.cli.common import print_line
from latentfm_core.cli.data_options import reading_from
from latentfm_core.cli.model import load_segmenter
from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ConfigError, OutputError
from latentfm_core.export.bioimage import DESCRIPTION, Described, write_package
from latentfm_core.export.parts import reject_foreign, write_parts
from latentfm_core.images.read import read_image
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.names import is_there, shown
from latentfm_core.output.paths import reject_broken_link

_OF_IMAGES = ("max_megapixels", "max_megabytes", "follow_links", "keep_numbers")


def run(args: argparse.Namespace, command: str) -> None:
    """Run the command."""
    _check(args)
    segmenter, settings = load_segmenter(args)
    if args.format == "onnx":
        write_parts(args.out, segmenter, settings, overwrite=args.overwrite)
    else:
        _write_zoo(args, segmenter, settings)
    print_line(f"{segmenter.card.id} written to {shown(args.out)}")


def _write_zoo(args: argparse.Namespace, segmenter: Segmenter, settings: SamplingConfig) -> None:
    picture = None
    if args.test_image is not None:
        picture = read_image(args.test_image, reading_from(args))
    description = Described(tuple(args.author), args.licence, picture)
    write_package(args.out, segmenter, settings, description)


def _check(args: argparse.Namespace) -> None:
    zoo = args.format == "bioimageio"
    if not zoo and (args.author or args.licence or args.test_image):
        raise ConfigError(
            "--author, --licence and --test-image belong to --format bioimageio: remove them."
        )
    if args.test_image is None:
        reject_unused(args, _OF_IMAGES, "without --test-image")
    if zoo and args.out.suffix.lower() != ".zip":
        raise OutputError(f"{args.out}: a BioImage.IO package must end in .zip. Rename it.")
    reject_broken_link(args.out)
    if args.out.is_symlink():  # what it leads to is replaced, not the link
        args.out = args.out.resolve()
    if not is_there(args.out):
        return
    if args.out.is_dir() == zoo:
        kind = "folder, but a .zip file" if zoo else "file, but a folder"
        raise OutputError(f"{shown(args.out)} is a {kind} is to be written. Choose another --out.")
    if not args.overwrite:
        raise OutputError(
            f"{shown(args.out)} already exists. Choose another --out, or add --overwrite."
        )
    if zoo:
        _reject_other_file(args.out)
    else:
        reject_foreign(args.out)


def _reject_other_file(path: Path) -> None:
    """Refuse to replace a file that is not an earlier package."""
    try:
        with zipfile.ZipFile(path) as archive:
            known = DESCRIPTION in archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        known = False
    if not known:
        raise OutputError(
            f"{shown(path)} is not a BioImage.IO package and would be lost. Choose another --out."
        )
