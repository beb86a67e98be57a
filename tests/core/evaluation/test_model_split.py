"""Evaluation and calibration use the split of the training by default."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from latentfm_core.cli.calibrate import main as calibrate
from latentfm_core.cli.evaluate import main as evaluate
from latentfm_core.datasets.splits import Split, read_split, write_split
from latentfm_core.model_io.card import read_card
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, copy_model
from tests.helpers.pages import read_table

FEW = ["--samples", "2", "--steps", "1", "--device", "cpu"]


@pytest.fixture
def model(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """The model with its training split: 24, 8 and 8 of 40 images."""
    folder = copy_model(tiny_model_folder, tmp_path / "model")
    (folder / "training").mkdir()
    shutil.copy(tiny_model_folder / "training" / "split.json", folder / "training")
    return folder


def run_evaluation(
    model: Path, folders: Folders, out: Path, *more: object
) -> tuple[int, dict[str, object]]:
    words = ["--images", folders[0], "--masks", folders[1], "--model", model, "--out", out]
    code = evaluate([str(word) for word in (*words, *FEW, *more)])
    summary = out / "summary.json"
    return code, json.loads(summary.read_text()) if summary.exists() else {}


def names_in(out: Path) -> list[str]:
    return sorted(row["name"] for row in read_table(out))


def only(folders: Folders, names: tuple[str, ...], target: Path) -> Folders:
    for source in folders:
        (target / source.name).mkdir(parents=True)
        for name in names:
            shutil.copy(source / f"{name}.png", target / source.name)
    return target / folders[0].name, target / folders[1].name


@pytest.mark.parametrize("name", ["modle", "model/model.json"])
def test_a_wrong_model_is_reported_before_anything_about_its_split(
    model: Path,
    blob_folders: Folders,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    code, _ = run_evaluation(model.parent / name, blob_folders, tmp_path / "out", "--part", "val")
    (said,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert said.startswith(f"error: {model.parent / name} is ")


def test_the_test_part_is_used_and_named(
    model: Path, blob_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, summary = run_evaluation(model, blob_folders, tmp_path / "out")
    said = capsys.readouterr()
    split = read_split(model / "training" / "split.json")
    assert code == 0
    assert names_in(tmp_path / "out") == list(split.test)
    assert f"Using the 8 images of part test of {model / 'training' / 'split.json'}" in said.err
    assert "warning: The model was trained" not in said.err
    assert summary["data"]["part"] == "test"  # type: ignore[index]
    assert summary["data"]["trained_on"] == 0  # type: ignore[index]


@pytest.mark.parametrize("which", [0, 1])
def test_an_evaluation_is_not_written_among_images_or_masks(
    model: Path,
    blob_folders: Folders,
    tmp_path: Path,
    which: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images, masks = (
        Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in blob_folders
    )
    out = (images, masks)[which]
    before = sorted(out.iterdir())
    assert run_evaluation(model, (images, masks), out)[0] == 2
    assert "contains images or masks" in capsys.readouterr().err
    assert sorted(out.iterdir()) == before


def test_training_images_cause_a_warning(
    model: Path, blob_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, summary = run_evaluation(model, blob_folders, tmp_path / "out", "--part", "all")
    said = capsys.readouterr()
    assert code == 0
    assert len(names_in(tmp_path / "out")) == 40
    assert "warning: The model was trained on 24 of these 40 images" in said.err
    assert "TRAINED ON" in said.out
    assert summary["data"]["trained_on"] == 24  # type: ignore[index]
    # A custom split does not hide it.
    own = tmp_path / "own.json"
    write_split(own, Split((), (), read_split(model / "training" / "split.json").train[:5]))
    run_evaluation(model, blob_folders, tmp_path / "out2", "--split", own)
    assert "trained on 5 of these 5 images" in capsys.readouterr().err


def test_renamed_training_images_cause_a_warning(
    model: Path,
    tiny_model_folder: Path,
    blob_folders: Folders,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(tiny_model_folder / "training" / "images.json", model / "training")
    split = read_split(model / "training" / "split.json")
    seen, unseen = split.train[:3], split.test[:2]
    images, masks = only(blob_folders, (*seen, *unseen), tmp_path / "some")
    for number, name in enumerate((*seen, *unseen)):
        with Image.open(images / f"{name}.png") as image:
            image.save(images / f"patient{number}.tif")
        (images / f"{name}.png").unlink()
        (masks / f"{name}.png").rename(masks / f"patient{number}.png")
    code, summary = run_evaluation(model, (images, masks), tmp_path / "out")
    said = capsys.readouterr()
    assert code == 0
    assert "warning: The model was trained on 3 of these images under other names" in said.err
    assert f"patient0 = {seen[0]}" in said.err
    assert "patient3" not in said.err
    assert "TRAINED ON" in said.out
    assert summary["data"]["trained_on"] == 3  # type: ignore[index]
    assert run_calibration(model, (images, masks), "--allow-few") == 0
    assert "trained on 3 of these images under other names" in capsys.readouterr().err


def test_other_images_with_the_names_of_training_images_are_not_mistaken_for_them(
    model: Path,
    tiny_model_folder: Path,
    blob_folders: Folders,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(tiny_model_folder / "training" / "images.json", model / "training")
    (tmp_path / "other").mkdir()
    other, masks = tmp_path / "other", blob_folders[1]
    for path in blob_folders[0].iterdir():
        with Image.open(path) as image:
            ImageOps.invert(image).save(other / path.name)
    for more in ((), ("--part", "all")):
        code, summary = run_evaluation(model, (other, masks), tmp_path / "o", "--overwrite", *more)
        said = capsys.readouterr().err
        assert code == 0
        assert len(names_in(tmp_path / "o")) == 40
        assert summary["data"]["trained_on"] == 0  # type: ignore[index]
        assert "24 images have the names of training images (" in said
        assert more or "Using all 40 images: they are not those of the split" in said
    assert run_evaluation(model, (other, masks), tmp_path / "part", "--part", "test")[0] == 2
    assert "The images are not those of" in capsys.readouterr().err
    assert run_calibration(model, (other, masks)) == 0, "none of them is a test image"
    # One training image among them: names count.
    trained = read_split(model / "training" / "split.json").train
    shutil.copy(blob_folders[0] / f"{trained[0]}.png", other)
    assert run_evaluation(model, (other, masks), tmp_path / "some", "--part", "all")[0] == 0
    assert "trained on 24 of these 40 images" in capsys.readouterr().err


def test_images_of_a_redrawn_training_part_count_as_seen(
    model: Path, blob_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = read_split(model / "training" / "split.json").test
    (model / "training" / "trained_on.json").write_text(json.dumps(test[:3]))
    run_evaluation(model, blob_folders, tmp_path / "out")
    assert "trained on 3 of these 8 images" in capsys.readouterr().err


def test_all_unknown_images_are_used(
    model: Path, blob_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = read_split(model / "training" / "split.json")
    some = only(blob_folders, (*split.test[:3], split.train[0]), tmp_path / "some")
    code, _ = run_evaluation(model, some, tmp_path / "out")
    said = capsys.readouterr().err
    assert code == 0
    assert len(names_in(tmp_path / "out")) == 4
    assert "Using all 4 images" in said
    assert "trained on 1 of these 4 images" in said
    code, _ = run_evaluation(model, some, tmp_path / "out2", "--part", "test")
    assert code == 2
    assert "lacks 5 images of the part test" in capsys.readouterr().err
    # A copy without its training folder.
    shutil.rmtree(model / "training")
    assert run_evaluation(model, some, tmp_path / "out3")[0] == 0
    assert "not known which images the model was trained on" in capsys.readouterr().err


def test_an_incomplete_part_of_the_training_folder_is_not_replaced_by_all_images(
    model: Path, blob_folders: Folders, tmp_path: Path, refused: Printed
) -> None:
    split = read_split(model / "training" / "split.json")
    most = only(blob_folders, (*split.train, *split.val, *split.test[1:]), tmp_path / "most")
    said = refused(lambda: run_evaluation(model, most, tmp_path / "out")[0])
    assert f"lacks 1 image of the part test of {model}/training/split.json: {split.test[0]}" in said
    assert "add --part all" in said
    assert run_evaluation(model, most, tmp_path / "out", "--part", "all")[0] == 0


def run_calibration(model: Path, folders: Folders, *more: object) -> int:
    words = ["--images", folders[0], "--masks", folders[1], "--model", model, *FEW, *more]
    return calibrate([str(word) for word in words])


def test_calibration_uses_the_validation_part_and_refuses_other_images(
    model: Path, blob_folders: Folders, capsys: pytest.CaptureFixture[str], refused: Printed
) -> None:
    said = refused(run_calibration, model, blob_folders)
    assert "Using the 8 images of part val" in said
    assert "add --allow-few" in said
    assert run_calibration(model, blob_folders, "--allow-few") == 0
    fitted = read_card(model).calibration
    assert fitted is not None
    assert (fitted.part, fitted.n_images) == ("val", 8)
    capsys.readouterr()
    for part, count in (("test", 8), ("all", 8)):
        said = refused(run_calibration, model, blob_folders, "--part", part, "--allow-few")
        assert f"{count} of the" in said
        assert "--allow-test" in said
    assert run_calibration(model, blob_folders, "--part", "all", "--allow-test") == 0
    assert "warning: The model was trained on 24 of these 40" in capsys.readouterr().err


@pytest.mark.parametrize("same", [True, False])
def test_an_ensemble_of_runs_has_the_splits_of_its_members(
    same: bool,
    model: Path,
    blob_folders: Folders,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    refused: Printed,
) -> None:
    runs = tmp_path / "runs"
    split = read_split(model / "training" / "split.json")
    for seed in (0, 1):
        shutil.copytree(model, runs / f"seed_{seed}")
    test, trained = split.test, 24
    if not same:
        # Two images of the test part of one member are in the training part of the other.
        test, trained = split.test[2:], 26
        other = Split((*split.train, *split.test[:2]), split.val, (*test, "one more"))
        write_split(runs / "seed_1" / "training" / "split.json", other)
    code, summary = run_evaluation(runs, blob_folders, tmp_path / "out")
    assert code == 0
    assert names_in(tmp_path / "out") == list(test)
    assert summary["data"]["trained_on"] == 0  # type: ignore[index]
    said = refused(run_calibration, runs, blob_folders, "--part", "all", "--allow-few")
    assert f"trained on {trained} of these 40 images" in said
    assert f"{len(test)} of the 40 images belong to the test part" in said
    assert run_calibration(runs, blob_folders, "--allow-few") == 0
    assert f"Using the 8 images of part val of {runs / '*'}" in capsys.readouterr().err
    shutil.rmtree(runs / "seed_1" / "training")
    assert run_calibration(runs, blob_folders, "--allow-few") == 0
    assert "not known which images seed_1 of" in capsys.readouterr().err


def test_skipped_images_do_not_count_for_a_calibration(
    model: Path, blob_folders: Folders, tmp_path: Path, refused: Printed
) -> None:
    images, masks = (shutil.copytree(one, tmp_path / one.name) for one in blob_folders)
    for path in sorted(masks.iterdir())[:21]:
        path.write_text("damaged")
    everything = ("--part", "all", "--allow-test", "--skip-bad")
    said = refused(run_calibration, model, (images, masks), *everything)
    assert "19 images are too few for a calibration" in said


def test_concurrent_calibrations_of_one_model_do_not_mix(
    model: Path, blob_folders: Folders, refused: Printed
) -> None:
    from latentfm_core.files.locks import FolderLock

    lock = FolderLock(model)
    assert lock.acquire()
    assert "Another process" in refused(run_calibration, model, blob_folders, "--allow-few")
    lock.release()


@pytest.mark.parametrize("moved", [False, True])
def test_images_of_one_of_several_data_sets_are_recognised(
    moved: bool,
    model: Path,
    blob_folders: Folders,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = model / "training" / "split.json"
    alone = read_split(file)

    def joined(names: tuple[str, ...]) -> tuple[str, ...]:
        return (*(f"blobs__{name}" for name in names), f"other__{names[0]}x")

    write_split(file, Split(joined(alone.train), joined(alone.val), joined(alone.test)))
    folders = {"other": tmp_path, "blobs": tmp_path / "then" if moved else blob_folders[0]}
    sets = [{"name": name, "images": str(folder.resolve())} for name, folder in folders.items()]
    (model / "training" / "config.json").write_text(json.dumps({"data": {"sets": sets}}))
    assert run_evaluation(model, blob_folders, tmp_path / "out")[0] == 0
    assert names_in(tmp_path / "out") == list(alone.test)
    assert f"Using the 8 images of part test of {file} (set blobs)" in capsys.readouterr().err
    assert run_evaluation(model, blob_folders, tmp_path / "all", "--part", "all")[0] == 0
    assert "warning: The model was trained on 24 of these 40 images" in capsys.readouterr().err
