"""Look settings up by their names, and suggest some for a misspelt one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import get_args, get_origin

from latentfm_core.config.base import Settings

_SHORT = {"lr": "learning_rate", "bs": "batch_size", "wd": "weight_decay"}
"""Common short names of settings."""


def suggestion(kind: type[Settings], path: Sequence[str | int]) -> str:
    """Return a suggestion for an unknown setting.

    It is ``"Did you mean training.flow.epochs?"``, or all names if none is similar.

    Parameters
    ----------
    kind
        The settings class, including its sections.
    path
        Names of the sections and of the unknown setting, outermost first. Numbers are indices
        into a list of sections.
    """
    names = [str(part) for part in path if isinstance(part, str)]
    *sections, name = names
    name = _SHORT.get(name, name)
    table = section_of(kind, sections)
    alike = get_close_matches(name, table.model_fields, n=3, cutoff=0.6)
    if alike:
        return _question([".".join([*sections, one]) for one in alike])
    everything = list(all_names(kind))
    elsewhere = [full for full in everything if full.rpartition(".")[2] == name]
    inside = dict.fromkeys(
        full.partition(f".{name}.")[0] + f".{name}" for full in everything if f".{name}." in full
    )
    if elsewhere or inside:
        return _question(elsewhere or list(inside))
    return f"Choose one of: {', '.join(sorted(table.model_fields))}."


def all_names(kind: type[Settings], before: str = "") -> Iterator[str]:
    """Yield the full name of every setting, such as ``training.flow.epochs``."""
    for name, field in kind.model_fields.items():
        inner = _settings_in(field.annotation)
        if inner is None:
            yield before + name
        else:
            yield from all_names(inner, f"{before}{name}.")


def is_list(kind: type[Settings], path: Sequence[str | int]) -> bool:
    """Return whether the setting of this name is a list of plain values, not of sections."""
    *sections, name = [str(part) for part in path if isinstance(part, str)]
    field = section_of(kind, sections).model_fields.get(name)
    annotation = None if field is None else field.annotation
    return get_origin(annotation) is tuple and _settings_in(annotation) is None


def section_of(kind: type[Settings], sections: Sequence[str]) -> type[Settings]:
    """Return the settings class of a section, or of the last known one in its path."""
    for name in sections:
        field = kind.model_fields.get(name)
        inner = None if field is None else _settings_in(field.annotation)
        if inner is None:
            return kind
        kind = inner
    return kind


def _settings_in(annotation: object) -> type[Settings] | None:
    """Return the settings class of a field with a section or a list of sections."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    for inner in get_args(annotation):
        found = _settings_in(inner)
        if found is not None:
            return found
    return None


def _question(names: Sequence[str]) -> str:
    *most, last = names
    return f"Did you mean {', '.join(most)} or {last}?" if most else f"Did you mean {last}?"
