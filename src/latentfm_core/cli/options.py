"""The options of the commands, each declared once: what has one name means one thing.

``default`` in a help text is what the program takes; ``usual`` is what a model's card says unless
its maker chose otherwise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from pathlib import Path
from typing import get_args

from latentfm_core.config import (
    READING,
    Precision,
    ReadingConfig,
    SamplingConfig,
    SolverName,
    TilingConfig,
    reading_settings,
    sampling_settings,
)
from latentfm_core.errors import ConfigError
from latentfm_core.model_io.bundled import bundled_models
from latentfm_core.types import PARTS

FOLDER = "FOLDER"
DEVICES = "where to compute: auto, cpu, cuda, cuda:1, ... or mps"
PRECISION = "number format of the convolutions"
AUTO_PRECISION = "auto is bf16 where the hardware computes in it, else fp32"

_SAMPLING = {
    "n_samples": "how many plausible masks to draw, N",
    "steps": "steps of the ODE solver for each of them, K",
    "solver": f"ODE solver: {', '.join(get_args(SolverName))}",
    "seed": "seed of the first sample; sample n has seed + n. Equal seeds give equal samples",
    "threshold": "mean probability from which on a pixel belongs to the mean mask",
    "noise_scale": "standard deviation of the noise that samples start from; above 1 they differ "
    "more from each other",
    "batch_size": "samples computed at once; changes memory and speed, not results",
}
_RUN = {
    "device": DEVICES,
    "precision": f"{PRECISION}: {', '.join(get_args(Precision))}; {AUTO_PRECISION}",
}
_FLAGS = {
    name: "--samples" if name == "n_samples" else f"--{name.replace('_', '-')}"
    for name in (*_SAMPLING, *_RUN)
}
_CHOSEN = {
    "threshold": "the one fitted to the model, else 0.5",
    "noise_scale": "the one fitted to the model, else 1",
}
"""What decides where the settings leave it open."""


def add_data_arguments(parser: argparse.ArgumentParser, layout: str, split: str = "") -> None:
    """Add the options that name images and masks and say how to take them, but for ``--part``.

    Parameters
    ----------
    parser
        Gets the options.
    layout
        What else ``--data`` means to the command.
    split
        What the command does without ``--split``.
    """
    data = parser.add_argument_group("data", "Either --images and --masks, or --data.")
    data.add_argument("--images", type=Path, metavar=FOLDER, help="folder of images")
    data.add_argument(
        "--masks", type=Path, metavar=FOLDER, help="folder of their masks, named as the images"
    )
    data.add_argument(
        "--data",
        type=Path,
        metavar=FOLDER,
        help="instead of both, a folder in nnU-Net's raw layout (2D) or in that of the ISIC "
        f"challenge; {layout}",
    )
    data.add_argument(
        "--split",
        type=Path,
        metavar="FILE",
        help="JSON file with the lists train, val and test of image names without extension, as "
        f"latentfm-train writes one{split}",
    )
    data.add_argument(
        "--mask-threshold",
        type=float,
        metavar="LEVEL",
        help="grey level above which a pixel of a mask is foreground, for masks of more than two "
        "values (default: such masks are refused)",
    )
    add_skip_bad(data)


def add_part(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--part`` with what is taken when it is not given."""
    parser.add_argument(
        "--part",
        choices=(*PARTS, "all"),
        help="which part to take of --split, of --data, or of the split beside the model that its "
        f"training wrote; all: every image (default: {default})",
    )


def add_grouping(parser: argparse._ActionsContainer) -> None:
    """Add ``--group-file`` and ``--group-column``."""
    parser.add_argument(
        "--group-file",
        type=Path,
        metavar="FILE",
        help="CSV file with a column image and one that tells what belongs together, such as the "
        "patient or the video; such images are never divided among train, val and test, and count "
        "as one where chance is judged",
    )
    parser.add_argument("--group-column", metavar="NAME", help="name of that column")


def add_skip_bad(parser: argparse._ActionsContainer) -> None:
    """Add ``--skip-bad``."""
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="go on without files that cannot be read or used, and list them (exit code 0 if any "
        "is left); without it they stop the command before it has begun",
    )


def refuse_two_sources(args: argparse.Namespace) -> None:
    """Refuse ``--data`` beside ``--images`` or ``--masks``.

    Raises
    ------
    ConfigError
        If both are given.
    """
    if args.data is not None and (args.images is not None or args.masks is not None):
        raise ConfigError("--data takes the place of --images and --masks: give either.")


