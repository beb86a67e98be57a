"""Run ``latentfm-predict`` with parsed arguments."""

from __future__ import annotations

import argparse
import logging

from latentfm_core.cli.arguments import reject_unused
from latentfm_core.cli.data_options import reading_from
from latentfm_core.cli.following import FollowMode
from latentfm_core.cli.images import ImageMode
from latentfm_core.cli.inputs import find_images, reject_among, reject_models
from latentfm_core.cli.model import load_segmenter, warn_of_one_sample, warn_of_unused_members
from latentfm_core.cli.options import tiling_from
from latentfm_core.cli.predict import FORMATS
from latentfm_core.cli.prediction import RunOptions, predict
from latentfm_core.cli.prompts import check_early, prompted_images
from latentfm_core.cli.stacks import StackMode
from latentfm_core.cli.tiled import TiledMode, find_large_images
from latentfm_core.errors import ConfigError, OutputError
from latentfm_core.output.kinds import DEFAULT_KINDS, Format
from latentfm_core.torchrun import Launch, read_launch


def run(args: argparse.Namespace, command: str) -> None:
    """Run the command."""
    launch = read_launch()
    _check_arguments(args, launch)
    if not launch.first:
        logging.getLogger("latentfm_core").setLevel(logging.ERROR)
    options = RunOptions(
        launch=launch,
        overwrite=args.overwrite,
        # Processes that are started again continue.
        skip_done=args.skip_done or launch.size > 1,
        skip_bad=args.skip_bad,
        quiet=args.quiet or not launch.first,
    )
    limits, out = reading_from(args), args.out
    # A wrong path fails before the model is loaded.
    reject_models(out)
    if args.tiled:
        tiling = tiling_from(args)
        images = find_large_images(args.images, limits)
    else:
        reject_among(args.images, out)
        images = find_images(args.images, limits)
        items = prompted_images(images, args, limits)
        checked = check_early(items, args, limits)
    segmenter, settings = load_segmenter(args, group=None, launch=launch)
    warn_of_unused_members(segmenter, settings.n_samples)
    warn_of_one_sample(segmenter, settings)
    unit = "images" if args.prompts is None else "objects"
    if args.tiled:
        predict(TiledMode(segmenter, settings, limits, out, tiling), images, options)
        return
    formats: tuple[Format, ...] = ("tiff",) if args.stack else FORMATS[args.format]
    given = (segmenter, settings, limits, out, args.outputs, formats, items)
    if args.follow is not None:
        mode: ImageMode = FollowMode(*given, plane=args.plane, start=args.follow, unit=unit)
    elif args.stack:
        mode = StackMode(*given, plane=args.plane)
    else:
        mode = ImageMode(*given, unit=unit, checked=checked)
    predict(mode, images, options)


def _check_arguments(args: argparse.Namespace, launch: Launch) -> None:
    """Raise `ConfigError` or `OutputError` for options that contradict each other."""
    if not args.tiled and (args.scale is not None or args.overlap is not None):
        raise ConfigError("--scale and --overlap belong to --tiled. Add it, or remove them.")
    if not args.stack:
        reject_unused(args, ("plane",), "without --stack")
    if args.tiled and args.stack:
        raise ConfigError("--tiled takes 2D images, --stack takes stacks. Choose one of them.")
    if args.tiled and (args.format != "both" or args.outputs != DEFAULT_KINDS):
        raise ConfigError("--tiled writes all maps as Zarr. Remove --format and --outputs.")
    _check_prompts(args)
    if args.stack and args.format == "png":
        raise OutputError("A stack is written as TIFF. Remove --format png.")
    if launch.size > 1 and args.overwrite:
        # A process could not tell new results from older ones.
        raise ConfigError(
            "--overwrite cannot be used with torchrun. Choose another --out, or remove the old "
            "results."
        )


def _check_prompts(args: argparse.Namespace) -> None:
    """Raise `ConfigError` for prompts that cannot be used, or ``--follow`` without a prompt."""
    prompted = args.box is not None or args.prompts is not None
    if args.refine and (prompted or args.tiled):
        reject_unused(args, ("refine",), "with --box, --prompts or --tiled")
    if args.prompts is None:
        reject_unused(args, ("keep_numbers",), "without --prompts")
    if args.follow is not None and not (args.stack and prompted):
        raise ConfigError("--follow needs --stack, and --box or --prompts. Add them.")
    if args.tiled and prompted:
        raise ConfigError("--box and --prompts cannot be used with --tiled.")
    if args.stack and prompted and args.follow is None:
        raise ConfigError(
            "--box and --prompts need --follow PLANE with --stack: the plane of the prompt, from "
            "which its object is followed."
        )
