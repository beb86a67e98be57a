"""Base class of all settings, and shared names and bounds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SolverName = Literal["euler", "midpoint", "heun", "rk4"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
NUMBER_FORMATS: dict[Precision, str] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Full names, as in PyTorch, sidecars and reports; ``auto`` resolves to one of them."""
PositiveInt = Annotated[int, Field(ge=1, le=2**31 - 1)]
Blocks = Annotated[int, Field(ge=1, le=64)]
Width = Annotated[int, Field(ge=8, le=4096, multiple_of=8)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
ClassName = Annotated[str, Field(min_length=1, max_length=60)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]

LATENT_DOWNSAMPLE = (4, 8)
"""Supported latent down-sampling factors f."""

DEFAULT_MODEL = "isic2018"
"""Bundled model used, or listed first, by default."""


def default_first(models: Iterable[str]) -> list[str]:
    """Return model names sorted, with `DEFAULT_MODEL` first."""
    return sorted(models, key=lambda name: (name != DEFAULT_MODEL, name))


SAMPLE_SLIDER_MAX = 64
"""Maximum of the plugin's sample slider; the command line and Python accept more."""


class Settings(BaseModel):
    """Frozen base class; unknown keys are errors, so that a misspelt setting is never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
