"""Marks of objects that are not in an annotation yet, one file for each image."""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from latentfm_core.annotation.provenance import MAX_RUNS, PlaneIndex
from latentfm_core.config import Settings
from latentfm_core.config.explain import reason_of
from latentfm_core.errors import OutputError
from latentfm_core.files.atomic import make_folder, write_text
from latentfm_core.files.untrusted import decoded_text, read_bounded

logger = logging.getLogger(__name__)

MAX_BYTES = 16_000_000
KEPT = 500
"""Number of images whose marks are kept, those that were changed last."""

Number = Annotated[float, Field(allow_inf_nan=False)]
Points = Annotated[tuple[tuple[Number, Number], ...], Field(max_length=10_000)]
Runs = Annotated[tuple[tuple[int, int, int], ...], Field(max_length=MAX_RUNS)]
"""As in `latentfm_core.annotation.provenance.CorrectionInfo`."""


class MarkedObject(Settings):
    """The marks of one object on one plane, in pixels of the plane.

    Attributes
    ----------
    number
        Label that it would get.
    box
        Top, left, bottom and right.
    positive, negative
        Points, row and column.
    strokes, mask
        Painted pixels and a rough outline, as runs.
    """

    number: Annotated[int, Field(ge=1, le=255)]
    index: Annotated[PlaneIndex, Field(min_length=2, max_length=8)]
    box: tuple[Number, Number, Number, Number] | None = None
    positive: Points = ()
    negative: Points = ()
    strokes: Runs = ()
    mask: Runs = ()


class StoredMarks(Settings):
    """Content of a file of marks; `created` is the time of saving, UTC, ISO 8601."""

    schema_version: Literal[1] = 1
    kind: Literal["marks"] = "marks"
    created: Annotated[str, Field(max_length=60)] = ""
    objects: Annotated[tuple[MarkedObject, ...], Field(max_length=10_000)] = ()


class MarkStore:
    """Marks in one folder, found by the signature of the image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, signature: str, marks: StoredMarks) -> None:
        """Replace the marks of an image; without objects, remove them.

        Raises
        ------
        OutputError
            If they cannot be written; the older ones are kept.
        """
        file = self._file(signature)
        if not marks.objects:
            with contextlib.suppress(OSError):
                file.unlink()
            return
        make_folder(self.folder)
        write_text(file, marks.model_dump_json() + "\n")
        self._prune()

    def read(self, signature: str) -> StoredMarks | None:
        """Return the marks of an image; None without any, or if the file is damaged."""
        file = self._file(signature)
        try:
            return StoredMarks.model_validate_json(decoded_text(read_bounded(file, MAX_BYTES)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("%s cannot be read: %s", file, reason_of(error))
            return None

    def _file(self, signature: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{32}", signature):
            raise OutputError(f"{signature!r} is not an image signature.")
        return self.folder / f"{signature}.json"

    def _prune(self) -> None:
        with contextlib.suppress(OSError):
            files = sorted(self.folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
            for old in files[:-KEPT]:
                old.unlink()
