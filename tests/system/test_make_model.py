"""``make model NAME=...`` trains a released model again, or says where to get its images."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import pytest

from latentfm_core.config import load_config
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import read_card
from tests.helpers.fixtures import Folders
from tests.helpers.processes import load_script
from tests.helpers.training_runs import TOML

ROOT = Path(__file__).resolve().parents[2]
RELEASED = ("cvc_clinicdb", "generalist", "isic2018", "lidc_idri", "polyp")
PARENTS = dict.fromkeys(("cvc_clinicdb", "isic2018", "lidc_idri", "polyp"), "generalist")


@pytest.fixture
def script() -> ModuleType:
    return load_script("make_model")


@pytest.mark.parametrize("name", RELEASED)
def test_missing_images_are_named_with_their_download_page(
    name: str, script: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = [name, "--data", str(tmp_path / "nothing"), "--runs", str(tmp_path / "runs")]
    assert script.main(words) == 2
    config = load_config(ROOT / "configs" / f"{name}.toml")
    sets = {path.parent.name for path in script.folders_of(config)}
    assert sets
    for each in sets:
        assert f"{each}: {script.SOURCES[each]}" in caplog.text
    assert not (tmp_path / "runs").exists()


def test_the_documentation_lists_all_download_pages(script: ModuleType) -> None:
    page = (ROOT / "docs" / "retraining.md").read_text("utf-8")
    for name, source in script.SOURCES.items():
        assert f"`{name}`" in page
        assert source in page


@pytest.mark.parametrize("name", RELEASED)
def test_released_models_start_from_the_configured_model(
    name: str, script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(ROOT / "configs" / f"{name}.toml")
    for path in script.folders_of(config):
        (tmp_path / "data" / path.parent.name / path.name).mkdir(parents=True)
    found: list[list[str]] = []
    monkeypatch.setattr(script, "train", lambda words: found.append(words) or 0)
    words = [name, "--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")]
    assert script.main([*words, "--minutes", "5"]) == 0
    command, *later = found
    for folder, words in zip(script.LATER.get(name, {}), later, strict=True):
        assert Path(words[words.index("--out") + 1]).name == folder
    parent = command[command.index("--init") + 1] if "--init" in command else None
    assert parent == PARENTS.get(name)
    text = (ROOT / "configs" / f"{name}.toml").read_text("utf-8")
    assert parent is None or f"--init {parent}" in text
    assert command[-2:] == ["--minutes", "5"]
    settings = [
        word for words in later for word in words if word.startswith(("training.", "model."))
    ]
    assert text.count("--set ") == len(settings), "the configuration names the same later runs"
    assert all(f"--set {setting}" in text for setting in settings)
    assert load_config(tmp_path / "runs" / f"{name}.toml").model == config.model
    card = ROOT / "configs" / "cards" / f"{name}.toml"
    assert Path(command[command.index("--card") + 1]).resolve() == card


def test_an_unknown_model_lists_the_known_ones(
    script: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    assert script.main(["isic"]) == 2
    assert "cvc_clinicdb, generalist, isic2018, isic2018_scratch" in caplog.text


def test_a_model_is_trained_with_its_card_and_a_stopped_run_resumes(
    script: ModuleType, blob_folders: Folders, tmp_path: Path
) -> None:
    configs, data = tmp_path / "configs", tmp_path / "data" / "blobs"
    (configs / "cards").mkdir(parents=True)
    for folder, name in zip(blob_folders, ("images", "masks"), strict=True):
        shutil.copytree(folder, data / name)
    named = '[data]\nimages = "elsewhere/blobs/images"\nmasks = "elsewhere/blobs/masks"'
    (configs / "blobs.toml").write_text(TOML.replace("[data]", named, 1))
    (configs / "cards" / "blobs.toml").write_text('title = "Blobs"\nlicence = "CC0-1.0"\n')
    words = ["blobs", "--configs", str(configs), "--runs", str(tmp_path / "runs")]
    words += ["--data", str(data.parent), "--quiet"]
    assert script.main(words) == 0
    card = read_card(tmp_path / "runs" / "blobs")
    assert (card.title, card.licence) == ("Blobs", "CC0-1.0")
    assert card.data.n_train + card.data.n_val + card.data.n_test == 40
    # The same command on a finished run has nothing to do, and with more epochs extends it.
    assert script.main(words) == 0
    assert script.main([*words, "--set", "training.flow.epochs=3"]) == 0
    assert read_card(tmp_path / "runs" / "blobs").training.epochs["flow"] == 3


@pytest.mark.parametrize("name", RELEASED)
def test_the_runs_of_a_released_model_match_its_card(name: str, script: ModuleType) -> None:
    card = read_card(resolve_model(name))
    made = [card.training] if card.distillation is None else [card.training, card.distillation]
    commands = [command for run in made for command in run.command.splitlines()]
    later = script.LATER.get(name, {}).values()
    assert len(commands) == 1 + len(later)
    for command, settings in zip(commands[1:], later, strict=True):
        words = command.split()
        given = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
        assert sorted(given) == sorted(settings)


def test_a_model_of_several_runs_is_trained_by_one_command(
    script: ModuleType,
    blob_folders: Folders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configs = tmp_path / "configs"
    (configs / "cards").mkdir(parents=True)
    named = f'[data]\nimages = "{blob_folders[0]}"\nmasks = "{blob_folders[1]}"'
    (configs / "blobs.toml").write_text(TOML.replace("[data]", named, 1))
    (configs / "cards" / "blobs.toml").write_text('title = "Blobs"\n')
    later = {"blobs": ("training.flow.epochs=3",), "blobs_final": ("training.flow.epochs=1",)}
    monkeypatch.setitem(script.LATER, "blobs", later)
    words = ["blobs", "--configs", str(configs), "--runs", str(tmp_path / "runs"), "--quiet"]
    assert script.main([*words, "--dry-run"]) == 0
    assert f"later run, into {tmp_path / 'runs' / 'blobs_final'}: training.flow" in caplog.text
    assert not (tmp_path / "runs").exists()
    for _ in range(2):  # the second time, nothing is left to do
        assert script.main(words) == 0
        assert read_card(tmp_path / "runs" / "blobs").training.epochs["flow"] == 3
        assert read_card(tmp_path / "runs" / "blobs_final").training.epochs["flow"] == 1
