"""Known folder layouts: nnU-Net's raw layout and that of the ISIC challenge."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from latentfm_core.config import READING, Config, DataConfig, ReadingConfig, config_from_mapping
from latentfm_core.datasets import nnunet
from latentfm_core.datasets.label_names import check_label_names
from latentfm_core.datasets.pairs import Pair, find_pairs, pair_files
from latentfm_core.errors import ConfigError, DatasetError
from latentfm_core.images.limits import reject_links_out
from latentfm_core.images.read import list_images
from latentfm_core.names import counted, shown
from latentfm_core.vocabulary import PARTS

logger = logging.getLogger(__name__)

_ISIC_PART = {"training": "train", "validation": "val", "test": "test"}
_ISIC_IMAGES = re.compile(r"(training|validation|test)(_v\d+)?_(input|data)$", re.IGNORECASE)
_ISIC_MASKS = re.compile(r"(training|validation|test)(_v\d+)?(_part1)?_groundtruth$", re.IGNORECASE)
_ISIC_OTHER_TASKS = re.compile(r"task[23]_|part[2-9]", re.IGNORECASE)
"""Dermoscopic features and diagnoses, not lesion outlines."""
_SUPERPIXELS = "_superpixels"
"""Superpixel maps among the images of 2017."""


@dataclass(frozen=True)
class Layout:
    """Content of a folder.

    Attributes
    ----------
    parts
        Folders of images and masks of each existing part: train, val, test.
    classes
        Class names, if the folder lists them; else its masks are binary.
    """

    kind: Literal["nnU-Net", "ISIC"]
    folder: Path
    parts: Mapping[str, tuple[Path, Path]]
    classes: tuple[str, ...] = field(default=())
    description: nnunet.Description | None = None

    def pairs(
        self, part: str, skip_unmasked: bool = False, limits: ReadingConfig = READING
    ) -> list[Pair]:
        """Return the pairs of one part, sorted by name.

        Raises
        ------
        DatasetError
            If the part does not exist, or its images and masks do not match.
        """
        if part not in self.parts:
            raise DatasetError(self._without(part))
        images, masks = self.parts[part]
        reject_links_out((images, masks), self.folder, limits, "folders")
        if self.description is not None:
            return nnunet.find_cases(images, masks, self.description, skip_unmasked, limits)
        every = list_images(images, limits)
        files = [path for path in every if not path.stem.lower().endswith(_SUPERPIXELS)]
        if len(files) < len(every):
            count = len(every) - len(files)
            logger.info("%s: %s skipped", shown(images), counted(count, "superpixel map"))
        return pair_files(files, list_images(masks, limits), images, masks, skip_unmasked)

    def _without(self, part: str) -> str:
        """Return a message that the folder lacks a part, and which split to use instead."""
        ending = {"train": "Tr", "test": "Ts"}.get(part)
        missing = "with images and masks"
        if self.kind == "nnU-Net" and ending is None:
            missing = "in this layout (nnU-Net has train and test)"
        elif self.kind == "nnU-Net":
            missing = f"with masks: images{ending} or labels{ending} is missing"
        found = (
            f"{shown(self.folder)} has no part {part} {missing}; it has {', '.join(self.parts)}."
        )
        if part == "train" or "train" not in self.parts:
            return f"{found} Choose one of these."
        return (
            f"{found} Use the images that were held out of the training part: --split "
            f"MODEL/training/split.json --part {part}, with the folder of the model. For a model "
            "that was not trained on these images, --part train takes all of them."
        )

    def check_classes(self, own: Sequence[str]) -> None:
        """Reject a network of the classes `own` if those of the masks do not match.

        Raises
        ------
        ConfigError
            If the numbers differ, or a class has another label; the message names the classes of
            the folder.
        """
        number = len(self.classes) or 1
        if number != len(own):
            named = f" ({', '.join(self.classes)})" if self.classes else ""
            advice = "Choose a model with these classes, or another folder."
            if self.description is not None:
                advice += f" If masks have other labels, add them in {nnunet.DESCRIPTION}."
            raise ConfigError(
                f"The masks in {shown(self.folder)} have {counted(number, 'class', 'classes')}"
                f"{named}, the model has {len(own)}. {advice}"
            )
        check_label_names(own, dict(enumerate(self.classes, start=1)), self.folder)


def read_layout(folder: Path, limits: ReadingConfig = READING) -> Layout:
    """Detect the layout of `folder`.

    Raises
    ------
    DatasetError
        If it has neither layout, or is an unsupported nnU-Net data set.
    """
    if not folder.is_dir():
        raise DatasetError(f"{shown(folder)} is not a folder. Choose the folder of a data set.")
    if (folder / nnunet.DESCRIPTION).is_file():
        reject_links_out([folder / nnunet.DESCRIPTION], folder, limits)
        description = nnunet.read_description(folder / nnunet.DESCRIPTION)
        parts = {
            part: (folder / f"images{end}", folder / f"labels{end}")
            for part, end in (("train", "Tr"), ("test", "Ts"))
            if (folder / f"images{end}").is_dir() and (folder / f"labels{end}").is_dir()
        }
        if "train" in parts or "test" in parts:
            return Layout("nnU-Net", folder, parts, description.classes, description)
        missing = [name for name in ("imagesTr", "labelsTr") if not (folder / name).is_dir()]
        raise DatasetError(
            f"{shown(folder)} has {nnunet.DESCRIPTION}, but not {' and '.join(missing)}. Add "
            "what is missing, or name folders with --images and --masks."
        )
    elif isic := _isic_parts(folder):
        return Layout("ISIC", folder, isic)
    raise DatasetError(
        f"{shown(folder)} does not have a known layout. nnU-Net's raw layout has "
        f"{nnunet.DESCRIPTION}, imagesTr and labelsTr; that of the ISIC challenge has folders "
        "such as ISIC2018_Task1-2_Training_Input and ISIC2018_Task1_Training_GroundTruth. Name "
        "folders of images and masks with --images and --masks (data.images, data.masks)."
    )


def _isic_parts(folder: Path) -> dict[str, tuple[Path, Path]]:
    by_part: dict[str, list[Path]] = {}
    try:
        folders = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise DatasetError(
            f"{shown(folder)} cannot be read: {error.strerror or error}. Check its permissions."
        ) from None
    for path in folders:
        if _ISIC_OTHER_TASKS.search(path.name):
            continue
        for kind, pattern in (("images", _ISIC_IMAGES), ("masks", _ISIC_MASKS)):
            if match := pattern.search(path.name):
                part = _ISIC_PART[match[1].lower()]
                by_part.setdefault(f"{part} {kind}", []).append(path)
    twice = next((paths for paths in by_part.values() if len(paths) > 1), None)
    if twice:
        raise DatasetError(
            f"{shown(folder)} has several challenges: {' and '.join(path.name for path in twice)}. "
            "Put each into its own folder, or name folders with --images and --masks."
        )
    both = [part for part in PARTS if {f"{part} images", f"{part} masks"} <= by_part.keys()]
    if by_part and not both:
        found = ", ".join(sorted(path.name for paths in by_part.values() for path in paths))
        raise DatasetError(
            f"{shown(folder)} has no part with both images and masks; of the ISIC challenge it has "
            f"{found}. Add the other folder of a part: its name ends in _Input or _GroundTruth."
        )
    return {part: (by_part[f"{part} images"][0], by_part[f"{part} masks"][0]) for part in both}


def training_pairs(data: DataConfig) -> list[Pair]:
    """Return the training pairs of `data`, from folders or the train part of a layout.

    Raises
    ------
    ConfigError
        If no folders are named.
    DatasetError
        If images and masks do not match.
    """
    if data.folder is not None:
        layout = read_layout(data.folder, data.reading)
        return layout.pairs("train", data.skip_unmasked, data.reading)
    if data.images is None or data.masks is None:
        raise ConfigError(
            "No training data given. Use --images and --masks, or --data, or data.images and "
            "data.masks in the configuration."
        )
    return find_pairs(data.images, data.masks, data.skip_unmasked, data.reading)


def with_classes_of_folder(config: Config) -> Config:
    """Return `config` with the classes listed in its data folder, if any.

    Raises
    ------
    ConfigError
        If their names cannot be used, or the configuration has colours for other classes.
    """
    if config.data.folder is None:
        return config
    layout = read_layout(config.data.folder, config.data.reading)
    if not layout.classes:
        return config
    values = config.to_json()
    colours = config.model.colours_of(layout.classes)
    if config.model.class_colours and not colours:
        raise ConfigError(
            f"model.class_colours are for the classes {', '.join(config.model.classes)}, and "
            f"{config.data.folder} names the classes {', '.join(layout.classes)}. Use these names "
            "in model.classes, with one colour for each, or leave model.class_colours out."
        )
    values["model"] |= {"classes": list(layout.classes), "class_colours": list(colours)}
    return config_from_mapping(values)
