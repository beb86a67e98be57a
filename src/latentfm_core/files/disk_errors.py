"""Turn I/O errors into messages the user can act on."""

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
"""Below this many free bytes, a disk counts as full if the error gives no reason."""

_OS_ERROR = re.compile(r"os error (\d+)")


def write_error(path: Path, error: BaseException) -> OutputError:
    """Return the error for a failed write to `path`, with its reason and a remedy.

    Parameters
    ----------
    error
        Exception of a library. safetensors gives the operating system's error number only in
        its text, NumPy not at all; then free space decides.
    """
    number = getattr(error, "errno", None) or _number_in(str(error))
    if number is None and free_space(path) < ALMOST_NOTHING:
        number = errno.ENOSPC
    reason, advice = _explained(path, number)
    message = reason or getattr(error, "strerror", None) or str(error) or type(error).__name__
    return OutputError(f"Cannot write {path}: {message}. {advice}")


def free_space(path: Path) -> float:
    """Return the free bytes at `path`; infinite if unknown."""
    for folder in (path, *path.parents):
        with contextlib.suppress(OSError):
            return float(shutil.disk_usage(folder).free)
    return float("inf")


def check_still_there(folder: Path) -> None:
    """Raise `OutputError` if a folder in use does not exist any more.

    Otherwise it would be recreated, perhaps on another disk at the mount point of a drive.
    """
    if not folder.is_dir():
        raise OutputError(
            f"Cannot write to {folder}: the folder is gone. It was removed or renamed, or its "
            "drive or network is no longer connected. Restore it, or choose another folder."
        )


def check_folder_exists(folder: Path) -> None:
    """Check that a folder that the user chose exists, before anything is written there.

    Raises
    ------
    OutputError
        If it does not exist, perhaps never did, or is a file.
    """
    if folder.is_dir():
        return
    if folder.exists():
        raise OutputError(f"Cannot write to {folder}: it is not a folder. Choose another folder.")
    raise OutputError(
        f"Cannot write to {folder}: the folder does not exist. Create it, or choose another one."
    )


def _number_in(text: str) -> int | None:
    found = _OS_ERROR.search(text)
    return None if found is None else int(found.group(1))


def _explained(path: Path, number: int | None) -> tuple[str, str]:
    another = "choose another folder"
    if number in FULL:
        free = free_space(path)
        left = "" if free == float("inf") else f" ({free / 1e6:,.1f} MB are free)"
        return f"the disk is full{left}", f"Free some space there, or {another}."
    if number in LIMITED:
        return "a quota or file limit is reached", f"Remove files there, or {another}."
    if number in READ_ONLY:
        return "the disk or folder is read-only", f"Mount it for writing, or {another}."
    if number in FORBIDDEN:
        return "no permission to write there", f"Check its permissions, or {another}."
    if number in GONE:
        reason = "the folder is gone, or its drive or network does not answer"
        return reason, f"Restore it, or {another}."
    return "", f"Check free space and permissions, or {another}."
