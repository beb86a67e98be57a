"""Base class of all settings, and shared names and bounds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from latentfm_core.names import shown

_COLOUR = re.compile(r"#[0-9a-f]{6}")
BACKGROUND_COLOUR = "#000000"
"""Background in pictures and in files with a colour table."""


def _printable(name: str) -> str:
    """Return a class name, which appears in file names, layers and exports."""
    if not name.strip() or shown(name) != name:
        raise ValueError(
            f"a class needs a name without control characters, and not {shown(name)!r}"
        )
    return name


def _colour(text: str) -> str:
    """Return a colour in lower case."""
    colour = text.strip().lower()
    if not _COLOUR.fullmatch(colour):
        raise ValueError(
            f"{shown(text)!r} is not a colour. Write # and two hexadecimal digits each for red, "
            'green and blue, for example "#d55e00"'
        )
    if colour == BACKGROUND_COLOUR:
        raise ValueError(f"{colour} is the colour of the background. Choose another colour")
    if colour[1:3] == colour[3:5] == colour[5:7]:
        # A file that is black and this grey looks like one of grey levels.
        raise ValueError(
            f"{colour} is a grey, which in a PNG with a colour table would be read as a grey "
            "level and not as a class. Choose a colour that is not grey"
        )
    return colour


def _is_number(annotation: Any) -> bool:
    """Return whether a type is a number, perhaps bounded or optional, but not bool."""
    if get_origin(annotation) is Annotated:
        return _is_number(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return any(map(_is_number, get_args(annotation)))
    return annotation in (int, float)


SolverName = Literal["euler", "midpoint", "heun", "rk4"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
NUMBER_FORMATS: dict[Precision, str] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Full names, as in PyTorch, sidecars and reports; ``auto`` resolves to one of them."""
PositiveInt = Annotated[int, Field(ge=1, le=2**31 - 1)]
Blocks = Annotated[int, Field(ge=1, le=64)]
Width = Annotated[int, Field(ge=8, le=4096, multiple_of=8)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
ClassName = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_printable)]
Colour = Annotated[str, Field(max_length=60), AfterValidator(_colour)]
"""``#rrggbb``, not grey."""
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]

LATENT_DOWNSAMPLE = (4, 8)
"""Supported latent down-sampling factors f."""

DEFAULT_MODEL = "isic2018"
"""Bundled model used, or listed first, by default."""

ANY_OBJECT_MODEL = "generalist"
"""The bundled model for any object in any kind of image, marked by a prompt."""


def default_first(models: Iterable[str]) -> list[str]:
    """Return model names sorted, with `DEFAULT_MODEL` first."""
    return sorted(models, key=lambda name: (name != DEFAULT_MODEL, name))


SAMPLE_SLIDER_MAX = 64
"""Maximum of the plugin's sample slider; the command line and Python accept more."""


class Settings(BaseModel):
    """Frozen base class; unknown keys are errors, so that a misspelt setting is never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _bool_as_text(cls, values: Any) -> Any:
        """Turn true and false into text where a number is expected: pydantic reads them as 1 and 0.

        The text is then refused with the name of the setting.
        """
        if not isinstance(values, dict):
            return values
        fields = cls.model_fields
        return {
            name: str(value).lower()
            if isinstance(value, bool) and name in fields and _is_number(fields[name].annotation)
            else value
            for name, value in values.items()
        }
