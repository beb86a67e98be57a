"""What the files of a result are called, and whether the place for them is free."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from latentfm_core.errors import OutputError
from latentfm_core.files.disk_errors import write_error
from latentfm_core.names import comparable, is_there, shown, too_long

_NAMES_SHOWN = 10
_NOT_UTF8 = re.compile("[\ud800-\udfff]")


def printable(name: str) -> str:
    """Return `name` without the bytes that are no UTF-8; JSON and CSV cannot hold them."""
    return _NOT_UTF8.sub("_", name)


def output_names(images: Sequence[Path]) -> list[str]:
    """Return one name for the results of each image, all different.

    It is the file name without its ending. Where two images would share it (``a.png`` and
    ``a.jpg``; on many file systems ``A.png`` too), the ending joins the name: ``a_png`` and
    ``a_jpg``. Names do not depend on the order of the images.

    Raises
    ------
    OutputError
        If two names are still equal, as those of equally named files of two folders.
    """
    stems = [printable(path.stem) for path in images]
    used = Counter(comparable(stem).casefold() for stem in stems)
    names = [
        stem if used[comparable(stem).casefold()] == 1 else f"{stem}_{printable(path.suffix[1:])}"
        for stem, path in zip(stems, images, strict=True)
    ]
    taken: dict[str, Path] = {}
    for name, path in zip(names, images, strict=True):
        other = taken.setdefault(comparable(name).casefold(), path)
        if other is not path:
            raise OutputError(
                f"The results of {shown(other)} and {shown(path)} would have the same name. "
                "Give each its own --out, or rename one."
            )
    return names


def name_problem(image: Path, files: Iterable[Path]) -> str:
    """Return why the files of a result cannot be made, or "": a name is too long for the disk."""
    for path in files:
        reason = too_long(path)
        if reason:
            return (
                f"{shown(image)}: its result would be called {shown(path.name)}: {reason}. "
                "Rename the image."
            )
    return ""


def prepare_folder(folder: Path) -> None:
    """Make `folder` if it is missing, and make sure that files can be written there.

    Raises
    ------
    OutputError
        If that is not so.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise write_error(folder, error) from None


def check_writable(folder: Path) -> None:
    """Make sure that files can be written to `folder`, without making it if it is missing.

    Raises
    ------
    OutputError
        If that is not so.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise write_error(folder, error) from None


def refuse_existing(files: Sequence[Path], go_on: str = "") -> None:
    """Raise if one of `files` exists.

    Parameters
    ----------
    files
        Files that shall not exist.
    go_on
        The option with which the command goes on after an interruption, if it has one.

    Raises
    ------
    OutputError
        The message names the first ten of them.
    """
    found = [shown(path) for path in files if is_there(path)]
    if found:
        more = len(found) - _NAMES_SHOWN
        listed = ", ".join(found[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
        raise OutputError(
            f"These results exist already: {listed}. Choose another --out, or replace them "
            f"with --overwrite{f', or keep them and go on with {go_on}' if go_on else ''}."
        )
