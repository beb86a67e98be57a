"""The adapted model of a work list and its training record, on disk."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from latentfm_core.adaptation.comparison import HeldOutTest
from latentfm_core.config import Settings
from latentfm_core.config.explain import reason_of
from latentfm_core.errors import ModelFolderError, OutputError
from latentfm_core.files.atomic import atomic_folder, write_text
from latentfm_core.files.disk_errors import check_still_there
from latentfm_core.files.locks import one_writer
from latentfm_core.files.untrusted import decoded_text, read_bounded
from latentfm_core.model_io.card import read_only_card
from latentfm_core.model_io.file_names import CARD

logger = logging.getLogger(__name__)

FOLDER = "adaptation"
"""Subfolder of the output folder of a work list."""
RECORD = "adaptation.json"
KEPT_VERSIONS = 3
"""Model folders kept: samples of an open image may still need those of an older one."""
MAX_BYTES = 16_000_000
MAX_IMAGES = 100_000

_NAME = re.compile(r"model-(\d{1,9})")

ShortText = Annotated[str, Field(max_length=2000)]


class LearnedImage(Settings):
    """An image that the adapted model has learned from.

    Attributes
    ----------
    name
        File name of the image.
    file
        File name of its accepted annotation.
    fingerprint
        Hash of its pixels (`latentfm_core.annotation.fingerprint`).
    labels
        Hash of the labels.
    """

    name: ShortText
    file: ShortText
    fingerprint: ShortText
    labels: ShortText


class AdaptationRecord(Settings):
    """State of the adaptation of a work list.

    Attributes
    ----------
    parent, parent_sha256
        Name and digest of the model that was adapted.
    images
        Images that it has learned from, oldest first.
    tests
        Tests on images before it learned from them, oldest first.
    version
        Number of the model folder, larger than those of all earlier ones; 0 without one.
    used
        Whether the adapted model is used (`latentfm_core.adaptation.comparison`).
    seconds
        Computing time so far.
    """

    schema_version: Literal[1] = 1
    kind: Literal["adaptation"] = "adaptation"
    parent: ShortText = ""
    parent_sha256: ShortText = ""
    images: Annotated[tuple[LearnedImage, ...], Field(max_length=MAX_IMAGES)] = ()
    tests: Annotated[tuple[HeldOutTest, ...], Field(max_length=MAX_IMAGES)] = ()
    version: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    used: bool = False
    seconds: Annotated[float, Field(ge=0)] = 0.0


class AdaptationFolder:
    """Adapted model and record of a work list.

    Parameters
    ----------
    output
        Output folder of the work list.

    Attributes
    ----------
    path
        The subfolder.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self.path = output / FOLDER

    def model(self, version: int) -> Path:
        """Return the folder of a version of the adapted model; it may be missing.

        Every version has its own, since samples may be drawn while the next one is written.
        """
        return self.path / f"model-{version}"

    def read(self) -> AdaptationRecord:
        """Return the record; empty if there is none, or it is damaged, which is logged."""
        file = self.path / RECORD
        try:
            return AdaptationRecord.model_validate_json(decoded_text(read_bounded(file, MAX_BYTES)))
        except FileNotFoundError:
            return AdaptationRecord()
        except (OSError, ValueError) as error:
            logger.warning("%s cannot be read and is not used: %s", file, reason_of(error))
            return AdaptationRecord()

    def in_use(self, parent_sha256: str) -> Path | None:
        """Return the adapted model to use in place of a model, or None.

        Parameters
        ----------
        parent_sha256
            Digest of the weights of that model.
        """
        record = self.read()
        if not record.used or record.parent_sha256 != parent_sha256:
            return None
        try:
            parent = read_only_card(self.model(record.version)).parent
        except ModelFolderError as error:
            logger.warning("The adapted model cannot be used: %s", error)
            return None
        fits = parent is not None and parent.sha256 == parent_sha256
        return self.model(record.version) if fits else None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock of the folder, which is created, inside the block.

        Raises
        ------
        FolderBusy
            If another window adapts a model for the same list.
        OutputError
            If the output folder is gone or cannot be written to.
        """
        check_still_there(self._output)
        if self.path.is_symlink():
            raise OutputError(
                f"{self.path} is a link to another folder, and a model would be written there. "
                "Remove the link."
            )
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be created: {error.strerror or error}. Check permissions."
            ) from None
        with one_writer(
            self.path, "adapting a model in", "Adaptation continues there; close one of the two."
        ):
            yield

    def write(self, record: AdaptationRecord) -> None:
        """Write the record, and remove model folders that are older than the last few.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        check_still_there(self._output)
        write_text(self.path / RECORD, record.model_dump_json(indent=1) + "\n")
        for number, folder in self._versions():
            if number <= record.version - KEPT_VERSIONS:
                shutil.rmtree(folder, ignore_errors=True)

    def discard(self) -> None:
        """Remove the record and all versions of the adapted model.

        Raises
        ------
        OutputError
            If the record cannot be removed, without which no version is used.
        """
        try:
            (self.path / RECORD).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.path / RECORD} cannot be removed: {error.strerror or error}. Check "
                "permissions."
            ) from None
        for _, folder in self._versions():
            shutil.rmtree(folder, ignore_errors=True)

    def last_version(self) -> int:
        """Return the largest number of a model folder; 0 without one."""
        return max((number for number, _ in self._versions()), default=0)

    def _versions(self) -> list[tuple[int, Path]]:
        if not self.path.is_dir():
            return []
        matches = ((_NAME.fullmatch(each.name), each) for each in self.path.iterdir())
        return [(int(match[1]), each) for match, each in matches if match and each.is_dir()]


def keep_as_model(folder: AdaptationFolder, target: Path) -> None:
    """Copy the adapted model of a work list to a separate model folder.

    Parameters
    ----------
    folder
        Of the work list.
    target
        The new folder.

    Raises
    ------
    ModelFolderError
        If there is no adapted model.
    OutputError
        If `target` exists and is not empty, or cannot be written.
    """
    model = folder.model(folder.read().version)
    read_only_card(model)
    if target.exists() and any(target.iterdir() if target.is_dir() else [target]):
        raise OutputError(f"{target} already exists. Choose another name for the new model.")
    with atomic_folder(target, overwrite=target.is_dir()) as temporary:
        for file in sorted(model.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                shutil.copyfile(file, temporary / file.name)
        if not (temporary / CARD).is_file():
            raise OutputError("The adapted model was removed while it was copied. Try again.")
