"""Signatures that identify this user's own training runs.

A checkpoint names the folders of its images and its cache. One of another user, or an altered one,
could make a resumed run read and write anywhere. A signature with a key in the user's own folder
distinguishes them.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
from pathlib import Path

from platformdirs import user_data_path

from latentfm_core.files.untrusted import read_bounded

logger = logging.getLogger(__name__)

HOME_VARIABLE = "NAPARI_LATENTFM_HOME"
"""Environment variable for another key folder."""
KEY = "run.key"
_BYTES = 32


def signature_of(facts: str) -> str:
    """Return the signature of `facts`; empty if no key can be stored."""
    key = _key(make=True)
    return "" if key is None else _signed(key, facts)


def is_own(facts: str, signature: str) -> bool:
    """Return whether this user has signed `facts`."""
    key = _key(make=False)
    return key is not None and hmac.compare_digest(_signed(key, facts), signature)


def _signed(key: bytes, facts: str) -> str:
    return hmac.new(key, facts.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _key(make: bool) -> bytes | None:
    chosen = os.environ.get(HOME_VARIABLE)
    folder = Path(chosen) if chosen else user_data_path("napari-latentfm", appauthor=False)
    path = folder / KEY
    try:
        if make and not path.exists():
            _make(path)
        key = read_bounded(path, _BYTES)
    except (OSError, ValueError) as error:
        logger.debug("no key for own runs: %s", error)
        return None
    return key if len(key) == _BYTES else None


def _make(path: Path) -> None:
    """Write a new key, unless another process was faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{KEY}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(_BYTES))
        os.close(descriptor)
        with contextlib.suppress(FileExistsError):
            _name(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _name(temporary: Path, path: Path) -> None:
    """Move the key into place without replacing an existing one."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(str(path)) from None
        temporary.rename(path)
