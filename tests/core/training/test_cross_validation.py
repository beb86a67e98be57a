"""``latentfm-train --folds`` in small real runs, stopped and resumed."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from skimage.io import imread, imsave

from latentfm_core.cli.evaluate import main as evaluate
from latentfm_core.cli.model_split import model_split
from latentfm_core.cli.train import main
from latentfm_core.config import config_from_mapping, with_overrides
from latentfm_core.datasets.folds import read_folds
from latentfm_core.datasets.pairs import find_pairs
from latentfm_core.datasets.splits import read_split
from latentfm_core.errors import ConfigError, DatasetError
from latentfm_core.files.locks import NAME
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.card import read_card
from latentfm_core.training import checkpoint, fold_checks
from latentfm_core.training.checkpoint import read_checkpoint
from latentfm_core.training.cross_validation import CrossValidation, shared_out
from latentfm_core.training.trainer import RunOptions, Trainer
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, write_blobs
from tests.helpers.pages import read_table
from tests.helpers.processes import PATIENCE, torchrun
from tests.helpers.prompting import disc_settings, write_discs
from tests.helpers.training_runs import config_of, words


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return write_blobs(tmp_path_factory.mktemp("folds"), 12)


@pytest.fixture(scope="module")
def validated(images: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted cross-validation of three folds."""
    out = tmp_path_factory.mktemp("runs") / "folds"
    assert main(words(images, out, "--folds", 3, "--quiet")) == 0
    return out


def weights(out: Path) -> list[str]:
    return [read_card(out / f"fold_{fold}").weights_sha256 for fold in range(3)]


