"""Compare, print and check file names.

Names come from other systems. The same letters have two encodings in Unicode (macOS writes them
decomposed), control characters reach a terminal, and a colon or a backslash is a separator on one
system and an ordinary letter on another.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

_UNSAFE = (
    "\x00-\x1f\x7f-\x9f"  # C0 and C1 control characters, which drive a terminal
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # change the direction of the text after them
    "\u2028\u2029"  # line and paragraph separators
    "\u00ad\u200b\u2060-\u2064\ufeff"  # invisible: two different names would look the same
    "\u00a0\u2007\u202f"  # look like a space
)
_CONTROL = re.compile(f"[{_UNSAFE}]")
_CONTROL_BUT_LINES = re.compile(f"(?![\n\t])[{_UNSAFE}]")
_NOT_UTF8 = re.compile("[\ud800-\udfff]")

_NAMES_SHOWN = 10
_NAME_SHOWN = 120
_MAX_NAME = 255
_MAX_PATH = 4096
_LONGEST_ID = 100


def shown(name: object) -> str:
    """Return a file name or path for a message, with control characters escaped."""
    return _CONTROL.sub(_escaped, str(name))


def shown_text(text: str) -> str:
    """Return a message of one or several lines with all other control characters escaped."""
    return _CONTROL_BUT_LINES.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def name_some(names: Iterable[str], most: int = _NAMES_SHOWN) -> str:
    """Return the first `most` different names for a message, and the number of the rest."""
    listed = sorted(shown(name[:_NAME_SHOWN]) for name in set(names))
    rest = len(listed) - most
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(listed[:most]) + more


def comparable(name: str) -> str:
    """Return a name in the form in which names are compared (Unicode NFC)."""
    return unicodedata.normalize("NFC", name)


def storable(name: str) -> str:
    """Return a name as it is stored in JSON: comparable, and bytes that are not UTF-8 escaped."""
    return comparable(_NOT_UTF8.sub(lambda match: f"\\u{ord(match[0]):04x}", name))


def matching(names: Sequence[str], others: Sequence[str]) -> list[int | None]:
    """Return for each name the place of the same name among `others`, or None.

    A name in other case is the same one, unless `others` has it in both.

    Examples
    --------
    >>> matching(["disc", "Square", "line"], ["square", "disc"])
    [1, 0, None]
    """
    places: list[int | None] = [None] * len(names)
    for form in (str, str.casefold):
        free = [None if at in places else form(comparable(o)) for at, o in enumerate(others)]
        for at, name in enumerate(names):
            wanted = form(comparable(name))
            if places[at] is None and free.count(wanted) == 1:
                places[at] = free.index(wanted)
                free[free.index(wanted)] = None
    return places


def existing_form(path: Path) -> Path:
    """Return the existing file of this name in either Unicode form, else `path`."""
    for form in ("NFC", "NFD"):
        other = path.with_name(unicodedata.normalize(form, path.name))
        if not is_there(path) and is_there(other):
            return other
    return path


def is_there(path: Path) -> bool:
    """Return whether a path exists; False if the path is invalid."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_path(name: str) -> bool:
    """Return whether `name` leads anywhere but to a file directly inside a folder.

    A colon or a backslash is an ordinary character where the system allows it in names; on Windows
    it leads outside the folder.
    """
    if not name or name in {".", ".."} or any(sign in name for sign in "/\0"):
        return True
    return os.name == "nt" and ("\\" in name or name[1:2] == ":")


def too_long(path: Path) -> str:
    """Return why a file of this name cannot be created, or ``""``.

    The limit is that of the disk (255 bytes on most); a name in UTF-8 takes more bytes than
    letters.
    """
    size = len(os.fsencode(path.name))
    limit = _longest_name(path.parent)
    if size > limit:
        return f"the name has {size} bytes, and at most {limit} are possible there"
    length = len(os.fsencode(path.absolute()))
    if length >= _MAX_PATH:
        return f"the path has {length} bytes, and at most {_MAX_PATH - 1} are possible"
    return ""


def _longest_name(folder: Path) -> int:
    pathconf = getattr(os, "pathconf", None)
    for each in (folder, *folder.absolute().parents):
        if pathconf is not None and is_there(each):
            try:
                return int(pathconf(each, "PC_NAME_MAX"))
            except (OSError, ValueError):
                break
    return _MAX_NAME


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number and a noun, for example "1 image" or "2 images".

    Parameters
    ----------
    plural
        Plural of `noun`, by default `noun` and an "s". Both may include a verb.

    Examples
    --------
    >>> counted(1, "image is", "images are"), counted(2, "class", "classes"), counted(1200, "mask")
    ('1 image is', '2 classes', '1,200 masks')
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def model_id(name: str) -> str:
    """Return an id for a model in a folder called `name`: letters without accents, digits, -._.

    Examples
    --------
    >>> model_id("Mein Modell, größer")
    'Mein-Modell-groer'
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")
    return plain[:_LONGEST_ID] or "model"
