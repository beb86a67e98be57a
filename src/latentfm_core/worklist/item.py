"""State of one image of a work list, and its form in the file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from latentfm_core.config import Fraction, Settings
from latentfm_core.names import is_path, shown

State = Literal["not started", "in progress", "completed", "flagged"]
"""State as stored in the file; windows and messages call "completed" done."""

MAX_IMAGES = 100_000

MAX_NOTE = 2000

MAX_NAME = 2000
"""Maximum length of a name; each byte that is not UTF-8 is escaped by six letters."""

FORMER_NAMES = {"doubt": "uncertainty", "doubt_of": "measured_with"}
"""Names of fields in files of earlier versions."""


class Item(Settings):
    """State of one image.

    Attributes
    ----------
    uncertainty
        1 - expected Dice (`latentfm_core.worklist.order.uncertainty_of`); None if not measured.
    measured_with
        Model, settings and file that the uncertainty was measured with.
    updated
        Date and time of the last change, UTC, ISO 8601.
    note
        Free text of the user, such as why it was flagged.
    error
        Why it could not be read when it was last tried; empty if it could.
    file
        File name of its annotation; empty until there is one.
    empty
        Whether it is done as an image with nothing to mark.
    flag
        Whether it was flagged when it was accepted, or since.
    """

    state: State = "not started"
    seconds: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] = 0.0
    uncertainty: Fraction | None = None
    measured_with: Annotated[str, Field(max_length=200)] = ""
    updated: Annotated[str, Field(max_length=60)] = ""
    note: Annotated[str, Field(max_length=MAX_NOTE)] = ""
    error: Annotated[str, Field(max_length=MAX_NOTE)] = ""
    file: Annotated[str, Field(max_length=255)] = ""
    empty: bool = False
    flag: bool = False

    @model_validator(mode="before")
    @classmethod
    def _read_former_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {FORMER_NAMES.get(name, name): value for name, value in values.items()}

    @property
    def flagged(self) -> bool:
        """Whether someone should look at the image, done or not."""
        return self.flag or self.state == "flagged"

    @field_validator("file")
    @classmethod
    def _inside(cls, value: str) -> str:
        if value and not check_name(value).lower().endswith(".tif"):
            raise ValueError("annotations are kept as TIFF (.tif)")
        return value


class StoredList(Settings):
    """Content of the file of a work list."""

    schema_version: Literal[1] = 1
    kind: Literal["worklist"] = "worklist"
    images: Annotated[dict[str, Item], Field(max_length=MAX_IMAGES)] = {}

    @field_validator("images")
    @classmethod
    def _names(cls, value: dict[str, Item]) -> dict[str, Item]:
        for name in value:
            check_name(name)
        return value


def check_name(name: str) -> str:
    """Return `name` if it names a file directly inside a folder.

    Raises
    ------
    ValueError
        If it is empty, ``.`` or ``..``, too long, or contains a folder or a drive.
    """
    if len(name) > MAX_NAME or is_path(name):
        raise ValueError(f"{shown(name)!r} is not a name of a file inside the folder")
    return name
