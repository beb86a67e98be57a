"""Files with the tensor names of model format 1."""

from __future__ import annotations

import re
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

OLD = {
    "time_embedding": "time",
    "step_embedding": "step",
    "conv_in": "enter",
    "condition_proj": "project",
    "downsample": "shrink",
    "upsample": "raise_",
    "conv_out": "leave",
}
_CURRENT = re.compile(r"^(model\.)?(velocity|few_step_velocity)\.(\w+)\.")


def _old(match: re.Match[str]) -> str:
    prefix, network, layer = match.groups(default="")
    network = "fast" if network == "few_step_velocity" else network
    return f"{prefix}{network}.{OLD.get(layer, layer)}."


def rename_as_format_1(path: Path) -> int:
    """Rename the tensors of a file as in format 1; return the number of changes."""
    with safe_open(path, "pt") as stream:
        header = stream.metadata()
    tensors = load_file(path)
    renamed = {_CURRENT.sub(_old, name): tensor for name, tensor in tensors.items()}
    save_file(renamed, path, header)
    return len(renamed.keys() - tensors.keys())
