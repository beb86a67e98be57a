"""State of a work list: a JSON file in the annotation folder."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager
from pathlib import Path

from latentfm_core.config import READING, ReadingConfig
from latentfm_core.datasets.pairs import UNFINISHED, WORK_LIST, WORK_LIST_BYTES
from latentfm_core.errors import ImageError, OutputError
from latentfm_core.files.atomic import write_text
from latentfm_core.files.disk_errors import check_still_there
from latentfm_core.files.locks import one_writer
from latentfm_core.files.untrusted import decoded_text, read_bounded
from latentfm_core.images.read import list_images
from latentfm_core.names import comparable, existing_form, shown, storable
from latentfm_core.output.paths import output_names, prepare_folder, printable
from latentfm_core.output.sidecar import now
from latentfm_core.worklist.item import MAX_NOTE, Item, StoredList, check_name

logger = logging.getLogger(__name__)


FILE_NAME = WORK_LIST
FOLDER_NAME = "latentfm_annotations"
"""Default output folder inside the folder of images."""
LOCK = ".latentfm-worklist.lock"
LOCK_SECONDS = 5.0
"""Seconds that a change waits for another process's write, which takes milliseconds."""


class WorkList:
    """The images of a folder and the state of each.

    Every change is written at once and atomically. Several windows or processes may work
    through one list: a change is applied to the current content of the file. The state of
    a missing image is kept in case it returns.

    Parameters
    ----------
    output
        Folder for annotations and state; None is ``latentfm_annotations`` below `folder`.
    limits
        Whether links out of the folders are followed.

    Attributes
    ----------
    warning
        Problem with the state file, or "".

    Raises
    ------
    DatasetError
        If there are no images.
    OutputError
        If the output folder cannot be used, or is redirected by a symbolic link that
        the user did not choose.
    """

    def __init__(
        self, folder: Path, output: Path | None = None, limits: ReadingConfig = READING
    ) -> None:
        self.folder = folder
        self._limits = limits
        self.output = folder / FOLDER_NAME if output is None else output
        if self.output.resolve() == folder.resolve():
            raise OutputError(
                "The annotations would be among the images and be mistaken for them. Choose "
                "another output folder."
            )
        self._reject_links(self.output / UNFINISHED, *((self.output,) if output is None else ()))
        self.warning = ""
        self._names: list[str] = []
        self.refresh()
        prepare_folder(self.output)
        self._read_at = file_version(self.file)
        self._items = self._read()

    def _reject_links(self, *folders: Path) -> None:
        """Reject subfolders of the chosen folders that are links to elsewhere."""
        for each in folders:
            if each.is_symlink() and not self._limits.follow_links:
                raise OutputError(
                    f"{each} is a link to another folder, and annotations would be written "
                    "there. Remove the link, or choose another output folder."
                )

    @property
    def file(self) -> Path:
        """The state file."""
        return self.output / FILE_NAME

    @property
    def names(self) -> list[str]:
        """File names of the existing images, sorted."""
        return list(self._names)

    def refresh(self) -> None:
        """Refresh the list of images.

        Raises
        ------
        DatasetError
            If there are none.
        """
        self._names = [path.name for path in list_images(self.folder, self._limits)]

    def path(self, name: str) -> Path:
        """Return the file of an image."""
        return self.folder / check_name(name)

    def item(self, name: str) -> Item:
        """Return the state of an image."""
        return self._items.get(storable(name), Item())

    def items(self) -> dict[str, Item]:
        """Return the states of all existing images."""
        return {name: self.item(name) for name in self._names}

    def check_exists(self) -> None:
        """Raise `OutputError` if the output folder has disappeared.

        It is not created again, perhaps on another disk below a drive's mount point.
        """
        check_still_there(self.output)

    def update(self, name: str, **changes: object) -> Item:
        """Change the state of an image, and write the file; long notes and errors are truncated.

        Raises
        ------
        OutputError
            If it cannot be written; the state is then as before.
        ValueError
            If a value is out of range.
        """
        check_name(name)
        for text in {"note", "error"} & changes.keys():
            changes[text] = printable(str(changes[text]))[:MAX_NOTE]
        self.check_exists()
        with one_change(self.output):
            items = {**self._items, **self._changed_elsewhere()}
            values = items.get(storable(name), Item()).model_dump() | changes | {"updated": now()}
            item = Item.model_validate(values)
            items[storable(name)] = item
            write_text(self.file, StoredList(images=items).model_dump_json(indent=1) + "\n")
            self._read_at = file_version(self.file)
        self._items = items
        return item

    def _changed_elsewhere(self) -> dict[str, Item]:
        """Return the items in the file if another window has written it since it was read."""
        if file_version(self.file) == self._read_at:
            return {}
        return self._read()

    def annotation(self, name: str) -> Path:
        """Return the path of the annotation of an image that is done."""
        return self.output / self._file_of(name)

    def unfinished(self, name: str) -> Path:
        """Return the path of the annotation of an image until it is done."""
        return self.output / UNFINISHED / self._file_of(name)

    def kept(self, name: str) -> Path | None:
        """Return the file to continue work on an image from, if any."""
        files = (self.unfinished(name), self.annotation(name))
        forms = [existing_form(path) for path in files]
        return next((p for p in forms if p.is_file() and self._may_read(p)), None)

    def _may_read(self, path: Path) -> bool:
        return self._limits.follow_links or not path.is_symlink()

    def _file_of(self, name: str) -> str:
        known = self.item(name).file
        if known:
            return known
        paths = [self.folder / each for each in sorted({*self._names, name})]
        stem = dict(zip((p.name for p in paths), output_names(paths), strict=True))[name]
        taken = {
            comparable(item.file).casefold()
            for other, item in self._items.items()
            if other != storable(name)
        }
        # A later image must not take the file of one annotated earlier.
        free = comparable(f"{stem}.tif").casefold() not in taken
        return f"{stem if free else printable(name)}.tif"

    def _read(self) -> dict[str, Item]:
        try:
            if not self.file.exists():
                return {}
            content = read_bounded(self.file, WORK_LIST_BYTES)
        except ValueError:
            content = b""
        except OSError as error:
            raise OutputError(
                f"{self.file} cannot be read: {error.strerror or error}. Check its permissions, or "
                "choose another output folder."
            ) from None
        try:
            stored = StoredList.model_validate_json(decoded_text(content)).images
            return {storable(name): item for name, item in stored.items()}
        except ValueError as error:
            logger.debug("%s is not valid", self.file, exc_info=error)
            self._set_aside()
            return {}

    def _set_aside(self) -> None:
        aside = set_aside(self.file)
        self.warning = (
            f"{self.file.name} was damaged and is kept as {aside.name}. The list starts again; "
            "saved annotations are still there."
        )
        logger.warning("%s", self.warning)


