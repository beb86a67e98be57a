"""A folder of models as an ensemble, in every kind of run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ModelFolderError
from latentfm_core.images.read import read_image
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.inference.stack import segment_stack
from latentfm_core.model_io.card import read_card, write_card
from latentfm_core.prompts import Prompt
from latentfm_core.types import ImageInput
from tests.helpers.fixtures import Folders, copy_model
from tests.helpers.folds import MEMBERS, copy_folds
from tests.helpers.tiling import picture, tiled

__all__ = ["picture"]

SETTINGS = SamplingConfig(n_samples=7, steps=2, seed=5, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def ensemble(fold_models: Path) -> Segmenter:
    return Segmenter.load(fold_models, "cpu", "fp32")


@pytest.fixture(scope="module")
def image(blob_folders: Folders) -> ImageInput:
    return read_image(blob_folders[0] / "blob_000.png")


@pytest.fixture
def copies(promptable_model_folder: Path, tmp_path: Path) -> Path:
    """An ensemble of three equal models, whose results must equal those of one."""
    for name in "abc":
        copy_model(promptable_model_folder, tmp_path / "copies" / name)
    return tmp_path / "copies"


def test_sample_n_comes_from_member_n_modulo_their_number(
    ensemble: Segmenter, fold_models: Path, image: ImageInput
) -> None:
    found = ensemble.sample(image, SETTINGS)
    assert found.seeds == tuple(range(5, 12))
    for m in range(MEMBERS):
        member = Segmenter.load(fold_models / f"fold_{m}", "cpu", "fp32")
        alone = member.sample(image, SETTINGS).probabilities
        np.testing.assert_allclose(found.probabilities[m::MEMBERS], alone[m::MEMBERS], atol=1e-5)
        other = member.sample(image, SETTINGS).probabilities[(m + 1) % MEMBERS :: MEMBERS]
        assert np.abs(found.probabilities[(m + 1) % MEMBERS :: MEMBERS] - other).max() > 0.01


def test_equal_seeds_give_equal_samples_for_any_count(
    ensemble: Segmenter, image: ImageInput
) -> None:
    found = ensemble.sample(image, SETTINGS).probabilities
    np.testing.assert_array_equal(ensemble.sample(image, SETTINGS).probabilities, found)
    for count in (2, 5):  # 2: fewer samples than members
        few = ensemble.sample(image, SETTINGS.model_copy(update={"n_samples": count}))
        np.testing.assert_allclose(few.probabilities, found[:count], atol=1e-5)


def test_mean_and_summary_are_those_of_all_samples(ensemble: Segmenter, image: ImageInput) -> None:
    samples = ensemble.sample(image, SETTINGS)
    summary = ensemble.summarise(samples)
    np.testing.assert_allclose(
        summary.mean_probability, samples.probabilities.mean(axis=0), atol=1e-5
    )
    assert summary.sample_masks.shape[0] == 7
    assert summary.expected_dice is not None


def test_progress_rises_to_its_total_and_a_run_is_cancelled_within_a_step(
    ensemble: Segmenter, image: ImageInput
) -> None:
    steps: list[Progress] = []
    # Shares of 3, 2 and 2 samples in batches of 2: the first member has one batch more.
    settings = SETTINGS.model_copy(update={"batch_size": 2})
    ensemble.sample(image, settings, steps.append)
    done = [step.done for step in steps]
    assert done == sorted(done)
    assert len({step.total for step in steps}) == 1
    assert steps[-1].done == steps[-1].total
    run = ensemble.sample_steps(image, settings)
    next(run)
    run.close()
    with pytest.raises(StopIteration):
        next(run)


def test_prompts_objects_strokes_and_stacks_work_as_for_a_single_model(
    copies: Path, promptable: Segmenter
) -> None:
    joint = Segmenter.load(copies, "cpu", "fp32")
    pixels = np.random.default_rng(0).integers(100, 160, (64, 96, 3)).astype(np.uint8)
    pixels[20:45, 15:40] = 60
    image = ImageInput(pixels)
    strokes = np.zeros((64, 96), np.uint8)
    strokes[30, 20:30] = 2
    # A click needs a first pass for the extent of the object, which all members must share.
    click = Prompt(positive=((30, 25),))
    for given in (
        {"prompt": click},
        {"prompt": Prompt(box=(18, 12, 47, 42))},
        {"strokes": strokes},
    ):
        mine, wanted = (each.sample(image, SETTINGS, **given) for each in (joint, promptable))
        assert mine.geometry == wanted.geometry
        np.testing.assert_allclose(mine.probabilities, wanted.probabilities, atol=1e-4)
    objects = [each.sample_objects(image, [click, click], SETTINGS) for each in (joint, promptable)]
    for mine, wanted in zip(*objects, strict=True):
        np.testing.assert_allclose(mine.probabilities, wanted.probabilities, atol=1e-4)
    stacks = [segment_stack(each, [image, image], SETTINGS) for each in (joint, promptable)]
    np.testing.assert_allclose(
        stacks[0].summary.mean_probability, stacks[1].summary.mean_probability, atol=1e-4
    )


def test_tiles_use_all_members(fold_models: Path, ensemble: Segmenter, picture: np.ndarray) -> None:
    settings = SETTINGS.model_copy(update={"n_samples": 4})
    found = tiled(ensemble, picture, settings)
    for m in range(MEMBERS):
        member = Segmenter.load(fold_models / f"fold_{m}", "cpu", "fp32")
        alone = tiled(member, picture, settings)
        differing = (found.masks[m::MEMBERS] != alone.masks[m::MEMBERS]).mean()
        assert differing < 1e-3
    assert np.isfinite(found.confidence).all()


def changed(folder: Path, name: str, **data: Any) -> None:
    card = read_card(folder / name)
    config = card.config.model_copy(update={"data": card.config.data.model_copy(update=data)})
    write_card(folder / name, card.model_copy(update={"config": config}))


def test_models_that_differ_are_refused_with_the_difference(
    fold_models: Path, tmp_path: Path
) -> None:
    folder = copy_folds(fold_models, tmp_path / "folds")
    changed(folder, "fold_2", size=96, fit="stretch")
    message = r"fold_2 has data.size 96, fold_0 has 64; fold_2 has data.fit stretch, fold_0 has pad"
    with pytest.raises(ModelFolderError, match=message):
        Segmenter.load(folder)
    with pytest.raises(ModelFolderError, match="differ"):
        read_card(folder)


def test_a_cross_validation_is_a_model_only_with_all_folds(
    fold_models: Path, tmp_path: Path
) -> None:
    folder = copy_folds(fold_models, tmp_path / "folds")
    (folder / "fold_1" / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError, match=r"fold_1 is not trained yet.*--resume"):
        Segmenter.load(folder)


def test_any_folder_of_models_is_an_ensemble_in_numerical_order(
    fold_models: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    for source, name in ((0, "seed10"), (1, "seed2")):
        copy_model(fold_models / f"fold_{source}", folder / name)
    (folder / "notes").mkdir()
    card = read_card(folder)
    assert [member.folder for member in card.members] == ["seed2", "seed10"]
    assert card.id == "models"
    # One model in a folder may be a folder chosen by mistake.
    shutil.rmtree(folder / "seed10")
    with pytest.raises(ModelFolderError, match="not a complete model folder"):
        Segmenter.load(folder)


def test_incomplete_members_are_named(copies: Path, caplog: pytest.LogCaptureFixture) -> None:
    (copies / "b" / "model.safetensors").unlink()
    (copies / "d" / "training").mkdir(parents=True)
    (copies / "d" / "training" / "checkpoint.safetensors").touch()
    (copies / "e").symlink_to(copies / "nowhere")
    (copies / "plots").mkdir()
    assert [member.folder for member in read_card(copies).members] == ["a", "c"]
    assert f"{copies}: 3 folders without a complete model" in caplog.text
    assert "are not part of the ensemble: b, d, e" in caplog.text


def test_the_digest_changes_with_any_member(fold_models: Path, tmp_path: Path) -> None:
    folder = copy_folds(fold_models, tmp_path / "folds")
    before = read_card(folder)
    assert before.weights_sha256 == read_card(fold_models).weights_sha256
    shutil.rmtree(folder / "fold_0")
    copy_model(fold_models / "fold_1", folder / "fold_0")
    assert read_card(folder).weights_sha256 != before.weights_sha256
