"""Atomic writes of files and folders."""

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


def _sync(path: Path, access: int) -> None:
    descriptor = os.open(path, access)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _as_output_error(final: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        # safetensors raises its own exception, also for a full disk.
        raise write_error(final, error) from error


def make_folder(folder: Path) -> None:
    """Create a folder and its parents if missing; of a link, the folder that it names."""
    Path(os.path.realpath(folder)).mkdir(parents=True, exist_ok=True)


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a temporary path next to `final`, renamed to `final` on success.

    The temporary file keeps the suffix of `final`, by which image writers choose the format.
    After a failure, `final` is unchanged and the temporary file is removed. Leftovers of a killed
    process are removed by the next one that writes into the folder.

    Raises
    ------
    OutputError
        If the folder cannot be created or written (permissions, full disk).
    """
    with _as_output_error(final):
        make_folder(final.parent)
        remove_dead_once(final.parent)
        with new_file(final) as temporary:
            try:
                yield temporary
                # Windows flushes only what is open for writing.
                _sync(temporary, os.O_RDWR)
                # Temporary files are private; results get ordinary permissions.
                temporary.chmod(0o666 & ~_umask())
                os.replace(temporary, final)
            except BaseException:
                with contextlib.suppress(OSError):
                    temporary.unlink()
                raise
        if os.name == "posix":
            _sync(final.parent, os.O_RDONLY)


@contextmanager
def atomic_folder(
    final: Path, *, overwrite: bool = False, outdated: Sequence[Path] = ()
) -> Iterator[Path]:
    """Yield a temporary folder next to `final`, renamed to `final` on success.

    After a failure or cancellation, `final` is unchanged and the temporary folder is removed.
    Leftovers of a killed process are removed by the next one that writes next to `final`.

    Parameters
    ----------
    outdated
        Files that describe the previous folder; removed just before it is replaced.

    Raises
    ------
    OutputError
        If it exists and `overwrite` is false, cannot be written, or the temporary folder
        vanished.
    """
    _reject_existing(final, overwrite)
    with _as_output_error(final):
        make_folder(final.parent)
        remove_dead_once(final.parent)
        with new_folder(final) as temporary:
            made = temporary.stat().st_ino
            try:
                yield temporary
                if temporary.stat().st_ino != made:
                    # Removed externally and recreated by a writer: files would be missing.
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
                # Another process may have made it meanwhile.
                _reject_existing(final, overwrite)
                temporary.chmod(0o777 & ~_umask())
                for path in outdated:
                    path.unlink(missing_ok=True)
                _take_place(temporary, final)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise


def _reject_existing(final: Path, overwrite: bool) -> None:
    if final.exists() and not overwrite:
        raise OutputError(f"{final} already exists. Choose another name, or replace it.")


def _take_place(temporary: Path, final: Path) -> None:
    if not final.exists():
        temporary.rename(final)
        return
    # A folder with content cannot be renamed onto another. After a kill in between,
    # `remove_dead` restores the previous one.
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
