"""Training as a user starts, stops and resumes it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from skimage.io import imread

from latentfm_core.cli.train import main
from latentfm_core.config import Config, StageConfig, config_from_mapping, preset
from latentfm_core.errors import CheckpointError
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.card import read_card
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.training.schedule import learning_rate
from latentfm_core.training.trainer import RunOptions, Trainer
from tests.helpers.commands import Printed
from tests.helpers.fixtures import SMALL_NETWORK, Folders, tiny_settings, write_blobs
from tests.helpers.pages import LOG, read_table
from tests.helpers.training_runs import StopAfter

TOML = (
    """
[data]
size = 64
val_fraction = 0.2
test_fraction = 0.2
"""
    + SMALL_NETWORK
    + """[training]
precision = "fp32"
augmentation = "strong"
validation_images = 2
[training.image_vae]
epochs = 1
batch_size = 8
size = 32
[training.mask_vae]
epochs = 1
batch_size = 8
[training.flow]
epochs = 2
small_epochs = 1
small_size = 32
batch_size = 8
validate_every = 1
"""
)


def _short_config(images: Path, masks: Path, augmentation: str = "strong") -> Config:
    values = tiny_settings()
    values["data"] = {"size": 64, "images": str(images), "masks": str(masks)}
    values["model"]["dropout"] = 0.1  # type: ignore[index]
    training = values["training"]
    training["augmentation"] = augmentation  # type: ignore[index]
    for stage in ("mask_vae", "flow"):
        training[stage]["epochs"] = 2  # type: ignore[index]
    return config_from_mapping(values)


@pytest.fixture(scope="module")
def whole(
    request: pytest.FixtureRequest, blob_folders: Folders, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Config, Path]:
    """Settings and model of an uninterrupted run, by its augmentation."""
    config, out = _short_config(*blob_folders, request.param), tmp_path_factory.mktemp("whole")
    assert Trainer(config, RunOptions(out)).run() is not None
    return config, out


@pytest.mark.parametrize(
    ("whole", "stop_at"),
    [("strong", [3]), ("strong", [5, 2]), ("strong", [9]), ("flips", [10])],
    ids=["image VAE", "mask VAE", "flow", "flow with kept latents"],
    indirect=["whole"],
)
def test_a_resumed_run_is_bit_identical_to_an_uninterrupted_one(
    whole: tuple[Config, Path], tmp_path: Path, stop_at: list[int]
) -> None:
    config, model = whole
    for index, steps in enumerate(stop_at):
        options = RunOptions(tmp_path / "parts", resume=index > 0, should_stop=StopAfter(steps))
        assert Trainer(config, options).run() is None
        assert not (tmp_path / "parts" / "model.json").exists()
    assert Trainer(config, RunOptions(tmp_path / "parts", resume=True)).run() is not None
    assert read_card(tmp_path / "parts").weights_sha256 == read_card(model).weights_sha256


def test_a_second_run_does_not_overwrite_the_first(
    blob_folders: Folders, tiny_model_folder: Path
) -> None:
    with pytest.raises(CheckpointError, match="--resume"):
        Trainer(_short_config(*blob_folders), RunOptions(tiny_model_folder))


def test_resume_without_a_run_is_refused(tmp_path: Path, refused: Printed) -> None:
    misspelt = tmp_path / "misspelt"
    said = refused(main, ["--out", str(misspelt), "--resume"])
    assert f"{misspelt} does not exist" in said
    assert "without --resume" not in said
    misspelt.mkdir()
    assert "no checkpoint" in refused(main, ["--out", str(misspelt), "--resume"])


def test_training_writes_log_pictures_and_report(tiny_model_folder: Path) -> None:
    rows = read_table(tiny_model_folder, LOG)
    assert [row["stage"] for row in rows] == ["image_vae"] + ["mask_vae"] * 10 + ["flow"] * 10
    assert float(rows[-1]["velocity"]) < float(rows[11]["velocity"])
    assert 0 <= float(rows[-1]["val_dice"]) <= 1
    pictures = sorted((tiny_model_folder / "training" / "samples").glob("*.png"))
    assert [p.name for p in pictures] == ["epoch_0010.png"]
    assert imread(pictures[0]).shape == (2 * 64, 5 * 64, 3)
    card = json.loads((tiny_model_folder / "model.json").read_text())
    assert card["metrics"]["val_mask_vae_dice"] > 0.9
    assert "/" not in json.dumps(card["config"]["data"]), "the card must not carry paths"


def test_the_trained_model_finds_the_lesions(
    tiny_model_folder: Path, blob_folders: Folders
) -> None:
    """A few seconds of training must beat the best constant answer by far."""
    from latentfm_core.images.read import read_image, read_mask
    from latentfm_core.metrics.overlap import dice
    from latentfm_core.uncertainty.summary import summarise

    split = json.loads((tiny_model_folder / "training" / "split.json").read_text())
    segmenter = Segmenter.load(tiny_model_folder, "cpu")
    images, masks = blob_folders
    scores = []
    for name in split["test"]:
        samples = segmenter.sample(read_image(images / f"{name}.png"))
        truth = read_mask(masks / f"{name}.png")
        scores.append(dice(summarise(samples).mean_mask, truth))
    assert np.mean(scores) > 0.8


def test_ctrl_c_saves_and_explains_how_to_resume(tmp_path: Path) -> None:
    images, masks = write_blobs(tmp_path / "data", count=24)
    (tmp_path / "run.toml").write_text(TOML)
    out = tmp_path / "model"
    base = [sys.executable, "-m", "latentfm_core.cli.train", "--out", str(out)]
    process = subprocess.Popen(
        [*base, "--config", str(tmp_path / "run.toml"), "--images", str(images), "--masks",
         str(masks), "--set", "training.flow.epochs=100000"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    log = out / "training" / "log.csv"
    deadline = time.monotonic() + 300
    while "flow" not in (log.read_text() if log.exists() else ""):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert f"latentfm-train --out {out} --resume" in errors
    again = subprocess.run(
        [*base, "--resume", "--set", "training.flow.epochs=2"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert (out / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "training.flow.epoch=3"], "training.flow.epoch"),
        (["--set", "model.downsample=5"], "model.downsample"),
        (["--set", "nonsense"], "section.key=value"),
        (["--device", "cuda:77"], "is not available on this machine"),
        (["--images", "missing"], "missing"),
        (["--config", "missing.toml"], "missing.toml"),
    ],
)
def test_bad_settings_are_named_and_exit_with_2(
    arguments: list[str], message: str, blob_folders: Folders, tmp_path: Path, refused: Printed
) -> None:
    images, masks = blob_folders
    out = tmp_path / "model"
    base = ["--out", str(out), "--images", str(images), "--masks", str(masks)]
    assert message in refused(main, [*base, *arguments])
    assert not out.exists()


def test_the_paper_preset_matches_the_paper() -> None:
    config = preset("paper")
    assert (config.model.downsample, config.model.latent_channels, config.model.vae_width) == (
        4,
        3,
        64,
    )
    assert config.sampling.n_samples == 5
    flow = config.training.flow
    assert (flow.learning_rate, flow.batch_size, flow.epochs) == (1e-5, 4, 250)
    assert flow.endpoint_weight == flow.auxiliary_weight == flow.ema_decay == 0


def test_the_paper_model_trains_only_the_velocity_network_in_the_flow_stage() -> None:
    values = {"velocity_widths": [16, 24], "vae_width": 8, "condition": "frozen"}
    model = LatentFM(preset("paper").model.model_copy(update=values))
    trained = {id(p) for p in model.flow_parameters()}
    assert trained == {id(p) for p in model.velocity.parameters()}


def test_a_small_paper_model_trains_end_to_end(blob_folders: Folders, tmp_path: Path) -> None:
    """Frozen condition encoder, f = 4 and no averaged weights, as in the paper."""
    images, masks = blob_folders
    values = preset("paper").to_json()
    values["data"] |= {"size": 64, "images": str(images), "masks": str(masks)}
    values["model"] |= {"vae_width": 8, "velocity_widths": [16, 24]}
    for stage in ("image_vae", "mask_vae", "flow"):
        values["training"][stage] |= {"epochs": 1, "size": None}
    values["training"] |= {"validation_images": 1, "precision": "fp32"}
    card = Trainer(config_from_mapping(values), RunOptions(tmp_path / "paper")).run()
    assert card is not None
    stored = load_file(tmp_path / "paper" / "model.safetensors")
    assert not torch.equal(stored["image_latent_std"], torch.ones_like(stored["image_latent_std"]))


def test_a_time_budget_ends_every_stage(blob_folders: Folders, tmp_path: Path) -> None:
    values = _short_config(*blob_folders).to_json()
    for stage in ("image_vae", "mask_vae", "flow"):
        values["training"][stage] |= {"epochs": 100_000, "max_seconds": 0.2}
    card = Trainer(config_from_mapping(values), RunOptions(tmp_path / "model")).run()
    assert card is not None
    stages = [row["stage"] for row in read_table(tmp_path / "model", LOG)]
    assert list(dict.fromkeys(stages)) == ["image_vae", "mask_vae", "flow"]


def test_the_rate_is_annealed_by_time_or_by_steps() -> None:
    settings = StageConfig(learning_rate=1.0, warmup_steps=10)
    assert learning_rate(settings, 0, 0.0, 1000) == pytest.approx(0.1)
    assert learning_rate(settings, 10, 0.01, 1000) == pytest.approx(1.0)
    assert learning_rate(settings, 20, 1.0, 1000) == pytest.approx(0.01)
    assert learning_rate(settings, 1000, 1.0, 1000) == pytest.approx(0.01)


def test_a_time_budget_shortens_the_warm_up() -> None:
    settings = StageConfig(learning_rate=1.0, warmup_steps=200)
    # 150 steps fit into the budget of a stage of a million steps.
    rates = [learning_rate(settings, step, step / 150, 1_000_000) for step in range(151)]
    assert rates[3] == pytest.approx(0.4, abs=0.01)
    assert rates.index(max(rates)) in (7, 8)
    assert rates[-1] == pytest.approx(0.01)


def test_training_from_a_model_uses_its_network(
    tiny_model_folder: Path, blob_folders: Folders, tmp_path: Path
) -> None:
    words = ["--init", tiny_model_folder, "--images", blob_folders[0], "--masks", blob_folders[1]]
    words += ["--out", tmp_path / "more", "--device", "cpu", "--quiet"]
    stages = [f"training.{stage}.epochs=0" for stage in ("image_vae", "mask_vae")]
    stages += ["training.flow.epochs=1"]
    sets = [item for stage in stages for item in ("--set", stage)]
    assert main([*map(str, words), *sets]) == 0
    before, after = (read_card(folder) for folder in (tiny_model_folder, tmp_path / "more"))
    assert after.config.model == before.config.model
    assert after.config.data.size == before.config.data.size
