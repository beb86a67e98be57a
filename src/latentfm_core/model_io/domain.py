"""Store the training domain of a model in a small file next to its weights.

It is a separate file, not a part of the card: reading a card stays cheap, and a model without it
is still complete.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from latentfm_core.config import PositiveInt, Settings
from latentfm_core.errors import ModelFolderError
from latentfm_core.files.atomic import atomic_path
from latentfm_core.model_io.card import ModelCard
from latentfm_core.model_io.file_names import DOMAIN
from latentfm_core.models.pyramid import STRIDES
from latentfm_core.uncertainty.domain import TrainingDomain

TENSORS = ("means", "factor")
MAX_BYTES = 8_000_000
"""Larger than the covariance of the widest condition encoder."""

logger = logging.getLogger(__name__)


class DomainInfo(Settings):
    """The header of the file.

    Attributes
    ----------
    weights_sha256
        Of the weights whose features were used; the file is not valid for others.
    limit, size, n_train, n_val
        As in `TrainingDomain`.
    """

    format_version: Literal[1] = 1
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    limit: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    size: PositiveInt
    n_train: PositiveInt
    n_val: PositiveInt


def write_domain(folder: Path, domain: TrainingDomain, weights_sha256: str) -> None:
    """Write or replace the domain of a model folder.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    info = DomainInfo(
        weights_sha256=weights_sha256,
        limit=domain.limit,
        size=domain.size,
        n_train=domain.n_train,
        n_val=domain.n_val,
    )
    tensors: dict[str, np.ndarray] = {
        "means": domain.means,
        "factor": domain.factor.astype(np.float16),
    }
    with atomic_path(folder / DOMAIN) as temporary:
        save_file(tensors, temporary, {"domain": info.model_dump_json()})


def read_domain(folder: Path, card: ModelCard) -> TrainingDomain | None:
    """Read the domain of a model folder.

    None if missing, or made for weights other than those of `card`, which is logged as a warning.

    Raises
    ------
    ModelFolderError
        If the file is damaged.
    """
    path = folder / DOMAIN
    if not path.is_file():
        return None
    try:
        info, tensors = _read(path)
        _check(tensors, _channels(card))
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelFolderError(
            f"{path} is damaged or does not fit the model ({_reason(error)}). Copy the folder "
            "of the model again, or remove the file: the model then cannot detect images "
            "unlike its training images."
        ) from None
    if info.weights_sha256 != card.weights_sha256:
        logger.warning(
            "%s was made for other weights and is not used. Make it again: latentfm-calibrate "
            "--domain-only",
            path,
        )
        return None
    return TrainingDomain(
        tensors["means"], tensors["factor"], info.limit, info.size, info.n_train, info.n_val
    )


def _read(path: Path) -> tuple[DomainInfo, dict[str, np.ndarray]]:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
    with safe_open(path, framework="numpy") as stream:
        text = (stream.metadata() or {}).get("domain", "")
        tensors = {name: stream.get_tensor(name).astype(np.float32) for name in TENSORS}
    return DomainInfo.model_validate_json(text), tensors


def _check(tensors: dict[str, np.ndarray], channels: int) -> None:
    means, factor = tensors["means"], tensors["factor"]
    if factor.shape != (channels, channels) or means.shape != (max(1, len(means)), channels):
        raise ValueError(f"it is not for {channels} channels")
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name} contains NaN or infinite values")


def _channels(card: ModelCard) -> int:
    """Return the channels of the image features of a model at all strides."""
    model = card.config.model
    if model.condition == "frozen":
        return model.latent_channels
    return sum(model.condition_widths[STRIDES.index(model.downsample) :])


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "its header is not valid"
    return str(error)[:200]
