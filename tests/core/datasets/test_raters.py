"""Several masks per image in reading, training and evaluation."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.draw import disk
from skimage.io import imsave

from latentfm_core.cli.evaluate import main as evaluate_main
from latentfm_core.cli.train import main as train_main
from latentfm_core.config import DataConfig, config_from_mapping
from latentfm_core.datasets.in_memory import load_canvases
from latentfm_core.datasets.pairs import find_pairs
from latentfm_core.errors import ConfigError, DatasetError
from latentfm_core.model_io.folder import load_model
from latentfm_core.training.batch_source import BatchLoader
from latentfm_core.training.batches import draw_raters
from latentfm_core.training.trainer import RunOptions, Trainer
from tests.helpers.fixtures import SIZE, Folders, tiny_settings
from tests.helpers.pages import Page
from tests.helpers.training_runs import words


def write_raters(folder: Path, count: int = 24) -> Folders:
    """Write discs; the second rater draws them half as wide as the first."""
    rng = np.random.default_rng(0)
    images, masks = folder / "images", folder / "masks"
    images.mkdir(parents=True)
    for rater in ("a", "b"):
        (masks / rater).mkdir(parents=True)
    for index in range(count):
        centre, radius = rng.uniform(22, 42, 2), rng.uniform(12, 18)
        image = np.full((SIZE, SIZE), 200, np.uint8)
        image[disk(centre, radius, shape=image.shape)] = 80
        imsave(images / f"{index:02d}.png", image, check_contrast=False)
        for rater, scale in (("a", 1.0), ("b", 0.5)):
            mask = np.zeros((SIZE, SIZE), np.uint8)
            mask[disk(centre, radius * scale, shape=mask.shape)] = 255
            imsave(masks / rater / f"{index:02d}.png", mask, check_contrast=False)
    return images, masks


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return write_raters(tmp_path_factory.mktemp("raters"))


def settings(folders: Folders, **training: object) -> dict[str, object]:
    values = tiny_settings(**training)
    paths = {"images": str(folders[0]), "masks": str(folders[1])}
    return values | {"data": {**values["data"], **paths}}  # type: ignore[dict-item]


def test_subfolders_of_the_mask_folder_are_raters(folders: Folders) -> None:
    images, masks = folders
    pairs = find_pairs(images, masks)
    assert len(pairs) == 24
    assert pairs[3].masks == (masks / "a/03.png", masks / "b/03.png")


def test_what_is_ignored_beside_the_masks_of_raters_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images, masks = write_raters(tmp_path, 2)
    for name in ("a/again", "nested/batch", "in_progress", ".hidden"):
        (masks / name).mkdir(parents=True)
    for source, copy in (("00.png", "a/again/00.png"), ("01.png", "nested/batch/01.png")):
        shutil.copy(masks / "a" / source, masks / copy)
    (masks / "other").mkdir()
    shutil.copy(masks / "a/00.png", masks / "other/00.jfif")
    (masks / "stray.npy").touch()
    (masks / "moved").symlink_to(tmp_path / "nowhere")
    with caplog.at_level("INFO"):
        assert find_pairs(images, masks)[0].raters == ("a", "b")
    assert [one.getMessage() for one in caplog.records] == [
        f"{masks}: 2 files are not images: moved, stray.npy",
        f"{masks}: 2 subfolders without images are not raters: nested, other",
        f"{masks / 'a'}: images in subfolders are ignored: again",
    ]


def test_a_rater_may_skip_an_image_but_masks_need_an_image(tmp_path: Path) -> None:
    images, masks = write_raters(tmp_path, 3)
    (masks / "b/01.png").unlink()
    data = load_canvases(find_pairs(images, masks), DataConfig(size=64))
    assert data.raters.tolist() == [2, 1, 2]
    (masks / "a/01.png").unlink()
    with pytest.raises(DatasetError, match=r"1 image has no mask: 01\.png"):
        find_pairs(images, masks)
    (images / "00.png").unlink()
    (images / "01.png").unlink()
    with pytest.raises(DatasetError, match=r"mask has no image: 00\.png"):
        find_pairs(images, masks)


def test_training_draws_all_raters_about_equally_often(folders: Folders) -> None:
    data = load_canvases(find_pairs(*folders), DataConfig(size=64))
    index = np.zeros(400, dtype=np.intp)
    raters = draw_raters(data, index, seed=1)
    assert 150 < int(raters.sum()) < 250
    masks = BatchLoader(data, 1, torch.device("cpu")).masks(index[:8], raters[:8], 64)
    areas = masks.sum(dim=(1, 2, 3)).numpy()
    expected = data.masks[0].sum(axis=(1, 2))[raters[:8]]
    np.testing.assert_array_equal(areas, expected)


def test_a_model_of_two_raters_is_trained_and_compared_with_both(
    folders: Folders, tmp_path: Path
) -> None:
    values = settings(folders, flow={"epochs": 30, "batch_size": 8, "learning_rate": 3e-3})
    card = Trainer(config_from_mapping(values), RunOptions(tmp_path / "model")).run()
    assert card is not None
    # The best weights were chosen by how the samples spread.
    assert 0 <= card.metrics["val_ged"] < 1
    words = ["--images", folders[0], "--masks", folders[1], "--model", tmp_path / "model"]
    options = ["--samples", "8", "--steps", "4", "--out", tmp_path / "out", "--report"]
    assert evaluate_main([str(word) for word in (*words, *options)]) == 0
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    table = (tmp_path / "out/per_image.csv").read_text().splitlines()
    assert table[1].split(",")[table[0].split(",").index("references")] == "2"
    for case in Page.read(tmp_path / "out/report.html").section("Best cases").all("figure"):
        assert len(case.all("path", stroke="#009e73")) == 2, "the outlines of both"
    # One sample repeated eight times could get no closer to both than 0.37: the two masks are
    # 0.75 apart, so that 2 E[d] - 0 - E[d(Y, Y')] is at least 0.75 - 0.375.
    assert summary["metrics"]["ged"] < 0.37


def test_init_starts_from_another_model_and_keeps_its_vaes(
    blob_folders: Folders, tiny_model_folder: Path, tmp_path: Path
) -> None:
    stage = {"epochs": 0}
    values = settings(blob_folders, image_vae=stage, mask_vae=stage, flow={"epochs": 1})
    options = RunOptions(tmp_path / "next", init=str(tiny_model_folder))
    assert Trainer(config_from_mapping(values), options).run() is not None
    before, _ = load_model(tiny_model_folder)
    after, _ = load_model(tmp_path / "next")
    for name, tensor in before.state_dict().items():
        same = bool((tensor == after.state_dict()[name]).all())
        if name.startswith(("mask_vae.", "latent_")):
            assert same, name
    assert not bool((before.velocity.conv_out[2].weight == after.velocity.conv_out[2].weight).all())


def test_init_from_a_different_architecture_is_refused(
    blob_folders: Folders, tiny_model_folder: Path, tmp_path: Path
) -> None:
    values = settings(blob_folders)
    values["model"] = {**values["model"], "vae_width": 24}  # type: ignore[dict-item]
    options = RunOptions(tmp_path / "next", init=str(tiny_model_folder))
    with pytest.raises(ConfigError, match="other network settings"):
        Trainer(config_from_mapping(values), options)


def test_init_of_an_unknown_model_exits_with_2(
    blob_folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--images", blob_folders[0], "--masks", blob_folders[1], "--out", tmp_path / "m"]
    assert train_main([*map(str, words), "--init", "no_such_model"]) == 2
    assert "neither a model folder nor a bundled model" in capsys.readouterr().err
    assert train_main([*map(str, words), "--init", "isic2081"]) == 2
    assert "Did you mean isic2018?" in capsys.readouterr().err


def write_folders(folder: Path, shift: float, scale: float, count: int = 6) -> Folders:
    """Write discs of the subfolders `cup` and `disc`; those of `cup` are moved and scaled."""
    images, masks = folder / "images", folder / "masks"
    for each in (images, masks / "disc", masks / "cup"):
        each.mkdir(parents=True)
    for index in range(count):
        image = np.random.default_rng(index).integers(0, 255, (SIZE, SIZE), np.uint8)
        imsave(images / f"{index:02d}.png", image, check_contrast=False)
        for name, centre, radius in (("disc", 22, 10), ("cup", 22 + shift, 10 * scale)):
            mask = np.zeros((SIZE, SIZE), np.uint8)
            mask[disk((centre, 22), radius, shape=mask.shape)] = 255
            imsave(masks / name / f"{index:02d}.png", mask, check_contrast=False)
    return images, masks


@pytest.mark.parametrize(
    ("shift", "scale", "said"),
    [
        (0, 0.5, "cup inside disc in 6 of 6 images"),
        (6, 1.3, ""),
        (0, 0.95, ""),
        (0, 0.8, ""),
        (0, 0.72, ""),
        (0, 0.3, "cup inside disc in 6 of 6 images"),
        (0, 1.0, "equal, as copies are: cup and disc in 6 of 6 images"),
        (25, 1.0, "hardly overlap: cup and disc (mean Dice 0.00, 6 images)"),
    ],
)
def test_subfolders_that_do_not_look_like_raters_cause_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shift: float, scale: float, said: str
) -> None:
    images, masks = write_folders(tmp_path, shift, scale)
    parts = ["--set", "data.val_fraction=0.2", "--set", "data.test_fraction=0"]
    cache = ["--cache", str(tmp_path / "cache")]
    chosen = {"false": "lowest validation GED", "true": "highest validation Dice, .* .not GED."}
    for prompts, by in chosen.items():
        more = [*parts, "--set", f"model.prompts={prompts}", "--dry-run"]
        assert train_main(words((images, masks), tmp_path / "m", *more)) == 0
        assert re.search(rf"best weights +{by}\n", capsys.readouterr().err)
    for _ in range(2):  # the second time from the cache
        command = words((images, masks), tmp_path / "m", *parts, *cache, "--dry-run")
        assert train_main(command) == 0
        printed = capsys.readouterr().err
        assert "2 (cup, disc); each subfolder of the masks counts as a rater" in printed
        assert said in printed
        assert ("Subfolders count as raters" in printed) == bool(said)


def test_evaluation_names_the_raters(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, masks = write_folders(tmp_path, 0, 0.5, 3)
    command = ["--model", str(tiny_model_folder), "--images", str(images), "--masks", str(masks)]
    command += ["--out", str(tmp_path / "out"), "--samples", "1", "--steps", "1"]
    assert evaluate_main([*command, "--device", "cpu"]) == 0
    printed = capsys.readouterr().err
    assert "2 (cup, disc); each subfolder" in printed
    assert "cup inside disc in 3 of 3 images" in printed
