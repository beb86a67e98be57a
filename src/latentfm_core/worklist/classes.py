"""Label names of a work list, in a JSON file beside its state."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from latentfm_core.annotation.provenance import ClassNames
from latentfm_core.config import Settings
from latentfm_core.files.atomic import write_text
from latentfm_core.files.untrusted import decoded_text, read_bounded

logger = logging.getLogger(__name__)

FILE_NAME = "classes.json"
MAX_BYTES = 1_000_000


class _File(Settings):
    schema_version: Literal[1] = 1
    kind: Literal["classes"] = "classes"
    names: Annotated[ClassNames, Field(max_length=10_000)] = {}


def read_classes(output: Path) -> dict[int, str]:
    """Return the names by label in the output folder of a work list; empty without any."""
    try:
        text = decoded_text(read_bounded(output / FILE_NAME, MAX_BYTES))
        return dict(_File.model_validate_json(text).names)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be read: %s", output / FILE_NAME, error)
        return {}


def add_classes(output: Path, names: Mapping[int, str]) -> None:
    """Add names, or replace those of the same labels.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    known = read_classes(output)
    if any(known.get(label) != name for label, name in names.items()):
        file = _File(names=known | dict(names))
        write_text(output / FILE_NAME, file.model_dump_json(indent=1) + "\n")
