"""Writes that either happen wholly or leave what was there before."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from latentfm_core.errors import OutputError
from latentfm_core.files.disk_errors import write_error
from latentfm_core.files.temporary import held, new_file, new_folder, old_name, remove_dead_once

__all__ = ["atomic_folder", "atomic_path", "write_text"]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _told_to_users(final: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        # safetensors has an exception of its own, also for a full disk.
        raise write_error(final, error) from error


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Give a temporary path beside `final` to write to; it takes that name on success.

    The temporary file keeps the suffix of `final`, because image writers choose the
    format by it. After a failure, `final` is as it was and the temporary file is gone. What a
    killed process leaves is removed by the next one that writes into the folder.

    Raises
    ------
    OutputError
        If the folder cannot be made or written (missing rights, full disk).
    """
    with _told_to_users(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        remove_dead_once(final.parent)
        with new_file(final) as temporary:
            try:
                yield temporary
                # Parts, and what some writers make, are private; results are ordinary files.
                temporary.chmod(0o666 & ~_umask())
                _sync(temporary)
                os.replace(temporary, final)
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink()
                raise
        if os.name == "posix":
            _sync(final.parent)


@contextmanager
def atomic_folder(
    final: Path, *, overwrite: bool = False, outdated: Sequence[Path] = ()
) -> Iterator[Path]:
    """Give a temporary folder beside `final` to write into; it takes that name on success.

    After a failure, or when the work is given up, `final` is as it was and the temporary folder
    is gone. What a killed process leaves is removed by the next one that writes beside `final`.

    Parameters
    ----------
    final
        The folder.
    overwrite
        Whether an older one may be replaced.
    outdated
        Files that tell of the older one; removed when it is replaced, just before.

    Raises
    ------
    OutputError
        If it exists already and is not to be replaced, cannot be written, or the temporary
        folder vanished meanwhile.
    """
    if final.exists() and not overwrite:
        raise OutputError(f"{final} exists already. Choose another name, or have it replaced.")
    with _told_to_users(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        remove_dead_once(final.parent)
        with new_folder(final) as temporary:
            made = temporary.stat().st_ino
            try:
                yield temporary
                if temporary.stat().st_ino != made:
                    # Removed from outside, and made again by a writer: parts would be missing.
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
                temporary.chmod(0o777 & ~_umask())
                for path in outdated:
                    path.unlink(missing_ok=True)
                _take_place(temporary, final)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise


def _take_place(temporary: Path, final: Path) -> None:
    if not final.exists():
        temporary.rename(final)
        return
    # A folder with content cannot be renamed onto another. Killed in between, the older one
    # gets its name back by `remove_dead`.
    old = old_name(temporary, final)
    with held(final):
        final.rename(old)
        try:
            temporary.rename(final)
        except OSError:
            old.rename(final)
            raise
    if old.is_dir():
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.unlink(missing_ok=True)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def write_text(final: Path, text: str) -> None:
    """Write UTF-8 `text` to `final` atomically."""
    with atomic_path(final) as temporary:
        temporary.write_text(text, encoding="utf-8")
