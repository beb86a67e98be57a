"""Writes that either happen wholly or leave what was there before."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentfm_core.errors import OutputError


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Give a temporary path beside `final` to write to; it takes that name on success.

    The temporary file keeps the suffix of `final`, because image writers choose the
    format by it. After a failure, `final` is as it was and the temporary file is gone.

    Raises
    ------
    OutputError
        If the folder cannot be made or written (missing rights, full disk).
    """
    temporary: Path | None = None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{final.stem}-", suffix=final.suffix, dir=final.parent
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp, and some writers, make private files; results are ordinary ones.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        _sync(temporary)
        os.replace(temporary, final)
        temporary = None
        if os.name == "posix":
            _sync(final.parent)
    except OSError as error:
        raise OutputError(
            f"Cannot write {final}: {error.strerror or error}. "
            "Check free space and rights, or choose another folder."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(final: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside `final` to write into; it takes that name on success.

    After a failure, or when the work is given up, `final` is as it was and the temporary folder
    is gone.

    Raises
    ------
    OutputError
        If it exists already and is not to be replaced, or cannot be written.
    """
    if final.exists() and not overwrite:
        raise OutputError(f"{final} exists already. Choose another name, or have it replaced.")
    temporary: Path | None = None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{final.stem}-"
        temporary = Path(tempfile.mkdtemp(prefix=prefix, suffix=final.suffix, dir=final.parent))
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        if final.exists():
            # A folder with content cannot be renamed onto another.
            old = temporary.with_name(f"{temporary.name}-old")
            final.rename(old)
            temporary.rename(final)
            _remove(old)
        else:
            temporary.rename(final)
        temporary = None
    except OSError as error:
        raise OutputError(
            f"Cannot write {final}: {error.strerror or error}. "
            "Check free space and rights, or choose another folder."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(final: Path) -> None:
    """Remove the temporary files that killed processes left beside `final`.

    No other process may be writing `final` meanwhile.
    """
    # mkstemp adds eight characters; more or fewer belong to another name.
    for path in final.parent.glob(f".{glob.escape(final.stem)}-{'?' * 8}{final.suffix}"):
        path.unlink(missing_ok=True)


def write_text(final: Path, text: str) -> None:
    """Write UTF-8 `text` to `final` atomically."""
    with atomic_path(final) as temporary:
        temporary.write_text(text, encoding="utf-8")