def add_sampling_arguments(
    parser: argparse.ArgumentParser, leave_out: Collection[str] = (), *, own_model: bool = False
) -> None:
    """Add ``--model`` and the options that `sampling_from` reads, but for `leave_out`.

    Parameters
    ----------
    parser
        Gets the options.
    leave_out
        Fields of `SamplingConfig` that the command decides.
    own_model
        Whether the command changes the model, which then has to be named.
    """
    parser.add_argument("--model", help=_OWN_MODEL if own_model else _any_model())
    group = parser.add_argument_group(
        "sampling",
        "What is not given is taken from the model's card; usual is what cards mostly say.",
    )
    for field, meaning in _SAMPLING.items():
        if field not in leave_out:
            _add(group, field, meaning)
    if "confidence" not in leave_out:
        group.add_argument(
            "--confidence",
            choices=("calibrated", "raw"),
            help="calibrated: the chance that a pixel of the mean mask agrees with an expert, as "
            "fitted on validation data; raw: 1 - 4 variance of the samples (default: calibrated, "
            "if the model has that)",
        )
    run = parser.add_argument_group("run")
    for field, meaning in _RUN.items():
        if field not in leave_out:
            _add(run, field, meaning)


_OWN_MODEL = "folder that latentfm-train wrote; required"


def _any_model() -> str:
    bundled = bundled_models()
    listed = f"{', '.join(bundled)}; default: {bundled[0]}" if bundled else "none here"
    return f"folder that latentfm-train wrote, or name of a bundled model ({listed})"


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `reading_from` reads."""
    group = parser.add_argument_group(
        "files", "Limits that keep a damaged or harmful file from filling the memory."
    )
    group.add_argument(
        "--max-megapixels",
        type=float,
        metavar="COUNT",
        help="largest image or mask that is read, in units of 1024 x 1024 pixels (default: "
        f"{READING.max_megapixels:g})",
    )
    group.add_argument(
        "--max-megabytes",
        type=float,
        metavar="COUNT",
        help="largest file that is read, by its size in memory, in units of 1024 x 1024 bytes "
        "(default: 8 for each megapixel)",
    )
    group.add_argument(
        "--follow-links",
        action="store_true",
        help="take symbolic links that lead out of a folder (default: they are refused)",
    )
    group.add_argument(
        "--channel",
        type=int,
        metavar="NUMBER",
        help="which channel to read of files with several, counted from 1 (default: colours are "
        "read, and other channels are refused)",
    )


def reading_overrides(args: argparse.Namespace) -> dict[str, object]:
    """Return the fields of `ReadingConfig` that the options give."""
    given = {
        "max_megapixels": args.max_megapixels,
        "max_megabytes": args.max_megabytes,
        "channel": args.channel,
    }
    found: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    return found | ({"follow_links": True} if args.follow_links else {})


def reading_from(args: argparse.Namespace) -> ReadingConfig:
    """Return the limits for files that the options give.

    Raises
    ------
    ConfigError
        If one is out of range.
    """
    return reading_settings(reading_overrides(args))


def _add(group: argparse._ArgumentGroup, field: str, meaning: str) -> None:
    default = getattr(SamplingConfig(), field)
    taken = _CHOSEN.get(field, "chosen by the program") if default is None else default
    # The device is a matter of this machine, not of the card.
    whose = "default" if field == "device" else "usual"
    group.add_argument(
        _FLAGS[field],
        dest=field,
        metavar=_FLAGS[field].strip("-").upper().replace("-", "_"),
        type=_parser_of(field),
        help=f"{meaning} ({whose}: {taken})",
    )


def _parser_of(field: str) -> Callable[[str], object]:
    """Return an argparse type that accepts just what the settings accept."""

    def parse(text: str) -> object:
        try:
            value: object = getattr(sampling_settings(None, **{field: text}), field)
        except ConfigError as error:
            reason = str(error).partition(f"{field}: ")[2]
            raise argparse.ArgumentTypeError(f"{text!r}: {reason}") from None
        return value

    return parse


def sampling_from(args: argparse.Namespace, base: SamplingConfig | None = None) -> SamplingConfig:
    """Return `base` (or the defaults) changed by the options that were given."""
    given: dict[str, object] = {
        name: value for name in _FLAGS if (value := getattr(args, name, None)) is not None
    }
    confidence = getattr(args, "confidence", None)
    if confidence is not None:
        given["calibrated"] = confidence == "calibrated"
    return sampling_settings(base, **given)


def add_tiling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--tiled`` and its options."""
    usual = TilingConfig()
    group = parser.add_argument_group("large images")
    group.add_argument(
        "--tiled",
        action="store_true",
        help="segment images of any size in overlapping tiles; each result is a Zarr folder",
    )
    group.add_argument(
        "--scale",
        type=float,
        help="with --tiled, pixels that the network sees per image pixel, along a side; the maps "
        f"have that many (default: {usual.scale:g})",
    )
    group.add_argument(
        "--overlap",
        type=float,
        help="with --tiled, share of a tile's side in common with the next one "
        f"(default: {usual.overlap:g})",
    )
