"""Model folders: ``model.safetensors`` and ``model.json``, never a pickle."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from latentfm_core.errors import ModelFolderError
from latentfm_core.files.atomic import atomic_path
from latentfm_core.files.regular import open_regular
from latentfm_core.model_io.card import (
    ModelCard,
    WeightsInfo,
    card_text,
    read_card,
    read_only_card,
    write_card,
)
from latentfm_core.model_io.file_names import CARD, WEIGHTS
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.tensor_names import FORMAT, stored_names

__all__ = [
    "CARD",
    "WEIGHTS",
    "StoredDtype",
    "file_sha256",
    "load_model",
    "read_card",
    "save_model",
    "write_card",
]

StoredDtype = Literal["float32", "float16", "bfloat16"]
STORED = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""Their names in the header of a safetensors file."""
MAX_HEADER_BYTES = 4_000_000
"""Larger than the header of any network here."""


def file_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def save_model(
    folder: Path, model: LatentFM, card: dict[str, Any], dtype: StoredDtype = "float16"
) -> ModelCard:
    """Write a model folder, and return its card.

    Parameters
    ----------
    folder
        Created if missing; an older model in it is replaced.
    model
        Its ``state_dict`` is stored with floating-point tensors as `dtype`.
    card
        Fields of `ModelCard` without ``weights`` and ``config.model``, which come from the
        file and from the model.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    stored = {
        name: tensor.detach().to("cpu", getattr(torch, dtype)).contiguous()
        for name, tensor in model.state_dict().items()
    }
    with contextlib.ExitStack() as stack:
        # Both are written before either is renamed. Contexts end in reverse order: the card,
        # without which there is no model, is renamed last.
        text = stack.enter_context(atomic_path(folder / CARD))
        weights = stack.enter_context(atomic_path(folder / WEIGHTS))
        save_file(stored, weights)
        size = weights.stat().st_size
        info = WeightsInfo(sha256=file_sha256(weights), size_bytes=size, dtype=dtype)
        full = ModelCard.model_validate(
            {**card, "format_version": FORMAT, "weights": info.model_dump()}
        )
        text.write_text(card_text(full), encoding="utf-8")
    return full


def _check_size(path: Path, info: WeightsInfo, expected: Mapping[str, Tensor]) -> None:
    """Reject a file that cannot contain these tensors, before reading it."""
    itemsize = getattr(torch, info.dtype).itemsize
    tensors = sum(math.prod(tensor.shape) for tensor in expected.values()) * itemsize
    size = path.stat().st_size
    if size != info.size_bytes:
        raise ModelFolderError(_altered(path))
    if not tensors < size <= tensors + MAX_HEADER_BYTES:
        raise ModelFolderError(
            f"{path} does not fit the network that its card declares: that has {tensors:,} bytes "
            f"of weights, the file {size:,}. Use the card and weights that were written together."
        )


def _altered(path: Path) -> str:
    return (
        f"{path} is not the file that its card describes: it was altered or copied "
        "incompletely. Copy the model folder again."
    )


def _read_tensors(
    path: Path, info: WeightsInfo, expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Read tensors after checking names, shapes and format in the header."""
    kind = STORED[info.dtype]
    try:
        with safe_open(path, framework="pt") as stream:
            stored = stored_names(stream.keys())
            wrong = sorted(stored.keys() ^ expected.keys())
            for name in sorted(stored.keys() & expected.keys()):
                part = stream.get_slice(stored[name])
                if list(part.get_shape()) != list(expected[name].shape) or (
                    part.get_dtype() != kind
                ):
                    wrong.append(name)
            if wrong:
                raise ModelFolderError(
                    f"{path} does not fit the network that its card declares (for example "
                    f"{wrong[0][:100]}). Use the card and weights that were written together."
                )
            tensors = {
                name: stream.get_tensor(key).to(torch.float32) for name, key in stored.items()
            }
    except (SafetensorError, OSError) as error:
        raise ModelFolderError(
            f"{path} is not a readable safetensors file ({error}). Copy the model folder again."
        ) from None
    broken = [name for name in sorted(tensors) if not bool(torch.isfinite(tensors[name]).all())]
    if broken:
        raise ModelFolderError(
            f"{path} contains NaN or infinite weights (for example in {broken[0]}), and cannot "
            "segment images. Choose another model, or train it again."
        )
    return tensors


def load_model(folder: Path) -> tuple[LatentFM, ModelCard]:
    """Read a single model; weights are returned as float32 on the CPU, in evaluation mode.

    Raises
    ------
    ModelFolderError
        If files are missing, altered, foreign or do not fit each other, or `folder` is an
        ensemble.
    """
    card = read_only_card(folder)
    path = folder / WEIGHTS
    # On the meta device the network takes no memory until the file is known to fit.
    with torch.device("meta"):
        model = LatentFM(card.config.model)
    expected = model.state_dict()
    try:
        _check_size(path, card.weights, expected)
        if file_sha256(path) != card.weights.sha256:
            raise ModelFolderError(_altered(path))
    except OSError as error:
        raise ModelFolderError(
            f"Cannot read {path}: {error.strerror or error}. Check its permissions."
        ) from None
    tensors = _read_tensors(path, card.weights, expected)
    model = model.to_empty(device="cpu")
    model.load_state_dict(tensors)
    return model.eval(), card
