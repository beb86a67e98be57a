"""Command-line options for images, masks and their files."""

from __future__ import annotations

import argparse

from latentfm_core.cli.setting_types import type_of
from latentfm_core.config import READING, DataConfig, ReadingConfig, reading_settings
from latentfm_core.errors import ConfigError
from latentfm_core.files.user_path import user_path
from latentfm_core.vocabulary import PARTS

FOLDER = "FOLDER"


def add_data_arguments(parser: argparse.ArgumentParser, layout: str, split: str = "") -> None:
    """Add the options for images and masks, except ``--part``; the folders come first.

    Parameters
    ----------
    layout
        Further meaning of ``--data`` for the command.
    """
    parser.add_argument("--images", type=user_path, metavar=FOLDER, help="image folder")
    parser.add_argument(
        "--masks", type=user_path, metavar=FOLDER, help="mask folder; file names match the images"
    )
    parser.add_argument(
        "--data",
        type=user_path,
        metavar=FOLDER,
        help="instead of --images and --masks, a folder in nnU-Net's raw layout (2D) or that of "
        f"the ISIC challenge; {layout}",
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--split",
        type=user_path,
        metavar="FILE",
        help="JSON file with lists train, val and test of image names without extension, as "
        f"written by latentfm-train{split}",
    )
    data.add_argument(
        "--mask-threshold",
        type=type_of(DataConfig, "mask_threshold"),
        metavar="LEVEL",
        help="grey level above which a mask pixel is foreground, for masks with more than two "
        "values (default: such masks are rejected)",
    )
    data.add_argument(
        "--mask-channel",
        type=type_of(ReadingConfig, "mask_channel"),
        metavar="NUMBER",
        help="channel to read from masks with several channels, counted from 1 (default: as "
        "--channel, which otherwise applies to images and masks)",
    )
    add_skip_bad(data)


def add_part(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--part`` with a description of its default."""
    parser.add_argument(
        "--part",
        choices=(*PARTS, "all"),
        help="part of --split, of --data, or of the model's own training split to use; all: "
        f"every image (default: {default})",
    )


def add_grouping(parser: argparse._ActionsContainer) -> None:
    """Add ``--group-file`` and ``--group-column``."""
    parser.add_argument(
        "--group-file",
        type=user_path,
        metavar="FILE",
        help="CSV file with a column image and a group column, such as patient or video; a group "
        "is never divided among train, val and test, and counts as one observation in standard "
        "errors",
    )
    parser.add_argument("--group-column", metavar="NAME", help="name of the group column")


def add_skip_bad(parser: argparse._ActionsContainer) -> None:
    """Add ``--skip-bad``."""
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="skip and list files that cannot be read or used (exit code 0 if any is left); "
        "without it they stop the command before any work",
    )


def reject_two_sources(args: argparse.Namespace) -> None:
    """Raise `ConfigError` if ``--data`` is given together with ``--images`` or ``--masks``."""
    if args.data is not None and (args.images is not None or args.masks is not None):
        raise ConfigError("--data replaces --images and --masks: use one or the other.")


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `reading_from` reads."""
    group = parser.add_argument_group(
        "files", "Limits that keep a damaged or malicious file from exhausting memory."
    )
    group.add_argument(
        "--max-megapixels",
        type=type_of(ReadingConfig, "max_megapixels"),
        metavar="COUNT",
        help="largest image or mask to read, in units of 1024 x 1024 pixels (default: "
        f"{READING.max_megapixels:g})",
    )
    group.add_argument(
        "--max-megabytes",
        type=type_of(ReadingConfig, "max_megabytes"),
        metavar="COUNT",
        help="largest file to read, by its decoded size, in units of 1024 x 1024 bytes "
        "(default: 8 per megapixel)",
    )
    group.add_argument(
        "--follow-links",
        action="store_true",
        help="follow symbolic links that lead out of a folder (default: reject them)",
    )
    group.add_argument(
        "--keep-numbers",
        action="store_true",
        help="read the values of masks as numbers of classes or objects even if they look like "
        "smoothed edges, for example of thin layers (default: reject them)",
    )
    group.add_argument(
        "--channel",
        type=type_of(ReadingConfig, "channel"),
        metavar="NUMBER",
        help="channel to read from every file with several channels, colours included, counted "
        "from 1 (default: colours are read, other channels are rejected)",
    )


def reading_overrides(args: argparse.Namespace) -> dict[str, object]:
    """Return the fields of `ReadingConfig` set by the options."""
    given = {
        "max_megapixels": args.max_megapixels,
        "max_megabytes": args.max_megabytes,
        "channel": args.channel,
        "mask_channel": getattr(args, "mask_channel", None),
    }
    found: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    chosen = [name for name in ("follow_links", "keep_numbers") if getattr(args, name)]
    return found | dict.fromkeys(chosen, True)


def reading_from(args: argparse.Namespace) -> ReadingConfig:
    """Return the file limits set by the options."""
    return reading_settings(reading_overrides(args))
