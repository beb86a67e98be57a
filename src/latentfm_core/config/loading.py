"""Load and validate settings from presets, TOML files, overrides and keyword arguments."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from latentfm_core.config import writing
from latentfm_core.config.base import Settings
from latentfm_core.config.config import Config
from latentfm_core.config.data import ReadingConfig
from latentfm_core.config.explain import explain
from latentfm_core.config.report import ReportConfig
from latentfm_core.config.sampling import SamplingConfig, TilingConfig
from latentfm_core.config.suggest import is_list
from latentfm_core.errors import ConfigError
from latentfm_core.files.untrusted import MAX_TOML_BYTES, parse_json, parse_toml, read_bounded
from latentfm_core.files.user_path import user_path

PRESETS = ("default", "paper", "finetune", "distill")


def config_from_mapping(values: Mapping[str, Any]) -> Config:
    """Validate nested plain values; those that are missing, in sections too, are the defaults.

    Raises
    ------
    ConfigError
        If a key is unknown or a value is out of range; the message lists each one.
    """
    # The stages of training have defaults of their own, which part of a section must not reset.
    return _validated(Config, _merge(Config().to_json(), values))


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged


def _preset_values(name: str) -> dict[str, Any]:
    if name not in PRESETS:
        raise ConfigError(f"Unknown preset {name[:60]!r}; choose one of {', '.join(PRESETS)}.")
    text = resources.files("latentfm_core").joinpath(f"presets/{name}.toml").read_text("utf-8")
    return parse_toml(text)


def preset(name: str) -> Config:
    """Return a named preset, one of `PRESETS`.

    Raises
    ------
    ConfigError
        If the name is unknown.
    """
    return config_from_mapping(_preset_values(name))


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of at most 256 kB.

    Raises
    ------
    ConfigError
        If it cannot be read or is not TOML.
    """
    try:
        return parse_toml(read_bounded(path, MAX_TOML_BYTES))
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}. Fix that line.") from None
    except OSError as error:
        raise ConfigError(
            f"Cannot read the settings {path}: {error.strerror or error}. Check the path."
        ) from None


def load_config(path: Path, base: Config | None = None) -> Config:
    """Read a TOML file; its optional top-level key ``preset`` names a preset to start from.

    With `base`, its settings change those instead.

    Relative paths in the ``data`` table are resolved against the folder of the file, so that the
    configuration does not depend on the working directory. The text ``"null"`` removes a value.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not TOML, or contains unknown or invalid settings.
    """
    values = _with_none(read_toml(path))
    named = str(values.pop("preset", "default"))
    base = base or preset(named)
    _resolve_paths(values, path.parent)
    try:
        return config_from_mapping(_merge(base.to_json(), values))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def to_toml(config: Config) -> str:
    """Return all settings as TOML, readable by `load_config`; see `writing.to_toml`."""
    return writing.to_toml(config, preset("default"))


def _with_none(value: Any) -> Any:
    """Return the values of a file, None if it removes a value."""
    if isinstance(value, Mapping):
        return {
            key: None if each == writing.NO_VALUE else _with_none(each)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_with_none(each) for each in value]
    return value


def _resolve_paths(values: Mapping[str, Any], folder: Path) -> None:
    """Resolve relative paths of the data against a folder, in place."""
    data = values.get("data")
    sets = data.get("sets") if isinstance(data, dict) else None
    tables = [data, *(sets if isinstance(sets, list) else ())]
    for table in (one for one in tables if isinstance(one, dict)):
        for key in ("images", "masks", "folder", "split_file", "group_file", "cache"):
            if isinstance(table.get(key), str):
                table[key] = _resolved(folder, table[key])


def _resolved(folder: Path, text: str) -> str:
    try:
        return str((folder / user_path(text)).resolve())
    except (OSError, ValueError, RuntimeError):
        raise ConfigError(f"{text[:200]!r} is not a file path. Fix it in the settings.") from None


def with_overrides(config: Config, overrides: Sequence[str]) -> Config:
    """Apply ``section.key=value`` strings from the command line.

    Values are parsed as JSON if possible, else used as text. A list may also be written with
    commas alone: ``model.classes=disc,cup``. Relative paths are resolved against the working
    directory.

    Raises
    ------
    ConfigError
        If one is malformed, names an unknown key, or its value is out of range.
    """
    values = override_values(overrides)
    _resolve_paths(values, Path.cwd())
    return config_from_mapping(_merge(config.to_json(), values))


def override_values(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the nested values of ``section.key=value`` strings; raises as `with_overrides`."""
    values: dict[str, Any] = {}
    for item in overrides:
        key, equals, raw = item.partition("=")
        if not equals:
            raise ConfigError(f"{item!r} is not a valid setting; use section.key=value.")
        path = key.strip().split(".")
        value = _parsed(raw, key) if is_list(Config, path) else _plain(raw)
        for part in reversed(path):
            value = {part: value}
        values = _merge(values, value)
    return values


def _plain(raw: str) -> Any:
    """Return a JSON value, or the text itself."""
    try:
        return parse_json(raw)
    except ValueError:
        return raw


def _parsed(raw: str, key: str) -> Any:
    """Return the value of a list setting, which may be written with commas."""
    value = _plain(raw)
    if value is None or isinstance(value, (list, dict)):
        return value
    if isinstance(value, str) and value != raw:
        return [value]  # one name in quotes, which may hold a comma
    # Without quotes, a shell removes those within ["disc","cup"].
    words = next(csv.reader([_without_brackets(raw.strip())], skipinitialspace=True), [])
    entries = [word.strip().strip("\"'") for word in words]
    if not all(entries):
        raise ConfigError(f"{key}: the list {raw!r} has an empty entry. Name it, or leave it out.")
    return entries


def _without_brackets(text: str) -> str:
    """Return a list without its outer brackets."""
    if not (text.startswith("[") and text.endswith("]")):
        return text
    inner, depth = text[1:-1], 0
    for letter in inner:
        depth += (letter == "[") - (letter == "]")
        if depth < 0:
            return text  # as in "[1] a,b [2]"
    return inner


def sampling_settings(base: SamplingConfig | None = None, **changes: object) -> SamplingConfig:
    """Return validated sampling settings: `base` (or the defaults) with `changes`.

    Raises
    ------
    ConfigError
        If a name is unknown or a value is out of range.
    """
    values = (base or SamplingConfig()).model_dump() | changes
    return _validated(SamplingConfig, values)


def reading_settings(changes: Mapping[str, object]) -> ReadingConfig:
    """Return limits for files: the defaults with `changes`; raises as `sampling_settings`."""
    return _validated(ReadingConfig, changes)


def report_settings(**changes: object) -> ReportConfig:
    """Return settings of a report: the defaults with `changes`; raises as `sampling_settings`."""
    return _validated(ReportConfig, changes)


def tiling_settings(**changes: object) -> TilingConfig:
    """Return tiling settings: the defaults with `changes`; raises as `sampling_settings`."""
    return _validated(TilingConfig, changes)


SettingsT = TypeVar("SettingsT", bound=Settings)


def _validated(kind: type[SettingsT], values: Mapping[str, object]) -> SettingsT:
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(explain(error, kind)) from None
