"""Ends of stages by patience and time budget, and times of checkpoints."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from latentfm_core.cli.train import main
from latentfm_core.config import Config, with_overrides
from latentfm_core.training import run_files, selection
from latentfm_core.training.checkpoint import Position
from latentfm_core.training.time_budget import stage_seconds
from latentfm_core.training.trainer import RunOptions, Trainer
from latentfm_core.training.validation_time import plan_validation
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, write_blobs
from tests.helpers.pages import LOG, read_table
from tests.helpers.training_runs import config_of, words


@pytest.fixture
def images(tmp_path: Path) -> Folders:
    return write_blobs(tmp_path / "data", 8)


def _epochs(out: Path, stage: str) -> int:
    return sum(row["stage"] == stage for row in read_table(out, LOG))


def test_patience_ends_the_flow_and_keeps_the_best_weights(
    images: Folders,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A small network keeps improving; here the first validation is the best.
    scores = iter([0.5, 0.4, 0.4, 0.4, 0.4, 0.4])
    monkeypatch.setattr(selection, "selection_score", lambda _: next(scores))
    changes = ("training.flow.epochs=6", "training.flow.patience=2")
    sets = [part for change in changes for part in ("--set", change)]
    with caplog.at_level(logging.INFO, logger="latentfm_core"):
        assert main(words(images, tmp_path / "out", *sets)) == 0
    assert _epochs(tmp_path / "out", "flow") == 3
    said = [record.getMessage() for record in caplog.records]
    end = next(at for at, line in enumerate(said) if "No improvement in 2 validations" in line)
    assert said[end - 1].startswith("Flow, epoch ")
    assert "left" not in said[end - 1]


def test_the_budget_of_a_run_ends_every_stage(
    images: Folders, tmp_path: Path, printed: Printed
) -> None:
    endless = [f"training.{stage}.epochs=100000" for stage in ("image_vae", "mask_vae", "flow")]
    sets = [part for change in endless for part in ("--set", change)]
    said = printed(main, words(images, tmp_path / "out", "--minutes", "0.05", *sets))
    for stage in ("image_vae", "mask_vae", "flow"):
        assert f"The time budget ends stage {stage} after " in said
    assert _epochs(tmp_path / "out", "flow") >= 1


@pytest.mark.parametrize(("minutes", "samples", "fewer"), [(0.15, 4, False), (0.05, 64, True)])
def test_validation_counts_towards_the_budget_of_a_run(
    images: Folders,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    minutes: float,
    samples: int,
    fewer: bool,
) -> None:
    sets = [f"training.{stage}.epochs=100000" for stage in ("image_vae", "mask_vae", "flow")]
    sets += ["data.val_fraction=0.5", "training.validation_images=4"]
    sets += [f"training.validation_samples={samples}", "training.validation_steps=16"]
    sets += [f"training.minutes={minutes}"]
    trainer = Trainer(config_of(images, tmp_path / "out", *sets), RunOptions(tmp_path / "out"))
    start = time.monotonic()
    with caplog.at_level(logging.INFO, logger="latentfm_core"):
        assert trainer.run() is not None
    taken, one = time.monotonic() - start, trainer.state.position.validation_seconds
    assert trainer.state.position.metrics["val_dice"] >= 0
    assert taken < 60 * minutes * 1.05 + one + 1
    assert ("more than a quarter of the time of the flow" in caplog.text) is fewer
    rows = [row for row in read_table(tmp_path / "out", LOG) if row["stage"] == "flow"]
    validated = [row for row in rows if row["val_dice"]]
    assert validated[-1] is rows[-1]
    assert ("Validation is skipped if" in caplog.text) is (len(validated) < len(rows))
    assert 2 <= len(validated) < len(rows) or fewer
    few = trainer.state.position.validation_images
    assert bool(few) is fewer
    plan_validation(trainer.state)
    assert trainer.state.position.validation_images == few, "the same budget"
    trainer.state.config = with_overrides(trainer.state.config, ["training.minutes=1000"])
    with caplog.at_level(logging.INFO, logger="latentfm_core"):
        plan_validation(trainer.state)
    assert not trainer.state.position.validation_images
    assert ("the best weights so far have a score of" in caplog.text) is fewer


def test_the_budget_is_divided_among_the_stages_that_train() -> None:
    config = with_overrides(Config(), ["training.minutes=100", "training.mask_vae.max_seconds=400"])
    assert config.model.condition == "multiscale"
    seconds = {name: stage_seconds(config, name) for name in ("image_vae", "mask_vae", "flow")}
    assert seconds["mask_vae"] == 400
    assert seconds["image_vae"] == pytest.approx((5820 - 400) * 8 / 80)
    assert seconds["flow"] == pytest.approx((5820 - 400) * 72 / 80)
    short = with_overrides(config, ["training.minutes=10", "training.flow.max_seconds=4200"])
    seconds = {name: stage_seconds(short, name) for name in seconds}
    assert sum(value or 0 for value in seconds.values()) <= 600, (
        "of the run, whatever its stages ask"
    )
    assert seconds["flow"] == pytest.approx(582 * 72 / 90)
    pretrained = with_overrides(config, ["model.condition=pretrained"])
    assert stage_seconds(pretrained, "flow") == pytest.approx(5820 - 400)


def test_checkpoints_are_written_every_n_steps(
    images: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int]] = []
    save = run_files.save_checkpoint

    def noting(*args: object, **kwargs: object) -> None:
        position = args[2]
        assert isinstance(position, Position)
        steps.append((position.stage, position.step))
        save(*args, **kwargs)  # type: ignore[arg-type]  # handed on as they are

    monkeypatch.setattr(run_files, "save_checkpoint", noting)
    sets = ("--set", "training.checkpoint_steps=2", "--set", "training.flow.epochs=5")
    assert main(words(images, tmp_path / "out", *sets)) == 0
    assert {("flow", 2), ("flow", 4)} <= set(steps)
