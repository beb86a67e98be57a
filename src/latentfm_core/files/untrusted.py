"""Small text files from strangers: regular, of bounded size, parsed without surprises.

The parsers of the standard library raise `RecursionError` for deep nesting and accept numbers
that are none; here everything that is wrong is a `ValueError`.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, NoReturn

MAX_TOML_BYTES = 256_000
MAX_DOTS = 32
"""Dots in one key of a TOML file; tomllib takes time by the square of their number."""

_TOO_DEEP = "it is nested too deeply"
_BINARY = getattr(os, "O_BINARY", 0)
_NO_KEYS = re.compile(
    r"""#[^\n]*|\"{3}(?:\\.|[^\\])*?(?:\"{3}|\Z)|'{3}.*?(?:'{3}|\Z)"""
    r"""|"(?:\\.|[^"\\\n])*"?|'[^'\n]*'?""",
    re.DOTALL,
)
"""Comments and strings of a TOML file; without an end they go on, so that time is linear."""
_ENDS = re.compile(r"[=,\[\]{}\n]")


def read_bounded(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is larger, or no regular file (reading a pipe would wait for ever).
    """
    # Without O_NONBLOCK, opening a pipe waits for a writer; Windows has neither.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no regular file")
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it is larger than {limit:,} bytes")
    return content


def read_start(path: Path, count: int) -> bytes:
    """Return the first `count` bytes of a file, or all if it is shorter.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as stream:
        return stream.read(count)


class BoundedReader(io.BufferedReader):
    """A binary file that never takes more memory for reading than it is large.

    Python reserves what a caller asks for before it looks how much there is, and decoders ask
    for whatever a damaged header says.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = os.fstat(super().fileno()).st_size
        self._path = path

    def __repr__(self) -> str:
        # Decoders put it into their messages.
        return repr(str(self._path))

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes; None and negative numbers mean all."""
        if size is not None and size > 0:
            size = max(0, min(size, self._size - self.tell()))
        return super().read(size)


def decoded_text(content: bytes | str) -> str:
    """Return a text file as text: UTF-8, or UTF-16 if a byte order mark says so, without the mark.

    Editors and shells of Windows write such marks.

    Raises
    ------
    ValueError
        If it is not in this encoding.
    """
    if isinstance(content, bytes):
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        content = content.decode("utf-16" if wide else "utf-8")
    return content.removeprefix("\ufeff")


def parse_json(content: bytes | str, *, finite: bool = True) -> Any:
    """Return the value of a JSON text.

    Parameters
    ----------
    finite
        Refuse ``NaN`` and ``Infinity``, which are no JSON but which Python writes.

    Raises
    ------
    ValueError
        If it is no JSON, nested too deeply, or holds a number of thousands of digits.
    """
    text = decoded_text(content)
    try:
        return json.loads(text, parse_constant=_refuse if finite else None)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def parse_toml(content: bytes | str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises
    ------
    ValueError
        If it is no TOML, or nested too deeply.
    """
    text = decoded_text(content)
    if any(part.count(".") > MAX_DOTS for part in _ENDS.split(_NO_KEYS.sub("", text))):
        raise ValueError(_TOO_DEEP)
    try:
        # Not only line ends of this system: as `tomllib.load` reads them.
        return tomllib.loads(text.replace("\r\n", "\n"))
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
