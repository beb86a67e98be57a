"""Ensembles: a folder of model folders is a model whose members divide the samples.

The folder of a cross-validation is one. An ensemble stores no weights itself. Its card is made
from those of its members; ``ensemble.json`` stores it once there is more to say, such as a
calibration.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentfm_core.config import Config
from latentfm_core.datasets.folds import FILE as FOLDS
from latentfm_core.datasets.folds import FOLDER, read_folds
from latentfm_core.errors import DatasetError, ModelFolderError
from latentfm_core.model_io.card import (
    MemberInfo,
    ModelCard,
    WeightsInfo,
    read_card_file,
    read_single_card,
)
from latentfm_core.model_io.file_names import CARD, ENSEMBLE, WEIGHTS
from latentfm_core.names import counted, model_id, name_some, shown
from latentfm_core.once import first_time

MOST_MEMBERS = 100

logger = logging.getLogger(__name__)


def member_folders(folder: Path) -> list[Path]:
    """Return the members of an ensemble in their order; empty if `folder` is not an ensemble.

    They are the folds of a cross-validation, or at least two model folders, sorted by name with
    numbers in numerical order; a warning names incomplete ones. A folder with its own card is a
    single model.

    Raises
    ------
    ModelFolderError
        If folds are missing, there are too many models, or the folder cannot be read.
    """
    if (folder / CARD).is_file() or not folder.is_dir():
        return []
    if (folder / FOLDS).is_file():
        return _folds(folder)
    try:
        every = list(folder.iterdir())
        found = [path for path in every if is_model(path)]
        incomplete = [path.name for path in every if path not in found and _is_begun(path)]
    except OSError as error:
        raise ModelFolderError(
            f"Cannot read {folder}: {error.strerror or error}. Check its permissions."
        ) from None
    if len(found) > MOST_MEMBERS:
        raise ModelFolderError(
            f"{folder} has {len(found)} models, and an ensemble has at most {MOST_MEMBERS}. "
            "Choose one of them."
        )
    if len(found) < 2:
        return []
    if incomplete and first_time("incomplete members", folder, *sorted(incomplete)):
        logger.warning(
            "%s: %s not part of the ensemble: %s",
            shown(folder),
            counted(
                len(incomplete),
                "folder without a complete model is",
                "folders without a complete model are",
            ),
            name_some(incomplete),
        )
    return sorted(found, key=_in_numerical_order)


def _is_begun(folder: Path) -> bool:
    """Return whether a folder has a part of a model or an unfinished run, or is a broken link."""
    if not folder.is_dir():
        return folder.is_symlink() and not folder.exists()
    return any(next(folder.glob(file), None) for file in (CARD, WEIGHTS, "training/*.safetensors"))


def is_model(folder: Path) -> bool:
    """Return whether a folder has the files of a single model."""
    return (folder / CARD).is_file() and (folder / WEIGHTS).is_file()


def model_files(folder: Path) -> list[Path]:
    """Return the files of a model that a loaded one depends on: cards and weights.

    Raises
    ------
    OSError
        If the folder cannot be read.
    """
    if (folder / CARD).is_file():
        return sorted(folder.glob("model.*"))
    return sorted([*folder.glob(ENSEMBLE), *folder.glob("*/model.*")])


def _in_numerical_order(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _folds(folder: Path) -> list[Path]:
    try:
        count = len(read_folds(folder / FOLDS).folds)
    except DatasetError as error:
        raise ModelFolderError(str(error)) from None
    folders = [folder / FOLDER.format(fold) for fold in range(count)]
    missing = [path.name for path in folders if not is_model(path)]
    if missing:
        raise ModelFolderError(
            f"{folder} is a cross-validation of {count} folds, and {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not trained yet. Finish it with "
            f"latentfm-train --out {folder} --resume, or choose the folder of one fold."
        )
    return folders


def joint_card(folder: Path, members: Sequence[Path]) -> ModelCard:
    """Return the card of an ensemble.

    A stored card of other members, such as before one was trained again, is not used, because
    its calibration is not valid; a warning says so.

    Parameters
    ----------
    folder
        The folder of the ensemble.
    members
        As `member_folders` returns them.

    Raises
    ------
    ModelFolderError
        If a card cannot be read, or the members do not agree in what they segment.
    """
    cards = {path.name: read_single_card(path) for path in members}
    check_agreement(folder, cards)
    infos = tuple(
        MemberInfo(folder=name, id=card.id, sha256=card.weights_sha256)
        for name, card in cards.items()
    )
    if (folder / ENSEMBLE).is_file():
        stored = read_card_file(folder / ENSEMBLE)
        if stored.members == infos and stored.weights_sha256 == joint_sha256(infos):
            return stored
        logger.warning(
            "%s was made for other models than those in the folder and is not used. Calibrate the "
            "ensemble again: latentfm-calibrate --model %s",
            folder / ENSEMBLE,
            folder,
        )
    return _new_card(folder, infos, list(cards.values()))


def joint_sha256(members: Sequence[MemberInfo]) -> str:
    """Return the digest of an ensemble: that of its members' digests, one per line, in order."""
    text = "".join(f"{member.sha256}\n" for member in members)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def check_agreement(folder: Path, cards: Mapping[str, ModelCard]) -> None:
    """Check that the members segment the same classes of the same kind of image.

    Their networks may differ.

    Raises
    ------
    ModelFolderError
        If they do not; the message names every setting that differs.
    """
    first, *others = cards
    facts = _facts(cards[first].config)
    different = [
        f"{name} has {key} {_text(value)}, {first} has {_text(facts[key])}"
        for name in others
        for key, value in _facts(cards[name].config).items()
        if value != facts[key]
    ]
    if different:
        raise ModelFolderError(
            f"{folder} is not an ensemble, because its models differ: {'; '.join(different[:5])}. "
            "Choose one of the models, or move those that do not belong together to other folders."
        )


def _facts(config: Config) -> dict[str, Any]:
    """Return the settings in which members must agree."""
    return {
        "model.classes": config.model.classes,
        "model.prompts": config.model.prompts,
        "model.distilled_steps": config.model.distilled_steps,
        "data.size": config.data.size,
        "data.fit": config.data.fit,
        "data.reading.channel": config.data.reading.channel,
    }


def _text(value: object) -> str:
    return "(" + ", ".join(map(str, value)) + ")" if isinstance(value, tuple) else str(value)


def _new_card(
    folder: Path, members: tuple[MemberInfo, ...], cards: Sequence[ModelCard]
) -> ModelCard:
    first = cards[0]
    name = folder.resolve().name
    fitted = {"threshold": None, "noise_scale": None}
    config = first.config.model_copy(
        update={
            "data": first.config.data.model_copy(update={"fold": None}),
            "sampling": first.config.sampling.model_copy(update=fitted),
        }
    )
    licences = {card.licence for card in cards}
    dice = [card.metrics["val_dice"] for card in cards if "val_dice" in card.metrics]
    return ModelCard(
        id=model_id(name),
        title=f"{name} (ensemble of {len(cards)} models)"[:200],
        description=f"Samples are divided among {', '.join(card.id for card in cards)}.",
        created=max(card.created for card in cards),
        licence=first.licence if len(licences) == 1 else "",
        config=config,
        encoder=first.encoder,
        members=members,
        # An ensemble is not validated itself: use the mean of its members'.
        metrics={"val_dice": sum(dice) / len(dice)} if dice else {},
        weights=WeightsInfo(
            sha256=joint_sha256(members),
            size_bytes=sum(card.weights.size_bytes for card in cards),
            dtype=first.weights.dtype,
        ),
    )
