"""nnU-Net's raw layout: ``imagesTr/NAME_0000.png``, ``labelsTr/NAME.png``, ``dataset.json``.

Described in documentation/dataset_format.md of nnU-Net 2 (Isensee et al. 2021).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latentfm_core.config import ReadingConfig
from latentfm_core.datasets.pairs import Pair, pair_files
from latentfm_core.errors import DatasetError
from latentfm_core.files.untrusted import parse_json, read_bounded
from latentfm_core.images.read import IMAGE_SUFFIXES, list_images
from latentfm_core.names import comparable, counted, name_some, shown

logger = logging.getLogger(__name__)

DESCRIPTION = "dataset.json"
MAX_BYTES = 4_000_000
BACKGROUND = "background"
TRAINING = "imagesTr"

_VOLUMES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".gipl", ".b2nd", ".npy", ".npz", ".pkl")
_CHANNEL_FILE = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
_COLOURS = 3


@dataclass(frozen=True)
class Description:
    """Fields used from ``dataset.json``.

    Attributes
    ----------
    classes
        Names of the foreground classes, in the order of their labels.
    ending
        File name ending, lower case.
    channels
        Names of the channels, in the order of their numbers.
    training
        Number of training images; None if it is not given.
    """

    classes: tuple[str, ...]
    ending: str
    channels: tuple[str, ...]
    training: int | None = None


def read_description(path: Path) -> Description:
    """Read ``dataset.json``.

    Raises
    ------
    DatasetError
        If it cannot be read, is not of nnU-Net 2, or needs unsupported features: volumes,
        overlapping labels, ignored pixels, files elsewhere.
    """
    try:
        values = parse_json(read_bounded(path, MAX_BYTES))
    except OSError as error:
        raise DatasetError(
            f"Cannot read {shown(path)}: {error.strerror or error}. Check the path and its "
            "permissions."
        ) from None
    except ValueError as error:
        raise DatasetError(
            f"{shown(path)} cannot be used: {error}. Fix it, or copy it again."
        ) from None
    if not isinstance(values, dict) or not isinstance(values.get("labels"), dict):
        raise DatasetError(
            f"{shown(path)} does not describe an nnU-Net data set: it has no table of labels. "
            "Add one, with the background as 0."
        )
    ending = values.get("file_ending")
    if not isinstance(ending, str):
        raise DatasetError(
            f"{shown(path)} has no file_ending: it is not of nnU-Net 2. Convert the data set with "
            "nnUNetv2_convert_old_nnUNet_dataset."
        )
    _check_ending(path, ending.lower())
    if "dataset" in values:
        raise DatasetError(
            f"{shown(path)} lists files in other folders (its key dataset). Move them to "
            "imagesTr and labelsTr, and remove the key."
        )
    channels, count = _channels(path, values.get("channel_names")), values.get("numTraining")
    classes = _classes(path, values["labels"])
    return Description(classes, ending.lower(), channels, count if type(count) is int else None)


def _check_ending(path: Path, ending: str) -> None:
    if ending in _VOLUMES:
        raise DatasetError(
            f"{shown(path)}: the images are volumes ({ending}). Models work on 2D planes: save "
            "each plane as PNG or TIFF."
        )
    if ending not in IMAGE_SUFFIXES:
        near = f".{ending}" in IMAGE_SUFFIXES
        raise DatasetError(
            f"{shown(path)}: file_ending {ending[:40]!r} is not one of "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}. "
            + (f'Write ".{ending}".' if near else "Convert the files to one of these.")
        )


def _channels(path: Path, channels: object) -> tuple[str, ...]:
    if not isinstance(channels, dict) or len(channels) not in (1, _COLOURS):
        count = len(channels) if isinstance(channels, dict) else "no"
        raise DatasetError(
            f"{shown(path)} names {count} channels. Models take grey images (one channel) or "
            "three channels as red, green and blue: remove the others."
        )
    numbers = [str(number) for number in range(len(channels))]
    if sorted(channels) != numbers:
        raise DatasetError(
            f"{shown(path)}: channel_names numbers its channels {name_some(channels)}, and files "
            f"are numbered {', '.join(numbers)} (_0000, ...). Correct the numbers."
        )
    names = tuple(str(channels[number]) for number in numbers)
    colours = [name[:1].lower() for name in names]
    if sorted(colours) == ["b", "g", "r"] and colours != ["r", "g", "b"]:
        raise DatasetError(
            f"{shown(path)} names the channels {', '.join(names)}, and channels are read as red, "
            "green and blue. Renumber the channels, and their files if each has its own."
        )
    return names


def _classes(path: Path, labels: Mapping[str, Any]) -> tuple[str, ...]:
    if "ignore" in labels:
        raise DatasetError(
            f"{shown(path)} has the label 'ignore', which is not supported: draw these regions, or "
            "remove the images."
        )
    if not all(type(value) is int for value in labels.values()):
        raise DatasetError(
            f"{shown(path)}: every label needs one whole number. Regions of several labels are not "
            "supported, nor are data sets of nnU-Net 1, in which the numbers come first. "
            "Assign each label its number."
        )
    by_value = {value: name for name, value in labels.items()}
    if sorted(labels.values()) != list(range(len(labels))) or by_value.get(0) != BACKGROUND:
        raise DatasetError(
            f"{shown(path)}: labels must be 0 for {BACKGROUND}, then 1, 2, ... without a gap. "
            "Renumber them, in the masks too."
        )
    if len(labels) == 1:
        raise DatasetError(
            f"{shown(path)} has no label except {BACKGROUND}. Add foreground labels."
        )
    return tuple(by_value[value] for value in range(1, len(labels)))


def with_description(text: str, names_classes: bool, folder: Path | None) -> str:
    """Return a message; if it advises to name classes, with what that means in `folder`."""
    if folder is None or not names_classes or not (folder / DESCRIPTION).is_file():
        return text
    return (
        f"{text} In this folder, {DESCRIPTION} names the classes, and model.classes cannot add "
        "one: correct its labels, or the masks."
    )


def find_cases(
    images: Path, masks: Path, declared: Description, skip_unmasked: bool, limits: ReadingConfig
) -> list[Pair]:
    """Pair ``NAME_0000`` (one grey or colour file, or three grey ones) with the label ``NAME``.

    A warning says if there are not as many training images as `declared`.

    Raises
    ------
    DatasetError
        If a name is malformed, channels are missing or not declared, or an image or label is
        unmatched.
    """
    ending, expected = declared.ending, declared.training
    cases = _channel_files(images, ending, limits)
    odd = [case for case, numbers in cases.items() if sorted(numbers) not in ([0], [0, 1, 2])]
    if odd:
        raise DatasetError(
            f"{shown(images)}: {counted(len(odd), 'image has', 'images have')} neither the one "
            f"channel _0000 nor the three _0000, _0001 and _0002: {name_some(odd)}. Add the "
            "missing files, or remove other channels."
        )
    if len({len(numbers) for numbers in cases.values()}) > 1:
        raise DatasetError(
            f"{shown(images)}: some images have one file and others have three. Keep one kind."
        )
    if len(declared.channels) < len(next(iter(cases.values()))):
        raise DatasetError(
            f"{shown(images)} has three files for each image, and {DESCRIPTION} names one channel "
            f"({declared.channels[0]}). Name all three in channel_names, or keep the files _0000."
        )
    if images.name == TRAINING and expected not in (None, len(cases)):
        logger.warning(
            "%s has %d images, and %s says %d (numTraining). If images are missing, copy them "
            "again; else correct the number.",
            shown(images), len(cases), DESCRIPTION, expected,
        )  # fmt: skip
    first = {numbers[0]: case for case, numbers in cases.items()}
    labels = _of_ending(masks, ending, limits)
    pairs = pair_files(first, labels, images, masks, skip_unmasked, first.__getitem__)
    return [
        replace(pair, channels=tuple(cases[pair.name][i] for i in (1, 2)))
        if len(cases[pair.name]) == _COLOURS
        else pair
        for pair in pairs
    ]


def _channel_files(folder: Path, ending: str, limits: ReadingConfig) -> dict[str, dict[int, Path]]:
    """Return the files of each case by the number of their channel."""
    cases: dict[str, dict[int, Path]] = {}
    foreign, twice = [], []
    for path in _of_ending(folder, ending, limits):
        match = _CHANNEL_FILE.fullmatch(comparable(path.stem))
        if match is None:
            foreign.append(path.name)
            continue
        other = cases.setdefault(match["case"], {}).setdefault(int(match["channel"]), path)
        if other is not path:
            twice.append(f"{other.name} / {path.name}")
    if twice:
        count = counted(len(twice), "pair of images shares", "pairs of images share")
        raise DatasetError(
            f"{shown(folder)}: {count} a name: {name_some(twice)}. Keep one file of each name."
        )
    if foreign:
        raise DatasetError(
            f"{shown(folder)}: {counted(len(foreign), 'file lacks', 'files lack')} the channel "
            f"number: {name_some(foreign)}. Rename to NAME_0000{ending}."
        )
    return cases


def _of_ending(folder: Path, ending: str, limits: ReadingConfig) -> list[Path]:
    every = list_images(folder, limits)
    files = [path for path in every if path.suffix.lower() == ending]
    others = [path.name for path in every if path not in files]
    if files and others:
        logger.warning(
            "%s: skipped %s not ending in %s, as set in %s: %s",
            shown(folder),
            counted(len(others), "file"),
            ending,
            DESCRIPTION,
            name_some(others),
        )
    if not files:
        raise DatasetError(
            f"{shown(folder)} has no {ending} files, as declared in {DESCRIPTION}. Add them, "
            "or fix its file_ending."
        )
    return files
