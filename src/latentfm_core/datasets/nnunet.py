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
from latentfm_core.datasets.pairs import Pair, name_some, pair_files
from latentfm_core.errors import DatasetError
from latentfm_core.files.untrusted import parse_json, read_bounded
from latentfm_core.images.read import IMAGE_SUFFIXES, list_images
from latentfm_core.names import comparable, shown

logger = logging.getLogger(__name__)

DESCRIPTION = "dataset.json"
MAX_BYTES = 4_000_000
BACKGROUND = "background"

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
    """

    classes: tuple[str, ...]
    ending: str


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
            f"{shown(path)} is not valid JSON: {error}. Fix it, or copy it again."
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
    _check_channels(path, values.get("channel_names"))
    return Description(_classes(path, values["labels"]), ending.lower())


def _check_ending(path: Path, ending: str) -> None:
    if ending in _VOLUMES:
        raise DatasetError(
            f"{shown(path)}: the images are volumes ({ending}). Models work on 2D planes: save "
            "each plane as PNG or TIFF."
        )
    if ending not in IMAGE_SUFFIXES:
        raise DatasetError(
            f"{shown(path)}: file_ending {ending[:40]!r} is not one of "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}. Convert the files to one of these."
        )


def _check_channels(path: Path, channels: object) -> None:
    if not isinstance(channels, dict) or len(channels) not in (1, _COLOURS):
        count = len(channels) if isinstance(channels, dict) else "no"
        raise DatasetError(
            f"{shown(path)} names {count} channels. Models take grey images (one channel) or "
            "three channels as red, green and blue: remove the others."
        )


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


def find_cases(
    images: Path, masks: Path, ending: str, skip_unmasked: bool, limits: ReadingConfig
) -> list[Pair]:
    """Pair ``NAME_0000`` (one grey or colour file, or three grey ones) with the label ``NAME``.

    Raises
    ------
    DatasetError
        If a name is malformed, channels are missing, or an image or label is unmatched.
    """
    cases = _channel_files(images, ending, limits)
    odd = [case for case, numbers in cases.items() if sorted(numbers) not in ([0], [0, 1, 2])]
    if odd:
        raise DatasetError(
            f"{shown(images)}: {len(odd)} images have neither the one channel _0000 nor the three "
            f"_0000, _0001 and _0002: {name_some(odd)}. Add the missing files, or remove other "
            "channels."
        )
    if len({len(numbers) for numbers in cases.values()}) > 1:
        raise DatasetError(
            f"{shown(images)}: some images have one file and others have three. Keep one kind."
        )
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
        raise DatasetError(
            f"{shown(folder)}: {len(twice)} images share a name: {name_some(twice)}. Keep one file "
            "of each name."
        )
    if foreign:
        raise DatasetError(
            f"{shown(folder)}: {len(foreign)} files lack the channel number: "
            f"{name_some(foreign)}. Rename them to NAME_0000{ending}."
        )
    return cases


def _of_ending(folder: Path, ending: str, limits: ReadingConfig) -> list[Path]:
    every = list_images(folder, limits)
    files = [path for path in every if path.suffix.lower() == ending]
    others = [path.name for path in every if path not in files]
    if files and others:
        logger.warning(
            "%s: %d files do not end in %s, as set in %s, and are skipped: %s",
            shown(folder),
            len(others),
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
