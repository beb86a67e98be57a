"""Writes the page of all settings from their schema, so that it cannot differ from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from latentfm_core.config import Config, preset
from latentfm_core.config.base import Settings
from latentfm_core.config.writing import meanings

HEAD = """# All settings

Every setting of a training run and of its model, with its value in the preset `default`.
A configuration file (TOML, `--config`) sets them by section; `--set SECTION.KEY=VALUE` changes
one on the command line. `latentfm-train --dump-config` prints all of them as a file, those without
a value as comments. To remove a value, write `"null"` in a file or `null` with `--set`. Unknown
names and values out of range are rejected before any image is read.
"""


_LIKE = re.compile(r"in `(\w+)Config`")
_PLACES = {"Data": "data", "Flow": "training.flow", "Sampling": "sampling"}


def write_page(path: Path) -> None:
    """Write the page, if it is not there as it would be."""
    text = "\n".join([HEAD, *_sections(Config, "", preset("default"))])
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def _sections(kind: type[Settings], name: str, used: object) -> Iterator[str]:
    """Yield the tables of a section and of those in it; `used` are its values, if it has any."""
    meanings = _descriptions(kind)
    rows = []
    inner: list[tuple[str, type[Settings], object]] = []
    for key, field in kind.model_fields.items():
        section = _section_of(field.annotation)
        if section is None:
            value = _default(field, getattr(used, key, field.default))
            rows.append(f"| `{key}` | {value} | {_range(field)} | {meanings[key]} |")
        else:
            full = f"{name}.{key}" if name else key
            full += "[]" if _is_list(field.annotation) else ""
            inner.append((full, section, getattr(used, key, None)))
    if rows:
        yield f"## {name}\n\n| setting | default | values | meaning |\n| --- | --- | --- | --- |"
        yield from rows
        yield ""
    for full, section, values in inner:
        yield from _sections(section, full, values)


def _descriptions(kind: type[Settings]) -> dict[str, str]:
    """Return what the docstrings of a class and its bases say of each attribute."""
    return {
        key: re.sub(_LIKE, _link, text.replace("|", "\\|").replace("``", "`"))
        for key, text in meanings(kind).items()
    }


def _link(found: re.Match[str]) -> str:
    name = _PLACES[found[1]]
    return f"in [{name}](#{name.replace('.', '-')})"


def _default(field: FieldInfo, value: object) -> str:
    if field.is_required():
        return "(required)"
    return "none" if value is None else f"`{json.dumps(value, default=str)}`"


def _range(field: FieldInfo) -> str:
    names = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "multiple of"}
    values = [part for part in get_args(field.annotation) if isinstance(part, str)]
    if values:
        return ", ".join(f"`{value}`" for value in values)
    limits: dict[str, None] = {}
    for item in _metadata(field):
        for key, sign in names.items():
            bound = getattr(item, key, None)
            if bound is not None:
                limits[f"{sign} {bound:,}"] = None
    return ", ".join(limits)


def _metadata(field: FieldInfo) -> Iterator[Any]:
    yield from field.metadata
    for part in get_args(field.annotation):
        for item in getattr(part, "__metadata__", ()):
            yield from getattr(item, "metadata", [item])


def _section_of(annotation: object) -> type[Settings] | None:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    for part in get_args(annotation):
        found = _section_of(part)
        if found is not None:
            return found
    return None


def _is_list(annotation: object) -> bool:
    return not isinstance(annotation, type)
