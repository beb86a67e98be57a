"""What the controls of several panels offer, without importing PyTorch."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from latentfm_core.config import SamplingConfig, default_first

FOLDER_CHOICE = "Folder…"


def bounds(name: str) -> tuple[int, int]:
    """Return the lowest and highest value that `SamplingConfig` takes for an integer."""
    limits = SamplingConfig.model_fields[name].metadata
    low = next(limit.ge for limit in limits if hasattr(limit, "ge"))
    high = next(limit.le for limit in limits if hasattr(limit, "le"))
    return low, high


def bundled_names() -> list[str]:
    """Return the models that ship with the plugin."""
    folder = Path(str(resources.files("napari_latentfm"))) / "models"
    return default_first(card.parent.name for card in folder.glob("*/model.json"))
