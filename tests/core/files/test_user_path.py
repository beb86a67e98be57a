"""A leading ~ in options and settings means the home folder."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from latentfm_core.config.loading import load_config, preset, with_overrides
from latentfm_core.files.user_path import user_path

COMMANDS = {
    "train": "--out",
    "predict": "--out",
    "evaluate": "--images",
    "calibrate": "--masks",
    "export": "--out",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_options_with_an_equals_sign_know_the_home_folder(command: str, home: Path) -> None:
    option = COMMANDS[command]
    parser = import_module(f"latentfm_core.cli.{command}").build_parser()
    parser.set_defaults(**dict.fromkeys(("images", "out", "format"), None))
    for action in parser._actions:
        action.required = False
    args, _ = parser.parse_known_args([f"{option}=~/data"])
    assert getattr(args, option.removeprefix("--")) == home / "data"


def test_settings_know_the_home_folder(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[data]\nimages = "~/images"\nmasks = "masks"\n', encoding="utf-8")
    data = load_config(file).data
    assert data.images == home / "images"
    assert data.masks == tmp_path / "masks"
    changed = with_overrides(preset("default"), ["data.images=~/other"]).data
    assert changed.images == home / "other"


def test_a_user_who_does_not_exist_is_part_of_a_name() -> None:
    assert user_path("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
