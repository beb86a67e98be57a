"""A few-step network, added to a finished model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from latentfm_core.cli.predict import main as predict
from latentfm_core.cli.train import main
from latentfm_core.config import Config, DataConfig, SamplingConfig
from latentfm_core.finetuning.recipe import finetune_config
from latentfm_core.images.read import read_image
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.card import ModelCard
from latentfm_core.model_io.folder import read_card
from latentfm_core.prompts import Prompt
from latentfm_core.training.distillation import distill_config, is_distillation
from latentfm_core.training.trainer import RunOptions, Trainer
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders


def _words(folders: Folders, parent: Path, out: Path) -> list[str]:
    words = ["--preset", "distill", "--init", parent, "--out", out]
    words += ["--images", folders[0], "--masks", folders[1], "--device", "cpu"]
    for setting in ("batch_size=8", "epochs=3", "small_epochs=0", "warmup_steps=2"):
        words += ["--set", f"training.distill.{setting}"]
    return [str(word) for word in [*words, "--set", "training.validation_images=2"]]


@pytest.fixture(scope="module")
def distilled(
    blob_folders: Folders, calibrated_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("distilled") / "fast"
    assert main(_words(blob_folders, calibrated_model_folder, out)) == 0
    return out


def test_only_runs_with_few_euler_steps_change(
    distilled: Path, calibrated_model_folder: Path, blob_folders: Folders
) -> None:
    image = read_image(sorted(blob_folders[0].iterdir())[0])
    new = Segmenter.load(distilled, "cpu", "fp32")
    old = Segmenter.load(calibrated_model_folder, "cpu", "fp32")
    for steps, solver, same in ((4, "euler", True), (1, "heun", True), (2, "euler", False)):
        settings = SamplingConfig(n_samples=2, steps=steps, solver=solver)
        one, other = (s.sample(image, settings).probabilities for s in (new, old))
        assert np.array_equal(one, other) == same, (steps, solver)


def test_the_card_keeps_its_metrics_and_records_the_distillation(
    distilled: Path, calibrated_model_folder: Path
) -> None:
    card, parent = read_card(distilled), read_card(calibrated_model_folder)
    assert card.calibration == parent.calibration
    assert parent.metrics.items() <= card.metrics.items()
    assert {"val_dice_steps_1", "val_dice_steps_2"} <= card.metrics.keys()
    assert card.training == parent.training
    assert card.distillation is not None
    assert "--preset distill" in card.distillation.command
    assert card.config.model.distilled_steps == 2
    assert card.config.training.flow == parent.config.training.flow


def test_the_model_still_detects_images_out_of_domain(
    domain_model_folder: Path, blob_folders: Folders, tmp_path: Path
) -> None:
    out = tmp_path / "fast"
    assert main(_words(blob_folders, domain_model_folder, out)) == 0
    image = read_image(sorted(blob_folders[0].iterdir())[0])
    settings = SamplingConfig(n_samples=1, steps=1)
    new, old = (Segmenter.load(folder, "cpu", "fp32") for folder in (out, domain_model_folder))
    score = new.sample(image, settings).domain_score
    assert score is not None
    assert score == old.sample(image, settings).domain_score


def test_a_point_gives_the_samples_of_the_parent_with_more_steps(
    promptable_model_folder: Path, blob_folders: Folders, tmp_path: Path
) -> None:
    # The first pass, which finds the extent of the object, takes two steps in any case.
    out = tmp_path / "fast"
    assert main(_words(blob_folders, promptable_model_folder, out)) == 0
    image = read_image(sorted(blob_folders[0].iterdir())[0])
    new, old = (Segmenter.load(f, "cpu", "fp32") for f in (out, promptable_model_folder))
    prompt = Prompt(positive=((30, 30),))
    for steps, distilled, same in ((4, True, True), (2, True, False), (2, False, True)):
        settings = SamplingConfig(n_samples=2, steps=steps, distilled=distilled)
        one, other = (s.sample(image, settings, prompt=prompt) for s in (new, old))
        assert np.array_equal(one.probabilities, other.probabilities) == same, (steps, distilled)
        assert one.record.settings["distilled"] == (not same)
        assert not other.record.settings["distilled"]


def test_the_calibration_of_the_flow_is_not_used_without_a_warning(
    distilled: Path, blob_folders: Folders, tmp_path: Path, printed: Printed
) -> None:
    image = sorted(blob_folders[0].iterdir())[0]

    def said(steps: int, *more: str) -> str:
        words = [image, "--model", distilled, "--out", tmp_path, "--overwrite", "--steps", steps]
        return printed(predict, [*map(str, words), *more, "--samples", "2", "--device", "cpu"])

    assert "distilled network" not in said(2, "--no-distilled") + said(3)
    assert "these are from its distilled network with 2. Expected Dice" in said(2)


def test_the_command_can_do_without_the_network(
    distilled: Path, blob_folders: Folders, tmp_path: Path
) -> None:
    image, masks = sorted(blob_folders[0].iterdir())[0], []
    for name, options in (("with", ()), ("without", ("--no-distilled",))):
        words = [image, "--model", distilled, "--out", tmp_path / name, "--steps", 1, *options]
        assert predict([*map(str, words), "--samples", "2", "--device", "cpu"]) == 0
        result = json.loads((tmp_path / name / f"{image.stem}.json").read_text("utf-8"))
        assert result["distilled"] == (not options)
        masks.append(tifffile.imread(tmp_path / name / f"{image.stem}_variance.tif"))
    assert not np.array_equal(*masks)
    words = [image, "--model", distilled, "--out", tmp_path / "with", "--steps", 1]
    words += ["--samples", 2, "--device", "cpu", "--skip-done", "--no-distilled"]
    assert predict([*map(str, words)]) == 2, "not the same result"


def test_stages_that_the_model_has_no_network_for_do_not_count() -> None:
    off = {"mask_vae": {"epochs": 0}, "flow": {"epochs": 0}}
    given = {"model": {"condition": "pretrained", "distilled_steps": 2}}
    training = {**off, "distill": {"epochs": 3}}
    config = Config.model_validate({**given, "training": training})
    assert config.training.image_vae.epochs > 0
    assert is_distillation(config)
    with_flow = {**training, "flow": {"epochs": 1}}
    assert not is_distillation(Config.model_validate({**given, "training": with_flow}))


def test_a_stopped_run_resumes_to_the_same_network(
    distilled: Path, calibrated_model_folder: Path, blob_folders: Folders, tmp_path: Path
) -> None:
    out = tmp_path / "fast"
    card = read_card(distilled)
    own = {"images": blob_folders[0], "masks": blob_folders[1]}
    training = {name: {"epochs": 0} for name in ("image_vae", "mask_vae", "flow")}
    config = Config.model_validate(
        card.config.model_dump()
        | {"data": card.config.data.model_dump() | own | {"val_fraction": 0.1}}
        | {"training": {**training, "distill": card.config.training.distill.model_dump()}}
    )
    steps = iter([False, False, False, True])
    stopped = RunOptions(
        out, init=str(calibrated_model_folder), should_stop=lambda: next(steps, True)
    )
    assert Trainer(config, stopped).run() is None
    assert Trainer(config, RunOptions(out, resume=True)).run() is not None
    again = read_card(out)
    assert again.calibration == card.calibration
    whole = tmp_path / "whole"
    assert Trainer(config, RunOptions(whole, init=str(calibrated_model_folder))).run() is not None
    assert again.weights_sha256 == read_card(whole).weights_sha256


def test_few_steps_can_be_the_default_until_the_flow_is_trained_again(
    calibrated_model_folder: Path, blob_folders: Folders, tmp_path: Path
) -> None:
    out, image = tmp_path / "fast", sorted(blob_folders[0].iterdir())[0]
    words = _words(blob_folders, calibrated_model_folder, out)
    assert main([*words, "--set", "sampling.steps=1"]) == 0
    words = [image, "--model", out, "--out", tmp_path, "--samples", "2", "--device", "cpu"]
    assert predict([*map(str, words)]) == 0
    result = json.loads((tmp_path / f"{image.stem}.json").read_text("utf-8"))
    assert (result["steps"], result["distilled"]) == (1, True)
    # The flow alone needs its usual number of steps.
    data = DataConfig(images=blob_folders[0], masks=blob_folders[1])
    further = finetune_config(read_card(out), data)
    assert further.model.distilled_steps == 0
    assert further.sampling.ode_steps == 4
    # Steps that the flow has taken so far do not change.
    given = further.model_copy(update={"sampling": SamplingConfig(steps=1)})
    assert given.without_few_steps().sampling.steps == 1


@pytest.mark.parametrize("recipe", [distill_config, finetune_config])
def test_further_training_preprocesses_images_like_the_parent(
    recipe: Callable[[ModelCard, DataConfig], Config],
    tiny_model_folder: Path,
    blob_folders: Folders,
) -> None:
    card = read_card(tiny_model_folder)
    seen = card.config.data.model_copy(update={"resolution": 384, "unprompted": 0.6})
    config = card.config.model_copy(update={"data": seen})
    parent = card.model_copy(update={"config": config})
    data = recipe(parent, DataConfig(images=blob_folders[0], masks=blob_folders[1])).data
    assert (data.size, data.resolution, data.fit) == (seen.size, 384, seen.fit)
    assert data.unprompted == 0.6


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--preset", "distill"], "--init MODEL"),
        (["--set", "model.distilled_steps=2"], "training.distill.epochs belong together"),
    ],
)
def test_models_that_cannot_be_distilled_are_refused(
    words: list[str], expected: str, blob_folders: Folders, tmp_path: Path, refused: Printed
) -> None:
    folders = ["--images", str(blob_folders[0]), "--masks", str(blob_folders[1])]
    assert expected in refused(main, [*words, *folders, "--out", str(tmp_path / "out")])
