"""Maps and file formats of a result."""

from __future__ import annotations

from typing import Literal

Kind = Literal["mean_mask", "samples", "variance", "confidence", "probability"]
Format = Literal["tiff", "png"]

DEFAULT_KINDS: tuple[Kind, ...] = ("mean_mask", "samples", "variance", "confidence")
