"""Read and parse small untrusted text files.

The parsers of the standard library raise `RecursionError` for deep nesting and accept NaN and
infinity; here every error is a `ValueError`.
"""

from __future__ import annotations

import codecs
import io
import json
import math
import os
import re
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from latentfm_core.files.regular import check_regular, open_regular

MAX_TOML_BYTES = 256_000
MAX_DOTS = 32
"""Maximum dots in one key of a TOML file; tomllib takes quadratic time."""

_TOO_DEEP = "it is nested too deeply"
_NO_KEYS = re.compile(
    r"""#[^\n]*|\"{3}(?:\\.|[^\\])*?(?:\"{3}|\Z)|'{3}.*?(?:'{3}|\Z)"""
    r"""|"(?:\\.|[^"\\\n])*"?|'[^'\n]*'?""",
    re.DOTALL,
)
"""Comments and strings of a TOML file; unterminated ones match to the end, for linear time."""
_ENDS = re.compile(r"[=,\[\]{}\n]")


def read_bounded(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises
    ------
    OSError
        If it cannot be read, or is a folder, pipe, socket or device.
    ValueError
        If it is larger.
    """
    with open_regular(path) as stream:
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
    with open_regular(path) as stream:
        return stream.read(count)


class BoundedReader(io.BufferedReader):
    """A binary file whose reads never allocate more memory than its size.

    Python allocates the requested size before checking how much there is, and decoders request
    the size in a damaged header.
    """

    def __init__(self, path: Path) -> None:
        check_regular(path)
        super().__init__(io.FileIO(path))
        self._size = os.fstat(super().fileno()).st_size
        self._path = path

    def __repr__(self) -> str:
        # Decoders include it in their messages.
        return repr(str(self._path))

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes; None and negative numbers mean all."""
        if size is not None and size > 0:
            size = max(0, min(size, self._size - self.tell()))
        return super().read(size)


def decoded_text(content: bytes | str) -> str:
    """Decode text as UTF-8, or UTF-16 with a byte order mark, and remove the mark.

    Windows editors and shells write such marks.

    Raises
    ------
    ValueError
        If it is not in this encoding.
    """
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line} is not in UTF-8; save it as UTF-8") from None


def parse_json(content: bytes | str, *, finite: bool = True) -> Any:
    """Return the value of a JSON text.

    Parameters
    ----------
    finite
        Reject ``NaN`` and ``Infinity``, which are not JSON but which Python writes, and numbers
        that overflow to infinity, such as ``1e999``.

    Raises
    ------
    ValueError
        If it is not JSON, nested too deeply, has a key twice, or a number of thousands of
        digits.
    """
    text = decoded_text(content)
    try:
        return json.loads(
            text,
            parse_constant=_reject if finite else None,
            parse_float=_finite if finite else None,
            object_pairs_hook=_once,
        )
    except json.JSONDecodeError as error:
        raise ValueError(_not_json(text, error.lineno, error.pos)) from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def _not_json(text: str, line: int, position: int) -> str:
    """Return what is wrong with a text that is not JSON, without terms of the parser."""
    if not text.strip():
        return "it is empty"
    if not text[:position].strip():
        return "it is not JSON"
    rest = text[position : position + 60].strip()
    return f"it is not JSON from line {line} on: {rest}" if rest else "it ends too early for JSON"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; of a key that occurs twice, Python would silently keep the last value."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {key[:60]!r} occurs twice")
        values[key] = value
    return values


def _reject(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number[:60]} is too large a number")
    return value


def parse_toml(content: bytes | str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises
    ------
    ValueError
        If it is not TOML, or nested too deeply.
    """
    text = decoded_text(content)
    if any(part.count(".") > MAX_DOTS for part in _ENDS.split(_NO_KEYS.sub("", text))):
        raise ValueError(_TOO_DEEP)
    try:
        # All line endings, as in `tomllib.load`.
        return tomllib.loads(text.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{error}{_line_of(text, str(error))}") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def _line_of(text: str, message: str) -> str:
    """Return the line that a message of tomllib names, to be added to it."""
    number = re.search(r"at line (\d+)", message)
    lines = text.splitlines()
    if number is None or int(number[1]) > len(lines):
        return ""
    return f": {lines[int(number[1]) - 1].strip()[:100]}"
