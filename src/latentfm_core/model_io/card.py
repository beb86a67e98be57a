"""Model card: everything about a model except its weights, as validated JSON.

Reading one does not need PyTorch, so that the panel can show it immediately.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from latentfm_core.config import Config, Settings
from latentfm_core.errors import ModelFolderError
from latentfm_core.files.atomic import write_text
from latentfm_core.files.regular import other_kind
from latentfm_core.files.untrusted import decoded_text, read_bounded
from latentfm_core.model_io.file_names import CARD, ENSEMBLE, WEIGHTS
from latentfm_core.uncertainty.calibration import Calibration
from latentfm_core.vocabulary import PromptGroup

MAX_CARD_BYTES = 1_000_000

DISCLAIMER = "Research use only; not a medical device."

Text = Annotated[str, Field(max_length=20_000)]
ShortText = Annotated[str, Field(max_length=200)]
Figure = Annotated[float, Field(allow_inf_nan=True)]
"""A measured number; it may be missing."""


class WeightsInfo(Settings):
    """Description of the weights file.

    Attributes
    ----------
    file
        Always ``model.safetensors``, next to the card.
    sha256
        Hex digest of the file.
    size_bytes
        Size of the file.
    dtype
        Format in which the floating-point tensors are stored.
    """

    file: Literal["model.safetensors"] = "model.safetensors"
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=1)]
    dtype: Literal["float32", "float16", "bfloat16"]


class DataInfo(Settings):
    """Source of the training data."""

    name: ShortText = ""
    source: Text = ""
    licence: Text = ""
    split: Text = ""
    n_train: Annotated[int, Field(ge=0)] = 0
    n_val: Annotated[int, Field(ge=0)] = 0
    n_test: Annotated[int, Field(ge=0)] = 0


class TrainingInfo(Settings):
    """Training run of the weights.

    Attributes
    ----------
    command
        The commands that started and resumed the run, one per line.
    seed, seconds, device, versions
        Of the run; the seconds of all its parts.
    epochs
        Epochs that were trained, by the name of the stage; a run that ended early, by a time
        budget or with fewer epochs than before, has fewer than the settings say.
    """

    command: Text = ""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 0
    seconds: float = 0.0
    device: ShortText = ""
    versions: dict[ShortText, ShortText] = {}
    epochs: dict[ShortText, Annotated[float, Field(ge=0)]] = {}


class ParentInfo(Settings):
    """The model whose weights a fine-tuned one started from.

    Attributes
    ----------
    id, sha256
        Its name, and the hex digest of its weights.
    n_images
        Images that it was fine-tuned on, those held out not counted.
    """

    id: ShortText
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    n_images: Annotated[int, Field(ge=0)] = 0


class MemberInfo(Settings):
    """A model of an ensemble.

    Attributes
    ----------
    folder
        Its subfolder.
    id, sha256
        Its name, and the hex digest of its weights.
    """

    folder: Annotated[str, Field(pattern=r"^[^/\\\x00]{1,255}$")]
    id: ShortText
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ModelCard(Settings):
    """Description of a model folder.

    Attributes
    ----------
    format_version
        Format of the names of the weights (`latentfm_core.models.tensor_names`).
    id
        Short name, unique among a user's models.
    config
        The full configuration; ``config.model`` and ``config.data`` decide the
        architecture and the preprocessing.
    parent
        The model it was fine-tuned from, if any.
    distillation
        Training run of the few-step network, if separate.
    calibration
        Calibration fitted on validation data; None if not fitted.
    prompt_calibrations
        The same for prompted predictions, by kind of prompt.
    encoder
        Origin and licence of the weights of a pretrained condition encoder.
    metrics
        Measured figures by name; ``val_*`` were used for choices, ``test_*`` never.
    metrics_command
        The command that measured the test figures.
    members
        Of an ensemble, its models in the order in which they draw samples; else empty. The
        digest in ``weights`` is then that of the members' digests.
    """

    format_version: Literal[1, 2] = 2
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    title: ShortText = ""
    description: Text = ""
    created: ShortText = ""
    licence: Text = ""
    intended_use: Text = DISCLAIMER
    config: Config
    data: DataInfo = DataInfo()
    training: TrainingInfo = TrainingInfo()
    parent: ParentInfo | None = None
    distillation: TrainingInfo | None = None
    calibration: Calibration | None = None
    prompt_calibrations: dict[Literal["box", "point"], Calibration] = {}
    encoder: dict[ShortText, ShortText] = {}
    metrics: dict[ShortText, Figure] = {}
    metrics_command: Text = ""
    members: tuple[MemberInfo, ...] = ()
    weights: WeightsInfo

    @property
    def weights_sha256(self) -> str:
        """Hex SHA-256 of the weights file."""
        return self.weights.sha256

    def calibration_for(self, group: PromptGroup) -> Calibration | None:
        """Return the calibration for a kind of prompt, or None."""
        return self.calibration if group == "none" else self.prompt_calibrations.get(group)

    def calibration_digest(self, group: PromptGroup) -> str:
        """Return the digest of the calibration for a kind of prompt; empty without one."""
        calibration = self.calibration_for(group)
        return "" if calibration is None else calibration.digest()


def write_card(folder: Path, card: ModelCard) -> None:
    """Write or replace the card of a model folder, or of the folder of an ensemble.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    write_text(folder / (ENSEMBLE if card.members else CARD), card_text(card))


