"""Label names of a work list, in a JSON file next to its state."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from latentfm_core.annotation.provenance import ClassNames
from latentfm_core.config import Settings
from latentfm_core.datasets.label_names import FILE_NAME
from latentfm_core.files.atomic import write_text
from latentfm_core.files.untrusted import decoded_text, read_bounded
from latentfm_core.worklist.state import one_change, set_aside

logger = logging.getLogger(__name__)

MAX_BYTES = 1_000_000


class _File(Settings):
    schema_version: Literal[1] = 1
    kind: Literal["classes"] = "classes"
    names: Annotated[ClassNames, Field(max_length=10_000)] = {}


def read_classes(output: Path) -> dict[int, str]:
    """Return the names by label in the output folder of a work list; empty without any."""
    try:
        return _read(output)
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be read: %s", output / FILE_NAME, error)
        return {}


def add_classes(output: Path, names: Mapping[int, str]) -> None:
    """Add names, or replace those of the same labels.

    A file that cannot be read is kept under another name. Several windows may add names.

    Raises
    ------
    FolderBusy
        If another window writes for several seconds.
    OutputError
        If the file cannot be written.
    """
    if names.items() <= read_classes(output).items():
        return
    with one_change(output):
        try:
            known = _read(output)
        except (OSError, ValueError):
            known = {}
            set_aside(output / FILE_NAME)
        file = _File(names=known | dict(names))
        write_text(output / FILE_NAME, file.model_dump_json(indent=1) + "\n")


def _read(output: Path) -> dict[int, str]:
    try:
        text = decoded_text(read_bounded(output / FILE_NAME, MAX_BYTES))
    except FileNotFoundError:
        return {}
    return dict(_File.model_validate_json(text).names)
