"""Autosave of annotations, so that a crash loses seconds of work at most.

Each image has a folder named by its signature. Each writer (a window in which the image is
annotated) keeps its three newest states there. A state is a TIFF of the labels and a JSON file
with the size and hash of the TIFF. Each is written under a temporary name and then renamed,
the JSON last: a TIFF without its JSON, or a JSON without its complete TIFF, does not count. Older
states are removed only after a newer one is complete, so one state survives any crash.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tifffile
from numpy.typing import NDArray
from pydantic import Field

from latentfm_core.annotation.fingerprint import compact
from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.annotation.reading import MAX_SIDECAR_BYTES, read_tiff
from latentfm_core.config import READING, ReadingConfig, Settings
from latentfm_core.config.explain import reason_of
from latentfm_core.errors import ImageError, LatentFMError, OutputError
from latentfm_core.files.atomic import atomic_path, write_text
from latentfm_core.files.untrusted import decoded_text, read_bounded
from latentfm_core.images.limits import check_bytes_of

logger = logging.getLogger(__name__)

_ELSE = "Choose another saved state, or start over."

ROTATIONS = 3
"""States kept per writer."""
WRITERS = 4
"""Number of most recent writers per image whose states are kept."""
DONE = "done"
DONE_KEPT = 50
"""Number of images whose last states stay in the folder ``done`` after an export."""
STALE_SECONDS = 600.0
"""Age above which a temporary file counts as left over from a killed process."""

_SIGNATURE = re.compile(r"[0-9a-f]{32}")
_STATE = re.compile(r"(\d{20})-([0-9a-f]{8})\.json")


class _Card(Settings):
    """The JSON file of a state."""

    schema_version: Literal[1] = 1
    tiff_bytes: Annotated[int, Field(ge=1)]
    tiff_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    annotation: AnnotationSidecar


@dataclass(frozen=True)
class Autosaved:
    """One saved state.

    Attributes
    ----------
    info
        Provenance so far; `info.created` is the time of the save.
    """

    file: Path
    writer: str
    info: AnnotationSidecar
    tiff_bytes: int
    tiff_digest: str

    def labels(self, limits: ReadingConfig = READING) -> NDArray[Any]:
        """Read the labels.

        Raises
        ------
        ImageError
            If the file is damaged, or larger than `limits` allow.
        """
        try:
            if self.file.stat().st_size != self.tiff_bytes:
                raise ImageError(f"{self.file} is truncated. {_ELSE}")
            check_bytes_of(self.file.name, self.tiff_bytes, limits)
            content = read_bounded(self.file, self.tiff_bytes)
            if _digest(content) != self.tiff_digest:
                raise ImageError(f"{self.file} is damaged. {_ELSE}")
            labels = compact(read_tiff(io.BytesIO(content), str(self.file), limits))
            return labels.reshape(self.info.shape)
        except LatentFMError:
            raise
        except Exception as error:
            raise ImageError(f"{self.file} cannot be read ({error}). {_ELSE}") from error


class AutosaveStore:
    """States of unfinished annotations in one folder, found by the signature of the image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self, signature: str, labels: NDArray[Any], info: AnnotationSidecar, writer: str = "0" * 8
    ) -> Autosaved:
        """Save a state, and remove all but the three newest of this writer.

        Parameters
        ----------
        signature
            `image_signature` of the image.
        labels
            Integers of the shape of `info`.
        writer
            Eight hexadecimal digits that identify this window.

        Raises
        ------
        OutputError
            If the state cannot be written; older states are kept.
        """
        folder = self._folder(signature)
        if not re.fullmatch(r"[0-9a-f]{8}", writer):
            raise OutputError(f"{writer!r} is not a valid writer name.")
        values = compact(labels).reshape(info.shape)
        content = _to_tiff(values)
        stem = f"{self._next(folder):020d}-{writer}"
        tiff, card = folder / f"{stem}.tif", folder / f"{stem}.json"
        with atomic_path(tiff) as temporary:
            temporary.write_bytes(content)
        kept = _Card(tiff_bytes=len(content), tiff_digest=_digest(content), annotation=info)
        write_text(card, kept.model_dump_json())
        self._prune(folder)
        return Autosaved(tiff, writer, info, kept.tiff_bytes, kept.tiff_digest)

    def history(self, signature: str) -> tuple[Autosaved, ...]:
        """Return the states of an image that have a readable JSON file, newest first."""
        found = [_read_state(file) for file in _cards(self._folder(signature))]
        return tuple(state for state in found if state is not None)

    def newest(self, signature: str, limits: ReadingConfig = READING) -> Autosaved | None:
        """Return the newest state whose labels can be read; damaged ones are skipped."""
        for state in self.history(signature):
            try:
                state.labels(limits)
            except ImageError as error:
                logger.warning("%s Using an older state.", error)
            else:
                return state
        return None

    def images(self) -> frozenset[str]:
        """Return the file names of the images that have a saved state."""
        try:
            folders = [entry for entry in self.folder.iterdir() if _SIGNATURE.fullmatch(entry.name)]
        except OSError:
            return frozenset()
        newest = (next(iter(self.history(folder.name)), None) for folder in folders)
        return frozenset(state.info.image for state in newest if state is not None)

    def discard(self, signature: str, keep: str = "") -> None:
        """Remove all states of an image except those of the writer `keep`."""
        folder = self._folder(signature)
        for card in _cards(folder):
            if not keep or not card.stem.endswith(f"-{keep}"):
                _remove(card, card.with_suffix(".tif"))
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)

    def finish(self, signature: str) -> None:
        """Archive the states of an image after an export, so that they are no longer offered.

        Raises
        ------
        OutputError
            If they cannot be moved.
        """
        folder = self._folder(signature)
        if not folder.is_dir():
            return
        done = self.folder / DONE
        try:
            done.mkdir(parents=True, exist_ok=True)
            # A single rename moves either all states or none.
            folder.rename(done / f"{time.time_ns():020d}-{signature}")
        except OSError as error:
            raise OutputError(
                f"Cannot move the saved states of an exported annotation to {done}: "
                f"{error.strerror or error}. They will be offered again."
            ) from error
        for old in sorted(done.iterdir())[:-DONE_KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def _folder(self, signature: str) -> Path:
        if not _SIGNATURE.fullmatch(signature):
            raise OutputError(f"{signature!r} is not an image signature.")
        return self.folder / signature

    def _next(self, folder: Path) -> int:
        # Names sort by time even if the clock was set back.
        newest = max((int(card.name[:20]) for card in _cards(folder)), default=0)
        return max(time.time_ns(), newest + 1)

    def _prune(self, folder: Path) -> None:
        by_writer: dict[str, list[Path]] = {}
        for card in _cards(folder):
            by_writer.setdefault(card.stem[-8:], []).append(card)
        for place, cards in enumerate(by_writer.values()):
            for card in cards[ROTATIONS if place < WRITERS else 0 :]:
                # A TIFF without its JSON file does not count, so the JSON goes first.
                _remove(card, card.with_suffix(".tif"))
        _remove_leftovers(folder)


def _to_tiff(values: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        values,
        photometric="minisblack",
        compression="zlib",
        compressionargs={"level": 1},
        bigtiff=values.nbytes > 2**31,
        metadata={"axes": "Q" * (values.ndim - 2) + "YX"},
    )
    return stream.getvalue()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _cards(folder: Path) -> list[Path]:
    """Return the JSON files of all states, newest first."""
    try:
        names = [name for name in os.listdir(folder) if _STATE.fullmatch(name)]
    except OSError:
        return []
    return [folder / name for name in sorted(names, reverse=True)]


def _read_state(file: Path) -> Autosaved | None:
    try:
        card = _Card.model_validate_json(decoded_text(read_bounded(file, MAX_SIDECAR_BYTES)))
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be read (%s). Using an older state.", file, reason_of(error))
        return None
    tiff = file.with_suffix(".tif")
    return Autosaved(tiff, file.stem[-8:], card.annotation, card.tiff_bytes, card.tiff_digest)


def _remove(*files: Path) -> None:
    for file in files:
        with contextlib.suppress(OSError):
            file.unlink()


def _remove_leftovers(folder: Path) -> None:
    """Remove leftovers of a killed process: temporary files and TIFFs without a JSON file."""
    limit = time.time() - STALE_SECONDS
    files: list[Path] = []
    with contextlib.suppress(OSError):  # another window may have moved the folder aside
        files = list(folder.iterdir())
    for file in files:
        orphan = file.suffix == ".tif" and not file.with_suffix(".json").exists()
        with contextlib.suppress(OSError):
            if (orphan or file.name.startswith(".")) and file.stat().st_mtime < limit:
                file.unlink()
