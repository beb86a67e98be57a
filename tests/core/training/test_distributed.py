"""Training by two processes of torchrun, with gloo, on this machine."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from latentfm_core.config import Config, config_from_mapping, with_overrides
from latentfm_core.config.loading import to_toml
from latentfm_core.errors import ConfigError
from latentfm_core.finetuning.finetune import FineTune
from latentfm_core.torchrun import Launch, read_launch
from latentfm_core.training.checkpoint import read_checkpoint
from latentfm_core.training.distributed import ProcessGroup, join_processes
from latentfm_core.training.trainer import RunOptions, Trainer
from tests.helpers.fixtures import Folders, tiny_settings
from tests.helpers.pages import LOG, read_table
from tests.helpers.processes import PATIENCE, alive, children, torchrun, wait_for

LAUNCHED = {"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "3"}

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def _settings(folders: Folders, **flow: object) -> dict[str, object]:
    """Batches of seven, which two processes cannot share evenly."""
    values = tiny_settings(augmentation="strong", validation_images=8)
    images, masks = map(str, folders)
    values["data"] |= {"images": images, "masks": masks}  # type: ignore[operator]
    training = values["training"]
    training["image_vae"] |= {"batch_size": 7}  # type: ignore[index]
    training["mask_vae"] |= {"epochs": 1, "batch_size": 7}  # type: ignore[index]
    training["flow"] |= {"epochs": 4, "batch_size": 7, "validate_every": 1, **flow}  # type: ignore[index]
    return values


def _config(folders: Folders, **flow: object) -> Config:
    return config_from_mapping(_settings(folders, **flow))


@pytest.mark.parametrize(
    ("asked", "step"),
    [(11, 3), (13, 5)],
    ids=["in the validation of the first epoch", "in the middle of the second epoch"],
)
def test_two_processes_equal_one_and_a_single_process_can_resume(
    blob_folders: Folders, tmp_path: Path, asked: int, step: int
) -> None:
    config = _config(blob_folders)
    (tmp_path / "config.json").write_text(json.dumps(config.to_json()))
    run = torchrun(
        "tests/helpers/distributed_run.py", tmp_path / "config.json", tmp_path / "parts", asked
    )
    assert Trainer(config, RunOptions(tmp_path / "whole")).run() is not None
    said, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, said
    stopped = read_checkpoint(tmp_path / "parts" / "training").position
    assert (stopped.stage, stopped.step) == ("flow", step)
    assert not (tmp_path / "parts" / "model.json").exists()
    assert len(read_table(tmp_path / "parts", LOG)) == (2 if step == 3 else 3)
    assert Trainer(config, RunOptions(tmp_path / "parts", resume=True)).run() is not None
    whole, parts = read_table(tmp_path / "whole", LOG), read_table(tmp_path / "parts", LOG)
    assert [row["stage"] for row in parts] == ["image_vae", "mask_vae"] + ["flow"] * 4
    for number, (one, two) in enumerate(zip(whole, parts, strict=True)):
        names = ["val_dice", "val_sample_dice"]
        if number != 3:  # the epoch that was broken off tells the mean of its second part
            names += ["loss", "kl", "mse", "velocity", "auxiliary"]
        for name in names:
            assert bool(two[name]) == bool(one[name])
            assert float(two[name] or 0) == pytest.approx(float(one[name] or 0), rel=2e-3), name
    first = load_file(tmp_path / "whole" / "model.safetensors")
    second = load_file(tmp_path / "parts" / "model.safetensors")
    difference = torch.cat([(first[n] - second[n]).float().flatten() for n in first]).norm()
    size = torch.cat([value.float().flatten() for value in first.values()]).norm()
    assert difference < 2e-3 * size


@on_linux
def test_when_a_process_is_killed_the_others_end_and_the_run_can_resume(
    blob_folders: Folders, tmp_path: Path
) -> None:
    endless = _config(blob_folders, epochs=100_000)
    config = with_overrides(endless, ["training.checkpoint_minutes=1e-6"])
    (tmp_path / "run.toml").write_text(to_toml(config))
    out = tmp_path / "model"
    words = ["-m", "latentfm_core.cli.train", "--config", tmp_path / "run.toml", "--out", out]
    run = torchrun(*words)
    log = out / "training" / "log.csv"
    wait_for(lambda: log.exists() and "flow" in log.read_text(), run)
    workers = children(run.pid)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    said, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode != 0
    assert not any(map(alive, workers))
    assert said.count("Model written") == 0
    steps = read_checkpoint(out / "training").position.step
    ended = _config(blob_folders, epochs=1 + steps // 3)
    assert Trainer(ended, RunOptions(out, resume=True)).run() is not None


def test_without_a_launcher_there_is_one_process() -> None:
    assert read_launch({}) == Launch()
    assert read_launch({"RANK": "3", "WORLD_SIZE": "8"}) == Launch()  # set by some clusters
    assert read_launch(LAUNCHED) == Launch(1, 3, 1, 3)
    assert type(join_processes("cpu")) is ProcessGroup


@pytest.mark.parametrize("wrong", [{"RANK": "3"}, {"WORLD_SIZE": "many"}, {"LOCAL_RANK": "-1"}])
def test_invalid_launcher_variables_are_reported(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        read_launch({**LAUNCHED, **wrong})


def test_options_unsupported_with_several_processes_are_refused(
    blob_folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="one process"):
        FineTune(_config(blob_folders), RunOptions(tmp_path / "model", init="isic2018"))
    with pytest.raises(ConfigError, match="pip install"), monkeypatch.context() as patch:
        patch.setitem(sys.modules, "lightning_fabric", None)
        join_processes("cpu")


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_each_row_goes_to_one_process(size: int) -> None:
    processes = ProcessGroup(torch.device("cpu"))
    taken: list[int] = []
    for rank in range(size):
        processes.rank, processes.size = rank, size
        taken += range(7)[processes.rows(7)]
    assert taken == list(range(7))