def folds_with_loaded_tensors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that receives the fold of every checkpoint whose tensors are loaded."""
    loaded: list[str] = []

    class Opened:
        def __init__(self, path: Path, framework: str) -> None:
            self._path, self._open = path, safe_open(path, framework=framework)

        def __enter__(self) -> Any:
            self._stream = self._open.__enter__()
            return self

        def __exit__(self, *details: object) -> None:
            self._open.__exit__(*details)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

        def get_tensor(self, name: str) -> Any:
            if name == next(iter(self._stream.keys())):
                loaded.append(self._path.parent.parent.name)
            return self._stream.get_tensor(name)

    monkeypatch.setattr(checkpoint, "safe_open", Opened)
    return loaded


def test_each_fold_is_a_model_validated_on_its_own_images(validated: Path) -> None:
    folds = read_folds(validated / "folds.json")
    for fold in range(3):
        split = read_split(validated / f"fold_{fold}" / "training" / "split.json")
        assert split == folds.split(fold)
    assert len(set(weights(validated))) == 3
    ids = {read_card(validated / f"fold_{fold}").id for fold in range(3)}
    assert ids == {f"folds-fold_{fold}" for fold in range(3)}


def test_the_table_contains_the_figures_of_the_cards(validated: Path) -> None:
    rows = {row["fold"]: row for row in read_table(validated, "cross_validation.csv")}
    assert list(rows) == ["0", "1", "2", "mean", "std"]
    dice = [read_card(validated / f"fold_{fold}").metrics["val_dice"] for fold in range(3)]
    mean = sum(dice) / 3
    std = (sum((value - mean) ** 2 for value in dice) / 2) ** 0.5
    assert [float(rows[str(fold)]["val_dice"]) for fold in range(3)] == pytest.approx(
        dice, abs=1e-6
    )
    assert float(rows["mean"]["val_dice"]) == pytest.approx(mean, abs=1e-6)
    assert float(rows["std"]["val_dice"]) == pytest.approx(std, abs=1e-6)
    output = json.loads((validated / "cross_validation.json").read_text())
    assert output["mean"]["val_dice"] == pytest.approx(mean)
    assert [one["metrics"]["val_dice"] for one in output["folds"]] == dice


def stopped_in_fold_1(images: Folders, out: Path, *more: str, **options: Any) -> None:
    left = 1

    def stop() -> bool:
        nonlocal left
        left -= (out / "fold_0" / "model.json").is_file()
        return left < 0

    config = config_of(images, out, "data.folds=3", *more)
    assert CrossValidation(config, RunOptions(out, should_stop=stop, **options)).run() is None


def test_a_stopped_cross_validation_resumes(
    images: Folders,
    validated: Path,
    tmp_path: Path,
    printed: Printed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "folds"
    stopped_in_fold_1(images, out)
    assert (out / "fold_1" / "training" / "checkpoint.safetensors").is_file()
    assert not (out / "fold_1" / "model.json").exists()
    assert not (out / "cross_validation.csv").exists()
    first = (out / "fold_0" / "model.safetensors").stat().st_mtime_ns
    lock = out / "fold_0" / NAME
    lock.write_text("process 1 on another machine, killed after its last write")
    loaded = folds_with_loaded_tensors(monkeypatch)
    said = printed(main, ["--out", str(out), "--resume"])
    assert not lock.exists()
    assert loaded == ["fold_1"], "the only fold to continue, once"
    assert "fold_0 is finished already" in said
    assert "Validation figures of 3 folds" in said
    assert (out / "fold_0" / "model.safetensors").stat().st_mtime_ns == first
    assert weights(out) == weights(validated), "as if it had never been stopped"
    assert (out / "cross_validation.csv").is_file()


def test_finished_folds_are_extended_by_settings_that_ask_for_more(
    images: Folders,
    validated: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    printed: Printed,
) -> None:
    out = tmp_path / "folds"
    shutil.copytree(validated, out)
    epochs = config_of(images, out).training.flow.epochs
    more = ["--out", str(out), "--resume", "--trust-paths"]
    # Refused before the first fold is trained.
    assert main([*more, "--fold", "1", "--set", f"training.flow.epochs={epochs - 1}"]) == 2
    assert "has trained" in capsys.readouterr().err
    assert weights(out) == weights(validated)
    said = printed(main, [*more, "--set", f"training.flow.epochs={epochs + 1}"])
    assert said.count("is extended after epoch") == 3
    assert "finished already" not in said
    trained = [
        read_checkpoint(out / f"fold_{fold}" / "training").position.epochs["flow"]
        for fold in range(3)
    ]
    assert trained == [epochs + 1] * 3


@pytest.mark.parametrize(
    "changed", ["training.seed=4", "data.size=96", "training.flow.batch_size=2"]
)
def test_folds_with_different_settings_are_refused(
    validated: Path, tmp_path: Path, refused: Printed, changed: str
) -> None:
    out = tmp_path / "folds"
    shutil.copytree(validated, out)
    shutil.rmtree(out / "fold_2")
    more = ["--out", str(out), "--resume", "--trust-paths"]
    assert changed.split("=")[0] in refused(main, [*more, "--set", changed])
    assert not (out / "fold_2").exists()


def test_folds_with_different_masks_are_refused(tmp_path: Path, refused: Printed) -> None:
    images, out = write_blobs(tmp_path / "data", 12), tmp_path / "folds"
    stopped_in_fold_1(images, out)
    for mask in images[1].iterdir():
        imsave(mask, np.roll(imread(mask), 9, axis=0), check_contrast=False)
    shutil.rmtree(out / "fold_1")
    assert "needs the same images in all folds" in refused(main, ["--out", str(out), "--resume"])


def test_later_folds_have_the_card_and_initial_model_of_the_first(
    images: Folders, validated: Path, tmp_path: Path, printed: Printed
) -> None:
    out, parent = tmp_path / "folds", validated / "fold_2"
    kept = ("training.image_vae.epochs=0", "training.mask_vae.epochs=0")
    card = {"id": "discs", "title": "Blobs", "licence": "CC0-1.0"}
    stopped_in_fold_1(images, out, *kept, card=card, init=str(parent))
    said = printed(main, ["--out", str(out), "--resume", "--quiet"])
    for fold in range(3):
        written = read_card(out / f"fold_{fold}")
        assert (written.id, written.title) == (f"discs-fold_{fold}", "Blobs")
        run = read_checkpoint(out / f"fold_{fold}" / "training").run
        assert run is not None
        assert run.init == str(parent)
    first, last = (load_file(out / f"fold_{fold}" / "model.safetensors") for fold in (0, 2))
    same = [name for name in first if name.startswith("mask_vae.")]
    assert same
    assert [name for name in same if not torch.equal(first[name], last[name])] == []
    # The parent was trained on the folds 0 and 1, and validated on fold 2.
    assert said.count("was trained on 3 of 3 validation images") == 1, "fold_1 was prepared"
    assert f"the model {parent}, from which the folds started, was trained on 6 of their 9" in said
    assert json.loads((out / "cross_validation.json").read_text())["trained_before"] == 6
    given = ["--model", out, "--images", images[0], "--masks", images[1], "--part", "val"]
    given += ["--samples", 3, "--steps", 1, "--device", "cpu", "--out", tmp_path / "val"]
    said = printed(evaluate, [str(word) for word in given])
    assert "Each image is segmented by the one model whose training left its fold out" in said
    assert "started from another one (--init), which was trained on 6 of these images" in said


def test_a_replaced_initial_model_is_refused(
    images: Folders,
    validated: Path,
    tmp_path: Path,
    refused: Printed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, parent = tmp_path / "folds", shutil.copytree(validated / "fold_2", tmp_path / "parent")
    kept = ("training.image_vae.epochs=0", "training.mask_vae.epochs=0")
    stopped_in_fold_1(images, out, *kept, init=str(parent))
    for file in ("model.safetensors", "model.json"):
        shutil.copy(validated / "fold_0" / file, parent / file)
    again = ["--out", str(out), "--resume", "--quiet"]
    assert f"({parent}) has been replaced" in refused(main, again), "before the others are trained"
    assert not (out / "fold_1" / "model.json").exists()
    assert main([*again, "--fold", "1"]) == 0, "it has its weights already"
    # Replaced while the images of the next fold are read.
    monkeypatch.setattr(fold_checks, "reject_other_parent", lambda *given: None)
    assert "has been replaced" in refused(main, again)
    assert not (out / "fold_2" / "training" / "checkpoint.safetensors").exists()


def test_the_table_is_never_of_other_models(
    validated: Path, tmp_path: Path, images: Folders
) -> None:
    out = shutil.copytree(validated, tmp_path / "folds")
    longer = ["--resume", "--trust-paths", "--quiet", "--set"]
    longer.append(f"training.flow.epochs={config_of(images, out).training.flow.epochs + 1}")

    def listed() -> list[str]:
        table = json.loads((out / "cross_validation.json").read_text())
        return [one["model"]["sha256"] for one in table["folds"]]

    before = listed()
    assert main(["--out", str(out / "fold_1"), *longer]) == 0
    assert listed() == weights(out) != before
    shutil.rmtree(out / "fold_1")
    config = config_of(images, out, "data.folds=3")
    stopped = CrossValidation(config, RunOptions(out, resume=True, should_stop=lambda: True))
    assert stopped.run() is None
    assert not list(out.glob("cross_validation.*"))


def test_folds_trained_separately_are_equal_and_the_last_writes_the_table(
    images: Folders, validated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "folds"
    for fold in (2, 0):
        assert main(words(images, out, "--folds", 3, "--fold", fold)) == 0
    said = capsys.readouterr().err
    assert f"to train: 0, 1. Each with --fold, or all of them: latentfm-train --out {out}" in said
    assert "2 of 3 folds are finished. Still to train: 1." in said
    assert not (out / "cross_validation.csv").exists()
    assert main(words(images, out, "--folds", 3, "--fold", 1, "--quiet")) == 0
    assert weights(out) == weights(validated)
    same = (out / "cross_validation.csv").read_text()
    assert same == (validated / "cross_validation.csv").read_text()


def test_a_dry_run_shows_the_folds_and_writes_nothing(
    images: Folders, tmp_path: Path, printed: Printed
) -> None:
    out = tmp_path / "folds"
    said = printed(main, words(images, out, "--folds", 3, "--dry-run"))
    assert "3 folds of 9 images (seed 0); 3 test images in no fold" in said
    assert "fold_2: 6 train, 3 val" in said
    assert "data summary" in said
    assert not out.exists()


def test_impossible_cross_validations_are_refused_before_any_work(
    images: Folders, validated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(out: Path, *more: object) -> str:
        assert main(words(images, out, *more)) == 2
        return capsys.readouterr().err

    new = tmp_path / "new"
    assert main(["--resume", "--dump-config"]) == 2
    assert "--out FOLDER" in capsys.readouterr().err
    assert "--fold needs --folds" in refused(new, "--fold", 1)
    assert "fold (--fold) is at most 2" in refused(new, "--folds", 3, "--fold", 3)
    assert "too few for 50 folds" in refused(new, "--folds", 50)
    assert "Add --resume" in refused(validated, "--folds", 3)
    again = ["--out", str(validated), "--resume", "--trust-paths"]
    assert main([*again, "--set", "sampling.steps=7"]) == 2
    assert "is finished and would ignore sampling.steps" in capsys.readouterr().err
    assert "lists other folds" in refused(
        shutil.copytree(
            validated, tmp_path / "other", ignore=shutil.ignore_patterns("training", "model.*")
        ),
        "--folds",
        3,
        "--set",
        "data.split_seed=7",
    )
    assert "contains a model" in refused(validated / "fold_0", "--folds", 3)
    assert not new.exists()
    with pytest.raises(ConfigError, match="CrossValidation"):
        Trainer(config_of(images, new, "data.folds=3"), RunOptions(new))


def test_the_time_is_divided_among_the_folds(
    images: Folders, tmp_path: Path, printed: Printed
) -> None:
    config = config_of(images, tmp_path / "out", "data.folds=4", "training.minutes=60")
    assert shared_out(config).training.minutes == 15
    start = words(images, tmp_path / "out", "--folds", 3, "--minutes", 60, "--dry-run")
    assert "60 minutes is divided: 20 minutes for each of 3 folds" in printed(main, start)
    assert "is divided" not in printed(main, [*start, "--fold", "1"])


def test_more_time_for_resumed_folds_is_divided(validated: Path, printed: Printed) -> None:
    again = ["--out", str(validated), "--resume", "--set", "training.flow.epochs=9"]
    again += ["--dry-run", "--trust-paths"]
    for more in (["--minutes", "60"], ["--set", "training.minutes=60"]):
        assert "60 minutes is divided: 20 minutes for each" in printed(main, [*again, *more])


def test_a_fold_that_cannot_continue_is_reported_with_a_solution(
    validated: Path, tmp_path: Path, refused: Printed
) -> None:
    out = shutil.copytree(validated, tmp_path / "folds")
    again = ["--out", str(out), "--resume", "--trust-paths"]
    said = refused(main, [*again, "--set", "training.flow.learning_rate=1e-5"])
    assert "fold_0: The run is finished" in said
    checkpoint = out / "fold_1" / "training" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    said = refused(main, again)
    assert f"{checkpoint} is damaged" in said
    assert "Remove that file and resume again to train this fold from the start" in said
    checkpoint.unlink()
    assert main([*again, "--quiet"]) == 0
    assert weights(out) == weights(validated)


def test_a_lower_rate_for_one_fold_does_not_block_the_others(
    images: Folders, validated: Path, tmp_path: Path, printed: Printed
) -> None:
    out = tmp_path / "folds"
    stopped_in_fold_1(images, out)
    again = ["--out", str(out), "--resume"]
    rate = "training.flow.learning_rate=1e-4"
    assert "Still to train: 2" in printed(main, [*again, "--fold", "1", "--set", rate])
    shutil.copytree(out, tmp_path / "copy")
    assert "Validation figures of 3 folds" in printed(main, [*again, "--fold", "2"])
    (out / "cross_validation.csv").unlink()
    assert "fold_1 is finished already" in printed(main, again)
    assert (out / "cross_validation.csv").is_file()
    copied = ["--out", str(tmp_path / "copy"), "--resume", "--trust-paths"]
    assert "Validation figures of 3 folds" in printed(main, copied)
    trained = [weights(each) for each in (validated, out, tmp_path / "copy")]
    assert [each[::2] for each in trained] == [trained[0][::2]] * 3


def test_each_of_several_data_sets_is_divided_separately(tmp_path: Path) -> None:
    folders = [write_discs(tmp_path / name, 9, seed) for name, seed in (("left", 1), ("right", 2))]
    values = disc_settings(*folders[0])
    sets = [
        {"name": name, "images": str(images), "masks": str(masks), "kind": "instances"}
        for name, (images, masks) in zip(("left", "right"), folders, strict=True)
    ]
    values["data"] = {"size": 64, "sets": sets, "folds": 2, "test_fraction": 0.1}
    for stage in ("image_vae", "mask_vae", "flow"):
        values["training"][stage] |= {"epochs": 1}  # type: ignore[index]
    out = tmp_path / "folds"
    config = config_from_mapping(values)
    with pytest.raises(DatasetError, match=r"^Set left: 8 .* too few for 50 folds"):
        CrossValidation(with_overrides(config, ["data.folds=50"]), RunOptions(out)).run()
    table = CrossValidation(config, RunOptions(out)).run()
    assert table is not None
    assert table.complete
    folds = read_folds(out / "folds.json")
    for name in ("left", "right"):
        counts = [sum(one.startswith(f"{name}__") for one in part) for part in folds.folds]
        assert counts == [4, 4]
    for fold in range(2):
        assert read_split(out / f"fold_{fold}" / "training" / "split.json") == folds.split(fold)
    assert len(Segmenter.load(out, "cpu").members) == 2
    chosen = Namespace(model=str(out), images=folders[1][0], masks=None, part="val", split=None)
    own, pairs = model_split(chosen), find_pairs(*folders[1])
    assert own is not None
    known = {f"right__{pair.name}": pair for pair in pairs}
    held_out = [pair for name, pair in known.items() if name not in folds.test]
    fold_of = own.fold_of(held_out, chosen.part)
    assert fold_of == {pair.name: folds.fold_of()[f"right__{pair.name}"] for pair in held_out}


def test_several_processes_train_folds_one_at_a_time(
    images: Folders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "folds"
    command = ["-m", "latentfm_core.cli.train", *words(images, out, "--folds", 3, "--quiet")]
    run = torchrun(*command, "--fold", 0)
    assert run.communicate(timeout=PATIENCE)[0].count("error") == 0
    assert run.returncode == 0
    folds = read_folds(out / "folds.json")
    assert read_split(out / "fold_0" / "training" / "split.json") == folds.split(0)
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    assert main(words(images, tmp_path / "all", "--folds", 3)) == 2
    assert "add --fold 0, then --fold 1" in capsys.readouterr().err
