"""The model card: everything about a model but its weights, as validated JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from latentfm_core.config import Config, Settings

DISCLAIMER = "Research use only; not a medical device."

Text = Annotated[str, Field(max_length=20_000)]
ShortText = Annotated[str, Field(max_length=200)]


class WeightsInfo(Settings):
    """What the weights file must look like.

    Attributes
    ----------
    file
        Always ``model.safetensors``, beside the card.
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
    """Where the training data came from."""

    name: ShortText = ""
    source: Text = ""
    licence: Text = ""
    split: Text = ""
    n_train: Annotated[int, Field(ge=0)] = 0
    n_val: Annotated[int, Field(ge=0)] = 0
    n_test: Annotated[int, Field(ge=0)] = 0


class TrainingInfo(Settings):
    """How the weights were made."""

    command: Text = ""
    seed: int = 0
    seconds: float = 0.0
    device: ShortText = ""
    versions: dict[str, ShortText] = {}


class ModelCard(Settings):
    """Self-description of a model folder.

    Attributes
    ----------
    id
        Short name, unique among a user's models.
    config
        The full configuration; ``config.model`` and ``config.data`` decide the
        architecture and the preprocessing.
    metrics
        Measured figures by name; ``val_*`` were used for choices, ``test_*`` never.
    metrics_command
        The command that measured the test figures.
    """

    format_version: Literal[1] = 1
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    title: ShortText = ""
    description: Text = ""
    created: ShortText = ""
    licence: Text = ""
    intended_use: Text = DISCLAIMER
    config: Config
    data: DataInfo = DataInfo()
    training: TrainingInfo = TrainingInfo()
    metrics: dict[str, float] = {}
    metrics_command: Text = ""
    weights: WeightsInfo

    @property
    def weights_sha256(self) -> str:
        """Hex SHA-256 of the weights file."""
        return self.weights.sha256
