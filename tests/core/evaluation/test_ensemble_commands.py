"""The commands with a cross-validation as the model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from latentfm_core.cli.calibrate import main as calibrate
from latentfm_core.cli.evaluate import main as evaluate
from latentfm_core.cli.predict import main as predict
from latentfm_core.cli.train import main as train
from latentfm_core.config import SamplingConfig
from latentfm_core.datasets.folds import read_folds
from latentfm_core.images.read import read_image
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.card import read_card
from latentfm_core.types import ImageInput
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, copy_model, write_blobs
from tests.helpers.folds import MEMBERS, copy_folds
from tests.helpers.pages import read_table

FEW = ["--samples", "4", "--steps", "2", "--device", "cpu", "--precision", "fp32"]
SETTINGS = SamplingConfig(n_samples=4, steps=2, device="cpu", precision="fp32")
Main = Callable[[list[str]], int]


def run(main: Main, model: Path, *more: object) -> int:
    return main([str(word) for word in (*more, "--model", model, *FEW)])


@pytest.fixture
def data(blob_folders: Folders) -> tuple[object, ...]:
    return ("--images", blob_folders[0], "--masks", blob_folders[1])


@pytest.fixture
def folds(fold_models: Path, tmp_path: Path) -> Path:
    """A copy that a test may calibrate."""
    return copy_folds(fold_models, tmp_path / "folds")


def run_calibration(folds: Path, data: tuple[object, ...], *more: object) -> int:
    return run(calibrate, folds, *data, "--allow-few", *more)


def noise() -> ImageInput:
    values = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    return ImageInput(values)


def column(out: Path, name: str) -> dict[str, str]:
    """Return a column of an evaluation, by image."""
    return {row["name"]: row[name] for row in read_table(out)}


def test_predict_equals_python_and_names_the_members(
    fold_models: Path, blob_folders: Folders, tmp_path: Path
) -> None:
    image = blob_folders[0] / "blob_003.png"
    assert run(predict, fold_models, image, "--out", tmp_path) == 0
    segmenter = Segmenter.load(fold_models, "cpu", "fp32")
    wanted = segmenter.summarise(segmenter.sample(read_image(image), SETTINGS))
    written = tifffile.imread(tmp_path / "blob_003_samples.tif")
    np.testing.assert_array_equal(written > 0, wanted.sample_masks)
    output = json.loads((tmp_path / "blob_003.json").read_text())
    cards = [read_card(fold_models / f"fold_{fold}") for fold in range(MEMBERS)]
    assert output["members"] == [{"id": card.id, "sha256": card.weights_sha256} for card in cards]
    assert output["model_id"] == "folds"
    assert output["model_sha256"] == segmenter.card.weights_sha256
    assert output["expected_dice"] == pytest.approx(wanted.expected_dice)


def test_each_image_of_a_fold_is_evaluated_by_the_model_that_has_not_seen_it(
    fold_models: Path, data: tuple[object, ...], tmp_path: Path, printed: Printed
) -> None:
    out = tmp_path / "out"
    said = printed(run, evaluate, fold_models, *data, "--part", "val", "--out", out)
    assert "Each image is segmented by the one model whose training left its fold out" in said
    assert "warning: The model was trained" not in said
    found = column(out, "sample_dice")
    folds = read_folds(fold_models / "folds.json")
    assert sorted(found) == sorted(folds.fold_of())
    for fold in range(MEMBERS):
        out = tmp_path / f"out{fold}"
        member = fold_models / f"fold_{fold}"
        assert run(evaluate, member, *data, "--part", "val", "--out", out) == 0
        alone = column(out, "sample_dice")
        assert sorted(alone) == sorted(folds.folds[fold])
        assert {name: found[name] for name in alone} == alone


def test_members_that_draw_no_sample_are_named(
    fold_models: Path, blob_folders: Folders, tmp_path: Path, printed: Printed
) -> None:
    image = blob_folders[0] / "blob_003.png"
    data = ("--images", blob_folders[0], "--masks", blob_folders[1])
    fast = ("--steps", 1, "--device", "cpu", "--model", fold_models, "--out")

    def said(main: Main, out: str, count: int, *more: object) -> str:
        given = (*more, *fast, tmp_path / out, "--samples", count)
        return printed(main, [str(word) for word in given])

    warning = "With 2 samples, these models of the ensemble folds draw none: fold_2. Add --samples"
    assert f"{warning} {MEMBERS}," in said(predict, "two", 2, image)
    assert "draw none" not in said(predict, "uneven", 4, image)
    assert "draw none: fold_1, fold_2" in said(evaluate, "test", 1, *data)
    assert "draw none" not in said(evaluate, "val", 1, *data, "--part", "val"), "one model each"


def test_all_members_evaluate_the_test_part_and_training_images_warn(
    fold_models: Path, data: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(evaluate, fold_models, *data, "--out", tmp_path / "out") == 0
    output = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (output["n_images"], output["data"]["part"]) == (8, "test")
    listed = [member["folder"] for member in output["model"]["members"]]
    assert listed == ["fold_0", "fold_1", "fold_2"]
    assert "warning: The model was trained" not in capsys.readouterr().err
    assert run(evaluate, fold_models, *data, "--part", "all", "--out", tmp_path / "all") == 0
    assert "was trained on 32 of these 40 images" in capsys.readouterr().err


def test_a_calibration_is_stored_in_the_folder_and_used_by_all_members(
    folds: Path, data: tuple[object, ...], blob_folders: Folders, tmp_path: Path
) -> None:
    cards = [folds / f"fold_{fold}" / "model.json" for fold in range(MEMBERS)]
    before = [card.read_bytes() for card in cards]
    assert run_calibration(folds, data) == 0
    assert [card.read_bytes() for card in cards] == before, "members keep their own calibration"
    stored = json.loads((folds / "ensemble.json").read_text())
    card = read_card(folds)
    assert card.calibration is not None
    assert (card.calibration.n_images, card.calibration.part) == (32, "val")
    assert stored["calibration"]["noise_scale"] == card.calibration.noise_scale
    segmenter = Segmenter.load(folds, "cpu", "fp32")
    image = blob_folders[0] / "blob_003.png"
    assert segmenter.summarise(segmenter.sample(read_image(image), SETTINGS)).calibrated
    assert run(predict, folds, image, "--out", tmp_path / "out") == 0
    output = json.loads((tmp_path / "out" / "blob_003.json").read_text())
    assert output["confidence"] == "calibrated"
    assert output["noise_scale"] == card.calibration.noise_scale


def test_a_calibration_of_other_members_is_not_used(
    folds: Path, fold_models: Path, data: tuple[object, ...], caplog: pytest.LogCaptureFixture
) -> None:
    assert run_calibration(folds, data) == 0
    shutil.rmtree(folds / "fold_2")
    copy_model(fold_models / "fold_0", folds / "fold_2")
    assert read_card(folds).calibration is None
    assert "Calibrate the ensemble again" in caplog.text


def test_all_members_sample_the_validation_part_of_a_challenge(
    folds: Path, tmp_path: Path, printed: Printed
) -> None:
    challenge = tmp_path / "challenge"
    images, masks = write_blobs(tmp_path / "new", 3, seed=9)
    for number, (image, mask) in enumerate(
        zip(sorted(images.iterdir()), sorted(masks.iterdir()), strict=True)
    ):
        for source, kind in ((image, "Input"), (mask, "GroundTruth")):
            target = challenge / f"ISIC2018_Task1_Validation_{kind}" / f"new_{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    assert "the one model" not in printed(run, calibrate, folds, "--data", challenge, "--allow-few")
    fitted = read_card(folds).calibration
    assert fitted is not None
    assert fitted.n_images == 3


def test_calibration_does_not_use_test_images(
    folds: Path, data: tuple[object, ...], refused: Printed
) -> None:
    assert "belong to the test part" in refused(run_calibration, folds, data, "--part", "test")
    assert not (folds / "ensemble.json").exists()


def test_the_domain_score_is_the_mean_over_the_members(
    folds: Path, data: tuple[object, ...], blob_folders: Folders
) -> None:
    assert Segmenter.load(folds, "cpu", "fp32").domain_score(noise()) is None
    given = (*data, "--domain-only", "--allow-few", "--model", folds, "--device", "cpu")
    assert calibrate([str(word) for word in given]) == 0
    ensemble = Segmenter.load(folds, "cpu", "fp32")
    known = read_image(blob_folders[0] / "blob_003.png")
    for image in (known, noise()):
        each = [member.domain_score(image) or 0.0 for member in ensemble.members]
        assert len(set(each)) == MEMBERS
        assert ensemble.domain_score(image) == pytest.approx(np.mean(each))
        assert ensemble.sample(image, SETTINGS).domain_score == ensemble.domain_score(image)
    # A member without one: the score is unknown.
    (folds / "fold_1" / "domain.safetensors").unlink()
    assert Segmenter.load(folds, "cpu", "fp32").domain_score(noise()) is None


def test_operations_on_a_single_model_ask_which_one(
    fold_models: Path, data: tuple[object, ...], tmp_path: Path, refused: Printed
) -> None:
    for preset in ((), ("--preset", "finetune"), ("--preset", "distill")):
        out = ("--out", tmp_path / "new")
        said = refused(train, [*map(str, (*data, *out, *preset, "--init", fold_models))])
        assert f"Choose one of them, for example {fold_models / 'fold_0'}" in said
        assert not (tmp_path / "new").exists()
