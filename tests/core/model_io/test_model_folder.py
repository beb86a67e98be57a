"""Model folders are read as they were written; damaged ones are refused."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentfm_core.errors import ModelFolderError, OutputError
from latentfm_core.files.atomic import atomic_path
from latentfm_core.finetuning.recipe import model_source
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.bundled import bundled_models, is_bundled, resolve_model
from latentfm_core.model_io.card import write_card
from latentfm_core.model_io.folder import file_sha256, load_model, read_card, save_model
from tests.helpers.fixtures import copy_model
from tests.helpers.folds import copy_folds
from tests.helpers.format_1 import rename_as_format_1


def _edit_card(folder: Path, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    path = folder / "model.json"
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))


def _rehash(folder: Path) -> None:
    weights = folder / "model.safetensors"
    info = {"sha256": file_sha256(weights), "size_bytes": weights.stat().st_size}
    _edit_card(folder, lambda card: card["weights"].update(info))


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("model.json", "model.safetensors"):
        shutil.copy(tiny_model_folder / name, copy)
    return copy


def test_a_model_folder_is_self_contained(folder: Path) -> None:
    model, card = load_model(folder)
    stored = load_file(folder / "model.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, stored[name].float()), name
    assert card.id == "tiny"
    assert "not a medical device" in card.intended_use


def test_a_model_of_format_1_still_loads(folder: Path) -> None:
    before = load_model(folder)[0].state_dict()
    assert rename_as_format_1(folder / "model.safetensors") > 0
    _edit_card(folder, lambda card: card.update(format_version=1))
    _rehash(folder)
    model, card = load_model(folder)
    assert card.format_version == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    # Saved again, it has the current names.
    saved = save_model(folder, model, card.model_dump(mode="json"), "float32")
    assert saved.format_version == 2
    assert load_file(folder / "model.safetensors").keys() == before.keys()


def _flip_a_byte(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _pickle_weights(folder: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path(folder / "executed").touch, ()  # type: ignore[return-value]

    path = folder / "model.safetensors"
    path.write_bytes(pickle.dumps(Trap()).ljust(path.stat().st_size, b"."))
    _rehash(folder)


def _rename_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["stranger"] = tensors.pop("latent_mean")
    save_file(tensors, folder / "model.safetensors")
    _rehash(folder)


def _wider_network(folder: Path) -> None:
    _edit_card(folder, lambda card: card["config"]["model"].update(vae_width=64))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_flip_a_byte, "altered or copied"),
        (_truncate, "altered or copied"),
        (_pickle_weights, "not a readable safetensors"),
        (_rename_tensor, "does not fit"),
        (_wider_network, "does not fit"),
        (lambda f: (f / "model.json").unlink(), "model.json missing"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors missing"),
        (lambda f: (f / "model.json").write_text("{}"), "not a valid model card"),
        (lambda f: (f / "model.json").write_text("[1, 2"), "not a valid model card"),
        (lambda f: (f / "model.json").write_bytes(b"\xff" * 2_000_000), "larger than"),
        (lambda f: _edit_card(f, lambda c: c.update(extra=1)), "extra"),
    ],
)
def test_unknown_or_modified_folders_are_refused(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    with pytest.raises(ModelFolderError, match=message):
        load_model(folder)
    assert not (folder / "executed").exists()


def test_an_unknown_name_lists_the_bundled_models() -> None:
    with pytest.raises(ModelFolderError, match="isic2018"):
        resolve_model("no-such-model")
    with pytest.raises(ModelFolderError, match=r"Did you mean isic2018\?"):
        resolve_model("ISIC2018")
    card = resolve_model(bundled_models()[0]) / "model.json"
    with pytest.raises(ModelFolderError, match=f"Give its folder: {card.parent}"):
        resolve_model(card)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    target.write_text("old")
    with pytest.raises(OutputError, match="choose another folder"), atomic_path(target) as path:
        path.write_text("half")
        raise OSError(28, "No space left on device")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.txt"]


def test_a_folder_named_like_a_bundled_model_is_pointed_out(
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = bundled_models()[0]
    copy_model(tiny_model_folder, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert is_bundled(resolve_model(name))
    assert f"{name} means the bundled model" in caplog.text
    assert f"write ./{name}." in caplog.text
    assert model_source(name) == name
    own = resolve_model(f"./{name}")
    assert model_source(own) == str(tmp_path / name)
    assert not is_bundled(resolve_model(own)), "a path is not a name"
    assert Segmenter.load(own, "cpu").card.id == read_card(tiny_model_folder).id


@pytest.mark.parametrize(("figure", "warned"), [(0.29, True), (0.3, False)])
def test_an_undertrained_model_causes_a_warning(
    figure: float,
    warned: bool,
    tiny_model_folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = copy_model(tiny_model_folder, tmp_path / "model")
    card = read_card(folder)
    write_card(folder, card.model_copy(update={"metrics": {"val_dice": figure}}))
    Segmenter.load(folder, "cpu", "fp32")
    assert ("not usable yet: its validation Dice is 0.29" in caplog.text) is warned


def test_an_ensemble_has_the_mean_validation_of_its_members(
    fold_models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy_folds(fold_models, tmp_path / "folds")
    folds = sorted(folder.glob("fold_*"))
    for number, fold in enumerate(folds):
        card = read_card(fold)
        write_card(fold, card.model_copy(update={"metrics": {"val_dice": 0.1 * number}}))
    assert read_card(folder).metrics["val_dice"] == pytest.approx(0.05 * (len(folds) - 1))
    Segmenter.load(folder, "cpu", "fp32")
    assert caplog.text.count("not usable yet") == 1
