"""What is wrong with a disk or folder, told to people: what it is, and what to do."""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
from pathlib import Path

from latentfm_core.errors import OutputError

FULL = {errno.ENOSPC}
LIMITED = {errno.EDQUOT, errno.EFBIG}
READ_ONLY = {errno.EROFS}
FORBIDDEN = {errno.EACCES, errno.EPERM}
GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EIO}

ALMOST_NOTHING = 2**20
"""A disk with fewer bytes left is taken to be full where the error itself does not say why."""

_TOLD = re.compile(r"os error (\d+)")


def write_error(path: Path, error: BaseException) -> OutputError:
    """Return the error that tells why `path` cannot be written, and what to do about it.

    Parameters
    ----------
    path
        The file or folder that was to be written.
    error
        What a library raised. safetensors tells the number of the operating system's error in
        its text only, NumPy none at all; then the space that is left decides.
    """
    number = getattr(error, "errno", None) or _number_in(str(error))
    if number is None and free_space(path) < ALMOST_NOTHING:
        number = errno.ENOSPC
    reason, advice = _explained(path, number)
    told = reason or getattr(error, "strerror", None) or str(error) or type(error).__name__
    return OutputError(f"Cannot write {path}: {told}. {advice}")


def free_space(path: Path) -> float:
    """Return the bytes that are free where `path` lies or would lie; infinite if unknown."""
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):
            return float(shutil.disk_usage(folder).free)
    return float("inf")


def check_still_there(folder: Path) -> None:
    """Make sure that a folder in use has not vanished, before something is written there.

    Else it would be made anew, perhaps on another disk below the place where a drive was.

    Raises
    ------
    OutputError
        If it has.
    """
    if not folder.is_dir():
        raise OutputError(
            f"Cannot write to {folder}: the folder is gone. It was removed or renamed, or its "
            "drive or network is no longer connected. Bring it back, or choose another folder."
        )


def _number_in(text: str) -> int | None:
    found = _TOLD.search(text)
    return None if found is None else int(found.group(1))


def _explained(path: Path, number: int | None) -> tuple[str, str]:
    another = "choose another folder"
    if number in FULL:
        free = free_space(path)
        left = "" if free == float("inf") else f" ({free / 1e6:,.1f} MB are free)"
        return f"the disk is full{left}", f"Make free space there, or {another}."
    if number in LIMITED:
        return "a quota or a limit for files is reached", f"Remove files there, or {another}."
    if number in READ_ONLY:
        return "the disk or folder is read-only", f"Mount it for writing, or {another}."
    if number in FORBIDDEN:
        return "there is no permission to write there", f"Check the rights, or {another}."
    if number in GONE:
        reason = "the folder is gone, or its drive or network does not answer"
        return reason, f"Bring it back, or {another}."
    return "", f"Check free space and rights, or {another}."
