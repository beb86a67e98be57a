"""What the controls of several panels offer."""

from __future__ import annotations

from latentfm_core.config import SamplingConfig

FOLDER_CHOICE = "Folder…"


def bounds(name: str) -> tuple[int, int]:
    """Return the lowest and highest value that `SamplingConfig` takes for an integer."""
    limits = SamplingConfig.model_fields[name].metadata
    low = next(limit.ge for limit in limits if hasattr(limit, "ge"))
    high = next(limit.le for limit in limits if hasattr(limit, "le"))
    return low, high