def card_text(card: ModelCard) -> str:
    """Return the contents of a card file."""
    content = card.model_dump(mode="json")
    model = content["config"]["model"]
    if not model["class_colours"]:
        # Older versions, which do not know it, can then read the card.
        del model["class_colours"]
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def read_card(folder: Path) -> ModelCard:
    """Read and validate the card of a model folder, or of a folder of models, an ensemble.

    Raises
    ------
    ModelFolderError
        If the folder or the card is missing, too large, or not a card of this version, or the
        models of an ensemble do not fit each other.
    """
    # Imported here: that module builds on this one.
    from latentfm_core.model_io.ensemble import joint_card, member_folders

    members = member_folders(folder)
    return joint_card(folder, members) if members else read_single_card(folder)


def read_only_card(folder: Path) -> ModelCard:
    """Read the card of a single model, and reject an ensemble with a message that says what to do.

    Raises
    ------
    ModelFolderError
        As `read_card` does, and for an ensemble.
    """
    card = read_card(folder)
    if card.members:
        raise ModelFolderError(
            f"{folder} is an ensemble of {len(card.members)} models, and this needs a single one. "
            f"Choose one of them, for example {folder / card.members[0].folder}."
        )
    return card


def read_single_card(folder: Path) -> ModelCard:
    """Read and validate the card of a single model.

    Raises
    ------
    ModelFolderError
        As `read_card` does.
    """
    if not folder.is_dir():
        kind = other_kind(folder) or ("a file" if folder.is_file() else "")
        if kind:
            raise ModelFolderError(f"{folder} is {kind}, not a model folder. Choose the folder.")
        raise ModelFolderError(f"The model folder {folder} does not exist. Check the path.")
    for name in (CARD, WEIGHTS):
        if kind := other_kind(folder / name):
            raise ModelFolderError(
                f"{folder}: {name} is {kind}, not a file. Copy the model folder again."
            )
    missing = [name for name in (CARD, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ModelFolderError(
            f"{folder} is not a complete model folder: {' and '.join(missing)} missing. "
            "Choose the folder that latentfm-train wrote, or copy it again."
        )
    return read_card_file(folder / CARD)


def read_card_file(path: Path) -> ModelCard:
    """Read and validate a card file.

    Raises
    ------
    ModelFolderError
        As `read_card` does.
    """
    try:
        return ModelCard.model_validate_json(decoded_text(read_bounded(path, MAX_CARD_BYTES)))
    except ValidationError as error:
        places = ", ".join(
            ".".join(map(str, item["loc"]))[:100] or item["msg"] for item in error.errors()[:5]
        )
        raise ModelFolderError(
            f"{path} is not a valid model card (see: {places}). "
            "It is damaged or comes from another version of napari-latentfm: copy the folder "
            "again, or update the program."
        ) from None
    except ValueError as error:
        raise ModelFolderError(f"{path} is not a model card: {error}. Copy it again.") from None
    except OSError as error:
        raise ModelFolderError(
            f"Cannot read {path}: {error.strerror or error}. Check its permissions."
        ) from None
