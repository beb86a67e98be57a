"""Write settings as TOML, with the settings that have no value as comments."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import tomli_w

from latentfm_core.config.base import Settings
from latentfm_core.config.config import Config
from latentfm_core.config.suggest import section_of

NO_VALUE = "null"
"""Text that removes a value in a file, as TOML has no null."""

_HEAD = "# A setting behind # has no value (None). Give it one, and remove the #.\n"
_WIDTH = 90
_HEADER = re.compile(r"\[+([\w.]+)\]+")


def to_toml(config: Config, usual: Config) -> str:
    """Return all settings as TOML.

    A setting without a value is a comment with its meaning, or, if it has a value in the settings
    `usual` that a file starts from, `NO_VALUE`.
    """
    values = config.to_json()
    written = _written(values, usual.to_json())
    lines = [_HEAD]
    seen: Counter[str] = Counter()
    for line in tomli_w.dumps(written).splitlines():
        lines.append(line)
        if header := _HEADER.fullmatch(line):
            name = header[1]
            lines += _comments(name, _at(values, name, seen[name]), _at(written, name, seen[name]))
            seen[name] += 1
    return "\n".join(lines) + "\n"


def meanings(kind: type[Settings]) -> dict[str, str]:
    """Return what the docstrings of a class and its bases say about each setting, in one line."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, Settings):
            text = inspect.cleandoc(base.__doc__ or "").partition("Attributes\n----------\n")[2]
            for entry in re.finditer(r"^(\S.*)\n((?:[ ]+\S.*\n?|\n)*)", text, re.MULTILINE):
                meaning = " ".join(entry[2].split())
                found |= {name.strip(): meaning for name in entry[1].split(",")}
    return found


def _comments(section: str, values: Mapping[str, Any], written: Mapping[str, Any]) -> Iterator[str]:
    known = meanings(section_of(Config, section.split(".")))
    unset = [name for name, value in values.items() if value is None and name not in written]
    for meaning, names in groupby(unset, lambda name: known.get(name, "").replace("``", "`")):
        yield from (f"# {name} =" for name in names)
        indent = "#     "
        yield from textwrap.wrap(meaning, _WIDTH, initial_indent=indent, subsequent_indent=indent)


def _at(values: Any, section: str, index: int) -> Mapping[str, Any]:
    """Return the values of a section, of a list of sections those of the entry `index`."""
    for name in section.split("."):
        values = values[name]
    found: Mapping[str, Any] = values[index] if isinstance(values, list) else values
    return found


def _written(values: Any, usual: Any) -> Any:
    """Return the values of a file; `usual` are those it starts from."""
    if isinstance(values, list):
        return [_written(each, {}) for each in values]
    if not isinstance(values, Mapping):
        return values
    start = usual if isinstance(usual, Mapping) else {}
    kept = {
        key: NO_VALUE if value is None else value
        for key, value in values.items()
        if value is not None or start.get(key) is not None
    }
    return {key: _written(value, start.get(key)) for key, value in kept.items()}
