"""Names of a network's tensors, and their earlier names."""

from __future__ import annotations

import re
from collections.abc import Iterable

FORMAT = 2
"""Format of the names in `LatentFM.state_dict`; model cards record it."""

_NETWORKS = {"velocity": "velocity", "fast": "few_step_velocity"}
_LAYERS = {
    "time": "time_embedding",
    "step": "step_embedding",
    "enter": "conv_in",
    "project": "condition_proj",
    "shrink": "downsample",
    "raise_": "upsample",
    "leave": "conv_out",
}
_FORMAT_1 = re.compile(rf"({'|'.join(_NETWORKS)})\.(\w+)\.")


def current_name(name: str) -> str:
    """Return the current name of a tensor of format 1 or 2.

    Only the velocity networks were renamed. No name of one format means something else in the
    other, so that a current name is returned unchanged.

    Examples
    --------
    >>> current_name("fast.enter.weight")
    'few_step_velocity.conv_in.weight'
    """
    match = _FORMAT_1.match(name)
    if match is None:
        return name
    network, layer = match.groups()
    return f"{_NETWORKS[network]}.{_LAYERS.get(layer, layer)}.{name[match.end() :]}"


def stored_names(names: Iterable[str], prefix: str = "") -> dict[str, str]:
    """Return the stored names of tensors by current names; those after `prefix` are translated."""
    return {
        prefix + current_name(name.removeprefix(prefix)) if name.startswith(prefix) else name: name
        for name in names
    }
