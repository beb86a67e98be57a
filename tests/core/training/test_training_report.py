"""The report of a training agrees with the log, and its errors never stop a run."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from latentfm_core.cli.train import main
from latentfm_core.config import Config, config_from_mapping
from latentfm_core.config.loading import to_toml
from latentfm_core.model_io.folder import read_card
from latentfm_core.report.advice import UNUSABLE, advice
from latentfm_core.report.grids import chosen
from latentfm_core.report.training import TrainingReport
from latentfm_core.training.trainer import RunOptions, Trainer
from tests.helpers.fixtures import SIZE, Folders, tiny_settings, write_blobs
from tests.helpers.pages import Page, check_that_it_loads_nothing, picture, read_table


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return write_blobs(tmp_path_factory.mktemp("seven"), 7, seed=3)


def curves(page: Page, title: str) -> set[str]:
    """Return the tooltips of the dots of a chart."""
    charts = {each.one("h3").text: each for each in page.section("Curves").all("figure")}
    chart = charts[title]
    return {dot.text for dot in chart.all("circle") if dot.text}


def test_the_curves_have_a_point_for_each_epoch(tiny_model_folder: Path) -> None:
    training = tiny_model_folder / "training"
    page = Page.read(training / "report.html")
    check_that_it_loads_nothing(page)
    rows = read_table(training, "log.csv")
    for stage, title in {"mask_vae": "Mask VAE", "flow": "Flow"}.items():
        output = curves(page, f"{title}: losses")
        own = [row for row in rows if row["stage"] == stage]
        assert len(own) == 10
        for row in own:
            losses = f"total, minimised, epoch: {row['epoch']}, {float(row['loss']):.4g}"
            assert losses in output
    figures = curves(page, "Flow: figures")
    assert f"Dice, validation, epoch: 10, {float(rows[-1]['val_dice']):.4g}" in figures
    (grid,) = page.section("Best and last epoch").all("figure")
    assert "Epoch 10" in grid.text
    assert picture(grid.one("img")).shape == (2 * SIZE, 5 * SIZE, 3)


def short_config(folders: Folders) -> Config:
    short = {"epochs": 1, "batch_size": 4}
    flow = {**short, "epochs": 3, "validate_every": 1}
    values = tiny_settings(image_vae=short, mask_vae=short, flow=flow)
    values["data"] = {"size": SIZE, "images": str(folders[0]), "masks": str(folders[1])}
    return config_from_mapping(values)


def test_a_resumed_training_continues_its_report(folders: Folders, tmp_path: Path) -> None:
    config, out = short_config(folders), tmp_path / "model"
    training = out / "training"
    validated = training / "samples" / "epoch_0001.png"
    stopped = RunOptions(out, should_stop=validated.exists)
    assert Trainer(config, stopped).run() is None
    before = Page.read(training / "report.html")
    (caption,) = before.section("Best and last epoch").all("figcaption")
    assert caption.text.startswith("Epoch 1: Dice")
    # A picture without a row in the log is left over from a killed run.
    ahead = training / "samples" / "epoch_0009.png"
    shutil.copy(training / "samples" / "epoch_0001.png", ahead)
    assert Trainer(config, RunOptions(out, resume=True)).run() is not None
    page = Page.read(training / "report.html")
    losses = {output.rpartition(",")[0] for output in curves(page, "Flow: losses")}
    assert {f"velocity, epoch: {epoch}" for epoch in (1, 2, 3)} <= losses
    first = [each.text for each in page.section("Best and last epoch").all("figcaption")]
    assert first[-1].startswith("Epoch 3")
    assert sum("best so far" in caption for caption in first) == 1
    captions = sorted(each.text for each in page.all("figcaption") if "Epoch" in each.text)
    assert [caption[:7] for caption in captions] == ["Epoch 1", "Epoch 2", "Epoch 3"]
    assert list(training.glob(".*")) == [], "nothing is left under way"


def test_a_report_that_cannot_be_written_does_not_end_the_training(
    folders: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "model"
    (out / "training" / "report.html" / "in the way").mkdir(parents=True)
    with caplog.at_level(logging.WARNING, "latentfm_core"):
        assert Trainer(short_config(folders), RunOptions(out)).run() is not None
    warned = [each.message for each in caplog.records if "report.html was not" in each.message]
    assert len(warned) == 1, "a warning once, not after every epoch"
    assert "Cannot write" in warned[0]
    assert len(read_table(out / "training", "log.csv")) == 5


def test_damaged_pictures_and_logs_are_left_out(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model" / "training"
    (folder / "samples").mkdir(parents=True)
    (folder / "samples" / "epoch_0001.png").write_bytes(b"\x89PNG no picture")
    picture = tiny_model_folder / "training" / "samples" / "epoch_0010.png"
    shutil.copy(picture, folder / "samples" / "epoch_0002.png")
    good = {"stage": "flow", "step": "3", "loss": "0.5", "val_dice": "0.8"}
    rows: list[dict[str, Any]] = [
        good | {"epoch": "1"},
        {"stage": "<b>", "epoch": "no number", "loss": "1"},
        {"stage": "<i>", "epoch": "1", "loss": "1e-300", "val_dice": "nan"},
        good | {"epoch": 2, "loss": None, "val_dice": 0.7},
    ]
    TrainingReport(folder).write(rows)
    page = Page.read(folder / "report.html")
    check_that_it_loads_nothing(page)
    (shown,) = page.section("Best and last epoch").all("figcaption")
    assert "Epoch 2" in shown.text
    assert not page.all("i")
    assert len(page.section("Progress").one("tbody").all("tr")) == 2


@pytest.mark.parametrize("most", [3, 12])
def test_few_of_many_pictures_are_shown(most: int) -> None:
    for count in range(1, 300):
        best = (7 * count) // 11
        shown = chosen(count, best, most)
        assert len(shown) <= most
        assert {0, best, count - 1} <= set(shown) <= set(range(count))
    assert chosen(0, 0, most) == []
    assert len(chosen(200, 0, 12)) >= 6, "and not too few"


def judged(dice: list[float], loss: list[float]) -> str:
    """Return the advice on the page for a flow with these metrics per epoch."""
    rows: list[dict[str, Any]] = [
        {"stage": "flow", "epoch": n, "step": n, "loss": one, "val_dice": other}
        for n, (one, other) in enumerate(zip(loss, dice, strict=True), start=1)
    ]
    return advice(rows)


def test_the_page_gives_advice_on_over_and_underfitting() -> None:
    falling = [1.0 / n for n in range(1, 13)]
    rising = [0.5, 0.7, 0.8, 0.84, 0.86, 0.87, 0.87, 0.88]
    over = judged([*rising, 0.86, 0.85, 0.83, 0.82], falling)
    assert over.startswith("Overfitting: since epoch 8")
    assert "Dice 0.880 to 0.820" in over
    unstable = judged([*rising, 0.6, 0.5, 0.4, 0.4], [*falling[:8], 0.3, 0.4, 0.5, 0.5])
    assert unstable.startswith("Unstable: since epoch 8")
    short = judged([0.1 * n / 2 for n in range(1, 13)], falling)
    assert short.startswith("Not finished")
    assert "training.flow.epochs" in short
    under = judged([0.3, 0.4, *[0.5] * 10], [1.0, 0.8, *[0.7] * 10])
    assert under.startswith("Underfitting")
    assert "0.50" in under
    level = judged([*rising, 0.881, 0.879, 0.882, 0.88], falling)
    assert level.startswith("Levelled off: the validation has not improved")
    early = judged([0.5, 0.6], [1.0, 0.9])
    assert "Too early" in early
    assert "If the run has ended, it was too short for that: extend it with --resume" in early
    assert "no validation part" in advice([{"stage": "flow", "epoch": 1, "loss": 1.0}])
    assert advice([]) == ""


def test_the_command_ends_with_a_readable_summary(
    folders: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, config = tmp_path / "model", tmp_path / "run.toml"
    config.write_text(to_toml(short_config(folders)))
    words = ["--config", str(config), "--out", str(out)]
    with caplog.at_level(logging.INFO, "latentfm_core"):
        assert main([*words, "--set", "training.flow.epochs=1"]) == 0
    figures = read_card(out).metrics
    ending = [each for each in caplog.records if each.message.startswith("Model written to")]
    assert f"validation Dice {figures['val_dice']:.2f}, IoU" in ending[0].message
    assert str(out / "training" / "report.html") in ending[0].message
    assert "val_dice" not in ending[0].message
    warned = any("not usable yet" in each.message for each in caplog.records)
    assert figures["val_dice"] < UNUSABLE, "after one epoch"
    assert warned


def test_a_model_that_finds_nothing_yet_is_not_called_overfitted() -> None:
    dice = [0.0] * 9 + [0.027] + [0.0] * 4
    falling = [1.0 - 0.05 * n for n in range(14)]
    untrained = judged(dice, falling)
    assert untrained.startswith("Not trained long enough: the best validation Dice is only 0.03")
    assert "epoch 14" in untrained
    assert "--minutes" in untrained
    assert "--init generalist" in untrained
    level = judged([0.1] * 3 + [0.25] + [0.1] * 10, [1.0, 0.9, 0.8, 0.7, 0.6, *[0.5] * 9])
    assert level.startswith("Underfitting"), "its loss has levelled off: time will not help"
    better = judged([each + 0.6 for each in dice[:8]] + [0.9] + [0.6] * 5, falling)
    assert better.startswith("Overfitting")


def test_noise_is_not_reported_as_overfitting() -> None:
    noisy = [0.8, 0.7, 0.82, 0.71, 0.83, 0.7, 0.82, 0.72, 0.81, 0.73, 0.82, 0.72]
    assert judged(noisy, [1.0 / n for n in range(1, 13)]).startswith("Levelled off")


def test_models_with_several_raters_are_judged_by_ged() -> None:
    rows: list[dict[str, Any]] = [
        {"epoch": n, "loss": 1 / n, "val_dice": 0.9, "val_ged": ged}
        for n, ged in enumerate([0.9, 0.6, 0.4, 0.3, 0.3, 0.5, 0.6, 0.6], start=1)
    ]
    said = advice(rows)
    assert said.startswith("Overfitting: since epoch 4")
    assert "GED 0.300 to 0.600" in said


def test_the_best_epoch_is_marked_and_the_page_begins_with_best_and_last(
    folders: Folders, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    assert Trainer(short_config(folders), RunOptions(out)).run() is not None
    training = out / "training"
    rows = [row for row in read_table(training, "log.csv") if row["stage"] == "flow"]
    best = max(rows, key=lambda row: float(row["val_dice"]))["epoch"]
    page = Page.read(training / "report.html")
    heads = [each.text for each in page.all("h2")]
    assert heads[:3] == ["Best and last epoch", "What the curves show", "Progress"]
    (row,) = [each for each in page.section("Progress").all("tr") if "Flow" in each.text]
    assert row.all("td")[1].text == best
    charts = {each.one("h3").text: each for each in page.section("Curves").all("figure")}
    for title in ("Flow: losses", "Flow: figures"):
        assert "best" in [each.text for each in charts[title].all("text")]
    assert "best" not in [each.text for each in charts["Mask VAE: losses"].all("text")]
    assert "Too early" in page.section("What the curves show").text
