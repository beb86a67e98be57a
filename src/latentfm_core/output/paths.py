"""Names of result files, and checks of the output folder."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from latentfm_core.errors import OutputError
from latentfm_core.files.disk_errors import check_folder_exists, write_error
from latentfm_core.images.endings import image_name
from latentfm_core.names import comparable, is_there, shown, too_long

_NAMES_SHOWN = 10
_NOT_UTF8 = re.compile("[\ud800-\udfff]")


def printable(name: str) -> str:
    """Return `name` without bytes that are not UTF-8; JSON and CSV cannot store them."""
    return _NOT_UTF8.sub("_", name)


def output_names(images: Sequence[Path]) -> list[str]:
    """Return a unique result name for each image.

    It is the file name without extension. Where two images would share it (``a.png`` and
    ``a.jpg``; on many file systems ``A.png`` too), the extension is added: ``a_png`` and
    ``a_jpg``. Names do not depend on the order of the images.

    Raises
    ------
    OutputError
        If two names are still equal, as for files of the same name in two folders.
    """
    stems = [printable(image_name(path.name)) for path in images]
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
    """Return why result files cannot be created (name too long for the disk), or ""."""
    for path in files:
        reason = too_long(path)
        if reason:
            return (
                f"{shown(image)}: its result would be called {shown(path.name)}: {reason}. "
                "Rename the image."
            )
    return ""


def prepare_folder(folder: Path) -> None:
    """Create `folder` if missing, and check that files can be written there.

    Raises
    ------
    OutputError
        If they cannot.
    """
    _reject_unusable(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from None
    check_writable(folder)


def check_writable(folder: Path) -> None:
    """Check that files can be written to `folder`, without creating it.

    Raises
    ------
    OutputError
        If they cannot.
    """
    _reject_unusable(folder)
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    lost = [each for each in folder.absolute().parents if each.name == ".." and not each.exists()]
    if lost:
        raise OutputError(f"{shown(lost[0].parent)} does not exist. Create it, or correct --out.")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise write_error(folder, error) from None


def _reject_unusable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        check_folder_exists(folder)
    reject_broken_link(folder)


def reject_broken_link(path: Path) -> None:
    """Raise `OutputError` if ``--out`` is a link to a place that does not exist."""
    if path.is_symlink() and not path.exists():
        raise OutputError(
            f"{path} is a link to {path.readlink()}, which does not exist. Connect its drive, "
            "create that folder, or choose another --out."
        )


def reject_existing(
    files: Sequence[Path], go_on: str = "", *, incomplete: bool = False, replaceable: bool = True
) -> None:
    """Raise if one of `files` exists.

    Parameters
    ----------
    go_on
        The option that resumes the command after an interruption, if any.
    incomplete
        Whether that option was given, and did not take these files for finished results.
    replaceable
        Whether ``--overwrite`` may be used.

    Raises
    ------
    OutputError
        The message names the first ten of them.
    """
    existing = [shown(path) for path in files if is_there(path)]
    if existing:
        more = len(existing) - _NAMES_SHOWN
        listed = ", ".join(existing[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
        if incomplete:
            advice = "replace all results with --overwrite"
            advice = advice if replaceable else "choose another --out"
            raise OutputError(
                f"These results are incomplete or changed, so --skip-done cannot keep them: "
                f"{listed}. Move them away to compute them again, or {advice}."
            )
        raise OutputError(
            f"These results already exist: {listed}. Choose another --out, or replace them "
            f"with --overwrite{f', or keep them and continue with {go_on}' if go_on else ''}."
        )
