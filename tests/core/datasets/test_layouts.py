"""Data folders in the layouts of nnU-Net and the ISIC challenge."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.io import imread, imsave

from latentfm_core.cli.evaluate import main as evaluate_main
from latentfm_core.cli.train import main as train_main
from latentfm_core.config import DataConfig
from latentfm_core.datasets.in_memory import load_canvases
from latentfm_core.datasets.layouts import read_layout, training_pairs
from latentfm_core.datasets.pair_reading import read_binary, read_labelled
from latentfm_core.errors import ConfigError, DatasetError
from latentfm_core.finetuning.recipe import finetune_config
from latentfm_core.model_io.card import read_only_card
from latentfm_core.model_io.folder import read_card
from latentfm_core.worklist.classes import add_classes
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, copy_model
from tests.helpers.pages import read_table
from tests.helpers.training_runs import TOML

COUNT = 14
DESCRIPTION = {
    "channel_names": {"0": "R", "1": "G", "2": "B"},
    "labels": {"background": 0, "lesion": 1, "core": 2},
    "numTraining": COUNT,
    "file_ending": ".png",
}


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    imsave(path, pixels, check_contrast=False)


def blob(folders: Folders, index: int) -> tuple[np.ndarray, np.ndarray]:
    name = f"blob_{index:03d}.png"
    return imread(folders[0] / name), imread(folders[1] / name) > 0


def describe(folder: Path, **changes: Any) -> Path:
    text = json.dumps(DESCRIPTION | changes)
    (folder / "dataset.json").write_text(text, "utf-8")
    return folder


@pytest.fixture
def nnunet(blob_folders: Folders, tmp_path: Path) -> Path:
    """Colour images in one file each, masks of two classes, a test part."""
    folder = tmp_path / "Dataset007_Blobs"
    for index in range(COUNT):
        image, mask = blob(blob_folders, index)
        labels = mask.astype(np.uint8)
        labels[mask & (np.arange(64) < 32)] = 2
        part = "Ts" if index >= COUNT - 2 else "Tr"
        save(folder / f"images{part}" / f"blob_{index:03d}_0000.png", image)
        save(folder / f"labels{part}" / f"blob_{index:03d}.png", labels)
    return describe(folder)


@pytest.fixture
def isic(blob_folders: Folders, tmp_path: Path) -> Path:
    """The folders of the 2018 challenge, as extracted from its archives."""
    folder = tmp_path / "isic"
    for index in range(COUNT):
        image, mask = blob(blob_folders, index)
        part = "Test" if index >= COUNT - 2 else "Training"
        name = f"ISIC_{index:07d}"
        save(folder / f"ISIC2018_Task1-2_{part}_Input" / f"{name}.jpg", image)
        truth = folder / f"ISIC2018_Task1_{part}_GroundTruth"
        save(truth / f"{name}_segmentation.png", mask.astype(np.uint8) * 255)
        for output in ("ATTRIBUTION.txt", "LICENSE.txt"):
            (truth / output).write_text("CC-0", "utf-8")
    save(folder / "ISIC2018_Task1-2_Training_Input" / "ISIC_0000000_superpixels.png", image)
    (folder / "ISIC2018_Task2_Training_GroundTruth_v3").mkdir()
    (folder / "ISIC2018_Task3_Training_Input").mkdir()
    return folder


def train(folder: Path, tmp_path: Path, *more: str) -> int:
    settings = tmp_path / "tiny.toml"
    settings.write_text(TOML, "utf-8")
    words = ["--config", settings, "--data", folder, "--out", tmp_path / "model", "--quiet"]
    return train_main([*map(str, words), *more])


def evaluate(folder: Path, tmp_path: Path, *more: str) -> int:
    words = ["--model", tmp_path / "model", "--data", folder, "--out", tmp_path / "scores"]
    return evaluate_main([*map(str, words), "--samples", "2", "--device", "cpu", "--quiet", *more])


def names_in(out: Path) -> set[str]:
    return {row["name"] for row in read_table(out)}


def test_train_and_evaluate_an_nnunet_folder(nnunet, tmp_path):
    assert train(nnunet, tmp_path) == 0
    card = read_card(tmp_path / "model")
    assert card.config.model.classes == ("lesion", "core")
    assert card.data.n_train + card.data.n_val + card.data.n_test == COUNT - 2
    assert evaluate(nnunet, tmp_path) == 0
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text("utf-8"))
    assert summary["data"]["part"] == "test"
    assert names_in(tmp_path / "scores") == {"blob_012", "blob_013"}
    split = tmp_path / "model" / "training" / "split.json"
    assert evaluate(nnunet, tmp_path, "--split", str(split), "--part", "val", "--overwrite") == 0


def test_train_and_evaluate_an_isic_folder(isic, tmp_path):
    # With the encoder of the default preset.
    assert train(isic, tmp_path, "--set", "model.condition=pretrained") == 0
    card = read_card(tmp_path / "model")
    assert card.config.model.classes == ("object",)
    assert card.config.data.folder is None, "a card holds no path of this machine"
    assert card.data.n_train + card.data.n_val + card.data.n_test == COUNT - 2
    assert evaluate(isic, tmp_path) == 0
    assert names_in(tmp_path / "scores") == {"ISIC_0000012", "ISIC_0000013"}
    # The folder has no validation part, but the model was validated on some of its images.
    assert evaluate(isic, tmp_path, "--part", "val", "--overwrite") == 0
    split = json.loads((tmp_path / "model" / "training" / "split.json").read_text("utf-8"))
    assert names_in(tmp_path / "scores") == set(split["val"])


@pytest.mark.parametrize("kind", ["nnunet", "isic"])
def test_a_folder_without_a_test_part_is_evaluated_on_held_out_images(
    kind, request, tiny_model_folder, tmp_path, refused
):
    folder = request.getfixturevalue(kind)
    shutil.rmtree(folder / ("labelsTs" if kind == "nnunet" else "ISIC2018_Task1_Test_GroundTruth"))
    labels = folder / "labelsTr"
    for path in labels.glob("*.png"):  # one class, as the other model has
        save(path, (imread(path) > 0).astype(np.uint8))
    if kind == "nnunet":
        describe(folder, labels={"background": 0, "lesion": 1})
    assert train(folder, tmp_path) == 0
    split = tmp_path / "model" / "training" / "split.json"
    held_out = set(json.loads(split.read_text("utf-8"))["test"])
    assert evaluate(folder, tmp_path) == 0
    assert names_in(tmp_path / "scores") == held_out
    # A model without a split cannot know which images to use.
    other = copy_model(tiny_model_folder, tmp_path / "other")
    words = ("--model", str(other), "--overwrite")
    said = " ".join(refused(evaluate, folder, tmp_path, *words).split())
    assert "has no part test" in said
    assert ("labelsTs is missing" in said) == (kind == "nnunet")
    assert "--split MODEL/training/split.json --part test" in said
    # As the message advises.
    assert evaluate(folder, tmp_path, *words, "--split", str(split), "--part", "test") == 0
    assert evaluate(folder, tmp_path, *words, "--part", "train") == 0
    assert len(names_in(tmp_path / "scores")) == COUNT - 2
    # Nor does a model whose split is of other images.
    foreign = refused(evaluate, folder, tmp_path, "--model", str(tiny_model_folder), "--overwrite")
    assert "--part train takes all of them" in foreign


def test_one_file_per_channel_equals_one_colour_file(nnunet, tmp_path):
    whole = training_pairs(DataConfig(folder=nnunet))
    apart = tmp_path / "apart"
    for pair in whole:
        image = imread(pair.image)
        for channel in range(3):
            save(apart / "imagesTr" / f"{pair.name}_{channel:04d}.png", image[..., channel])
        save(apart / "labelsTr" / f"{pair.name}.png", imread(pair.masks[0]))
    pairs = training_pairs(DataConfig(folder=describe(apart)))
    assert [pair.name for pair in pairs] == [pair.name for pair in whole]
    for one, three in zip(whole, pairs, strict=True):
        first, second = read_labelled(one, 2), read_labelled(three, 2)
        np.testing.assert_array_equal(first.image.pixels, second.image.pixels)
        np.testing.assert_array_equal(first.masks, second.masks)

    # A kept copy is out of date when any of the channels changes.
    data = DataConfig(folder=apart, size=64, cache=tmp_path / "cache")
    before = load_canvases(pairs[:1], data, classes=2).images[0]
    save(pairs[0].channels[1], np.full((64, 64), 9, np.uint8) + np.eye(64, dtype=np.uint8))
    after = load_canvases(pairs[:1], data, classes=2).images[0]
    np.testing.assert_array_equal(before[..., 1], after[..., 1])
    assert after[..., 2].max() == 10

    save(pairs[1].channels[0], np.eye(32, dtype=np.uint8))
    with pytest.raises(DatasetError, match="Export all channels with the same"):
        load_canvases(pairs[1:2], data, classes=2)


def test_challenges_from_other_years(blob_folders, tmp_path):
    image, mask = blob(blob_folders, 0)
    for year, images, masks in (
        ("2016", "ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth"),
        ("2017", "ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
    ):
        save(tmp_path / year / images / "ISIC_0000000.jpg", image)
        save(tmp_path / year / masks / "ISIC_0000000_Segmentation.png", mask * np.uint8(255))
        (tmp_path / year / "ISIC-2017_Test_v2_Part3_GroundTruth").mkdir()
        (pair,) = read_layout(tmp_path / year).pairs("test")
        np.testing.assert_array_equal(read_binary(pair).masks[0], mask)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"file_ending": ".nii.gz"}, "volumes"),
        ({"file_ending": "/../../x.png"}, "is not one of"),
        ({"file_ending": "png"}, 'Write ".png"'),
        ({"file_ending": None}, "not of nnU-Net 2"),
        ({"labels": {"background": 0, "whole": [1, 2], "core": 2}}, "Regions of several labels"),
        ({"labels": {"background": 0, "lesion": 1, "ignore": 2}}, "ignore"),
        ({"labels": {"background": 0, "lesion": 2}}, "without a gap"),
        ({"labels": {"background": 0, "lesion": True}}, "whole number"),
        ({"labels": {"0": "background", "1": "lesion"}}, "nnU-Net 1"),
        ({"labels": {"background": 0}}, "no label except"),
        ({"labels": ["lesion"]}, "no table of labels"),
        ({"labels": {"background": 0, "x" * 61: 1}}, "at most 60"),
        ({"labels": {"background": 0, **{f"c{i}": i for i in range(1, 34)}}}, "at most 32"),
        ({"channel_names": {"0": "T1", "1": "T2"}}, "names 2 channels"),
        ({"channel_names": {"1": "R", "2": "G", "3": "B"}}, "numbers its channels 1, 2, 3"),
        ({"channel_names": {"0": "B", "1": "G", "2": "R"}}, "read as red, green and blue"),
        ({"dataset": {"a": {"images": ["/etc/passwd"], "label": "b"}}}, "in other folders"),
        ({"file_ending": ".tif"}, "has no .tif files"),
    ],
)
def test_unsupported_features_of_nnunet_are_reported(nnunet, tmp_path, refused, changes, reason):
    describe(nnunet, **changes)
    assert reason in refused(train, nnunet, tmp_path)
    assert not (tmp_path / "model" / "model.json").exists()


def test_declared_numbers_of_images_and_channels_are_compared_with_the_files(
    nnunet, tmp_path, refused, caplog
):
    description = read_layout(describe(nnunet, channel_names={"0": "grey"}))
    assert len(description.pairs("train")) == COUNT - 2
    found = f"imagesTr has {COUNT - 2} images, and dataset.json says {COUNT} (numTraining)"
    assert found in caplog.text
    assert len(description.pairs("test")) == 2
    assert caplog.text.count("numTraining") == 1
    for path in sorted((nnunet / "imagesTr").iterdir()):
        for channel in (1, 2):
            shutil.copy(path, path.with_name(path.name.replace("_0000", f"_000{channel}")))
    said = refused(train, nnunet, tmp_path)
    assert "three files for each image, and dataset.json names one channel (grey)" in said
    caplog.clear()
    read_layout(describe(nnunet, numTraining=COUNT - 2)).pairs("train")
    assert not caplog.text


def test_labels_that_the_description_lacks_are_not_to_be_named_as_classes(
    nnunet, tmp_path, refused
):
    describe(nnunet, labels={"background": 0, "lesion": 1}, numTraining=COUNT - 2)
    advice = "dataset.json names the classes, and model.classes cannot add one: correct its labels"
    assert advice in refused(train, nnunet, tmp_path)
    for path in sorted((nnunet / "labelsTr").iterdir())[1:]:
        save(path, np.minimum(imread(path), 1))
    first = min((nnunet / "labelsTr").iterdir())
    save(first, np.minimum(imread(first), 1))
    image = nnunet / "imagesTr" / "model.classes_0000.png"
    shutil.copy(nnunet / "imagesTr" / "blob_000_0000.png", image)
    damaged = nnunet / "labelsTr" / "model.classes.png"
    damaged.write_bytes(b"")
    said = refused(train, nnunet, tmp_path)
    assert str(damaged) in said
    assert advice not in said, "its name is no advice"
    damaged.unlink()
    image.unlink()
    save(first, np.minimum(imread(first), 1) * 2)
    parts = ("--set", "data.val_fraction=0", "--set", "data.test_fraction=0")
    said = refused(train, nnunet, tmp_path, *parts)
    assert "2 in 1 (blob_000)" in said, "in one of the masks alone"
    assert advice in said
    said = refused(train, nnunet, tmp_path, "--set", "model.classes=lesion,core")
    assert "have 1 class (lesion), the model has 2. " in said
    assert "If masks have other labels, add them in dataset.json" in said


def test_a_class_of_the_description_that_no_mask_has_is_corrected_there(nnunet, tmp_path, caplog):
    for path in (nnunet / "labelsTr").iterdir():
        save(path, np.minimum(imread(path), 1))
    assert train(nnunet, tmp_path) == 0
    advice = "model.classes cannot add one: correct its labels, or the masks."
    assert caplog.text.count(advice) == 2, "of the training and of the validation part"


def test_files_that_do_not_match_are_reported(nnunet, tmp_path, refused):
    stray = nnunet / "imagesTr" / "blob_003_0001.png"
    save(stray, np.eye(8, dtype=np.uint8))
    assert "neither the one channel _0000 nor the three" in refused(train, nnunet, tmp_path)
    stray.rename(nnunet / "imagesTr" / "stray.png")
    assert "1 file lacks the channel number: stray.png" in refused(train, nnunet, tmp_path)
    (nnunet / "imagesTr" / "stray.png").unlink()
    (nnunet / "labelsTr" / "blob_004.png").unlink()
    assert "blob_004" in refused(train, nnunet, tmp_path)


def test_unknown_folders_and_duplicate_data_options_are_refused(
    tmp_path, blob_folders, isic, capsys, refused
):
    assert "does not have a known layout" in refused(train, tmp_path, tmp_path)
    masks = isic / "ISIC2018_Task1_Training_GroundTruth"
    for folder in isic.glob("*GroundTruth"):
        folder.rename(folder.with_name(f"{folder.name}_old"))
    assert "ends in _Input or _GroundTruth" in refused(train, isic, tmp_path)
    for folder in isic.glob("*_old"):
        folder.rename(folder.with_name(folder.name.removesuffix("_old")))
    assert masks.is_dir()
    (tmp_path / "half" / "imagesTr").mkdir(parents=True)
    describe(tmp_path / "half")
    assert "has dataset.json, but not labelsTr" in refused(train, tmp_path / "half", tmp_path)
    assert "is not a folder" in refused(train, tmp_path / "nowhere", tmp_path)
    assert train(isic, tmp_path, "--images", str(blob_folders[0])) == 2
    assert "use one or the other" in capsys.readouterr().err
    assert train(isic, tmp_path, "--set", 'model.classes=["a","b"]') == 2
    assert "have 1 class, the model has 2" in capsys.readouterr().err
    (isic / "ISIC-2017_Training_Data").mkdir()
    assert "several challenges" in refused(train, isic, tmp_path)


def test_classes_in_another_order_are_refused(tmp_path):
    labels = {"background": 0, "disc": 1, "square": 2}
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / name).mkdir()
    (tmp_path / "dataset.json").write_text(
        json.dumps({"labels": labels, "channel_names": {"0": "L"}, "file_ending": ".png"})
    )
    layout = read_layout(tmp_path)
    layout.check_classes(("Disc", "square"))
    layout.check_classes(("lesion", "scale"))
    for own in (("square", "disc"), ("lesion", "disc")):
        with pytest.raises(ConfigError, match="names the labels 1 disc, 2 square; the model has 1"):
            layout.check_classes(own)


def test_annotations_of_a_work_list_whose_labels_have_other_names_are_refused(
    tmp_path, two_class_folders, coloured_model_folder, refused
):
    images, masks = two_class_folders
    own = tmp_path / "annotations"
    shutil.copytree(masks, own)
    given = [str(word) for word in ("--images", images, "--masks", own)]
    add_classes(own, {2: "square", 1: "disc"})
    card = read_only_card(coloured_model_folder)
    data = DataConfig(images=images, masks=own)
    finetune_config(card, data)
    add_classes(own, {1: "square", 2: "disc"})
    with pytest.raises(ConfigError, match=r"classes\.json names the labels 1 square, 2 disc"):
        finetune_config(card, data)
    out = [str(word) for word in ("--model", coloured_model_folder, "--out", tmp_path / "e")]
    assert "names the labels 1 square" in refused(evaluate_main, [*given, *out])
    sets = ["--set", "model.classes=disc,square", "--out", str(tmp_path / "m")]
    assert "names the labels 1 square" in refused(train_main, [*given, *sets])
    several = tmp_path / "sets.toml"
    several.write_text(
        "".join(
            f'[[data.sets]]\nname = "{folder.name}"\nimages = "{images}"\nmasks = "{folder}"\n'
            for folder in (masks, own)
        )
    )
    assert "names the labels 1 square" in refused(train_main, ["--config", str(several), *sets])
    # As the masks of a rater.
    own.rename(tmp_path / "anna")
    own.mkdir()
    (tmp_path / "anna").rename(own / "anna")
    assert "names the labels 1 square" in refused(train_main, [*given, *sets])
    assert "names the labels 1 square" in refused(evaluate_main, [*given, *out])


def test_a_threshold_without_effect_is_refused(
    tmp_path, two_class_folders, coloured_model_folder, refused
):
    images, masks = two_class_folders
    given = ["--images", images, "--masks", masks, "--mask-threshold", 127.5]
    message = "--mask-threshold has no effect: masks of several classes"
    model = ["--model", coloured_model_folder, "--out", tmp_path / "e"]
    assert message in refused(evaluate_main, [str(word) for word in (*given, *model)])
    classes = ["--set", "model.classes=disc,square", "--out", tmp_path / "m"]
    assert message in refused(train_main, [str(word) for word in (*given, *classes)])


def test_a_link_out_of_the_folder_is_refused(nnunet, tmp_path, refused):
    (nnunet / "labelsTr").rename(tmp_path / "elsewhere")
    (nnunet / "labelsTr").symlink_to(tmp_path / "elsewhere")
    assert "links to files outside the folder: labelsTr" in refused(train, nnunet, tmp_path)
    assert len(training_pairs(DataConfig(folder=nnunet, reading={"follow_links": True}))) == 12


def test_colours_belong_to_the_classes_that_the_folder_names(
    nnunet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Printed
) -> None:
    config = tmp_path / "run.toml"
    words = ["--config", str(config), "--data", str(nnunet), "--dump-config"]
    # In another order than that of the folder, whose numbers the masks have.
    named = '[model]\nclasses = ["core", "lesion"]\nclass_colours = ["#d01c8b", "#4dac26"]'
    config.write_text(TOML.replace("[model]", named))
    assert train_main(words) == 0
    model = tomllib.loads(capsys.readouterr().out)["model"]
    assert model["classes"] == ["lesion", "core"]
    assert model["class_colours"] == ["#4dac26", "#d01c8b"]
    config.write_text(TOML.replace("[model]", named.replace("core", "cup")))
    message = refused(train_main, words)
    assert "class_colours are for the classes cup, lesion" in message
    assert "names the classes lesion, core" in message


def test_images_of_one_case_and_channel_are_refused(nnunet, tmp_path, refused):
    """On case-sensitive file systems one of them was left out."""
    first = sorted((nnunet / "imagesTr").iterdir())[0]
    shutil.copy(first, first.with_suffix(".PNG"))
    if len(list(first.parent.glob(f"{first.stem}*"))) < 2:
        pytest.skip("this file system does not tell upper and lower case apart")
    assert "1 pair of images shares a name" in refused(train, nnunet, tmp_path)