def one_change(output: Path) -> AbstractContextManager[None]:
    """Lock the files of a work list against other windows between reading and writing.

    Raises
    ------
    FolderBusy
        If another one holds the lock for several seconds.
    """
    again = "Try again when it has finished."
    return one_writer(output, "writing the work list in", again, LOCK, LOCK_SECONDS)


def file_version(file: Path) -> tuple[int, int, int] | None:
    """Return what changes when the file is replaced; None if there is none."""
    try:
        stored = file.stat()
    except OSError:
        return None
    return (stored.st_ino, stored.st_size, stored.st_mtime_ns)


def set_aside(file: Path) -> Path:
    """Rename a file that cannot be used so that it ends in ``.broken``; return the new path.

    Raises
    ------
    OutputError
        If it cannot be renamed.
    """
    aside = file.with_name(file.name + ".broken")
    count = 1
    while aside.exists():
        count += 1
        aside = file.with_name(f"{file.name}.{count}.broken")
    try:
        os.replace(file, aside)
    except OSError as error:
        raise OutputError(f"{file} cannot be renamed: {error.strerror or error}.") from None
    return aside


def existing_image(path: Path) -> Path:
    """Return the path of an existing image.

    Raises
    ------
    ImageError
        If it is missing.
    """
    if not path.is_file() and not path.is_symlink():  # a broken link is reported when it is read
        raise ImageError(
            f"{shown(path)}: the file is gone. Put it back, or continue with another image."
        )
    return path
