"""Types of options that set one setting: they accept exactly what the setting accepts."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from latentfm_core.config.base import Settings
from latentfm_core.config.explain import explained


def type_of(kind: type[Settings], field: str) -> Callable[[str], object]:
    """Return an argparse type for a setting, so that errors name the option."""
    info = kind.model_fields[field]
    annotation: Any = info.annotation
    for bound in info.metadata:
        annotation = Annotated[annotation, bound]
    adapter: TypeAdapter[object] = TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))

    def parse(text: str) -> object:
        try:
            return adapter.validate_python(text)
        except ValidationError as error:
            reason = explained(error.errors()[0])
            raise argparse.ArgumentTypeError(f"{text!r} {reason}") from None

    return parse
