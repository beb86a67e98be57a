"""Extension of a finished run: card, log, and refused settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.io import imread, imsave

from latentfm_core.cli.calibrate import main as calibrate
from latentfm_core.cli.train import main
from latentfm_core.config import with_overrides
from latentfm_core.datasets.splits import read_split
from latentfm_core.model_io.card import read_card
from latentfm_core.training.checkpoint import read_checkpoint
from latentfm_core.training.extending import warn_of_calibration
from latentfm_core.training.resuming import resumed_config
from latentfm_core.training.trainer import RunOptions, Trainer
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, write_blobs
from tests.helpers.pages import LOG, read_table
from tests.helpers.training_runs import words

PATIENCE = "training.flow.patience"


@pytest.fixture
def images(tmp_path: Path) -> Folders:
    return write_blobs(tmp_path / "data", 12)


@pytest.fixture
def finished(images: Folders, tmp_path: Path) -> Path:
    """A finished run with two epochs of its flow."""
    out = tmp_path / "model"
    assert main(words(images, out, "--quiet")) == 0
    return out


def resume(out: Path, *more: object) -> int:
    return main(["--out", str(out), "--resume", *map(str, more)])


def log(out: Path) -> list[dict[str, str]]:
    return [row for row in read_table(out, LOG) if row["stage"] == "flow"]


def test_more_epochs_extend_a_finished_run_with_a_correct_card(
    finished: Path, printed: Printed
) -> None:
    before, earlier = read_card(finished), log(finished)
    said = printed(resume, finished, "--set", "training.flow.epochs=6")
    assert "extended after epoch 2 of its flow" in said
    assert "Flow, epoch 6 of 6" in said
    card, rows = read_card(finished), log(finished)
    assert card.training.epochs == {"image_vae": 1, "mask_vae": 1, "flow": 6}
    assert card.config.training.flow.epochs == 6
    assert len(card.training.command.splitlines()) == 2
    assert card.training.command.endswith("--resume --set training.flow.epochs=6")
    assert card.training.seconds > before.training.seconds
    assert rows[:2] == earlier, "the log continues"
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert card.weights_sha256 == read_checkpoint(finished / "training").position.written
    best = max(float(row["val_dice"]) for row in rows)
    assert card.metrics["val_dice"] == pytest.approx(best, abs=1e-4)
    assert "nothing to do" in printed(resume, finished)


def test_the_rate_is_warmed_up_and_annealed_again(images: Folders, tmp_path: Path) -> None:
    out = tmp_path / "model"
    sets = ["--set", "training.flow.epochs=10", "--set", "training.flow.warmup_steps=1"]
    assert main(words(images, out, *sets, "--quiet")) == 0
    assert resume(out, "--set", "training.flow.epochs=20", "--quiet") == 0
    rates = [float(row["learning_rate"]) for row in log(out)]
    assert rates[9] < 0.1 * rates[0], "annealed at the end"
    assert rates[10] > 5 * rates[9], "warmed up again"
    assert rates[19] < 0.1 * rates[10], "and annealed again"


def test_a_stopped_extension_resumes_exactly(images: Folders, tmp_path: Path) -> None:
    weights = []
    for name in ("at once", "in parts"):
        out = tmp_path / name
        assert main(words(images, out, "--quiet")) == 0
        longer = ("--set", "training.flow.epochs=5", "--quiet")
        if name == "in parts":
            config = with_overrides(resumed_config(out), ["training.flow.epochs=5"])
            answers = iter([False] * 3)
            stopping = RunOptions(out, resume=True, should_stop=lambda it=answers: next(it, True))
            assert Trainer(config, stopping).run() is None
            position = read_checkpoint(out / "training").position
            assert (position.stage, position.extended_step > 0) == ("flow", True)
            longer = ("--quiet",)
        assert resume(out, *longer) == 0
        weights.append(read_card(out).weights_sha256)
    assert weights[0] == weights[1]


def test_nothing_left_to_train_is_refused_with_the_option_to_use(
    finished: Path, refused: Printed
) -> None:
    before = (finished / "model.json").read_bytes()
    for change, message in (
        ("training.flow.epochs=1", "has trained 2 epochs of its flow; the settings ask for 1"),
        (
            "training.flow.learning_rate=1e-4",
            "the settings ask for 2, which a time budget cannot raise. Set more",
        ),
        ("training.mask_vae.epochs=9", "training.mask_vae.epochs would change a finished stage"),
        ("training.flow.batch_size=2", "training.flow.batch_size would change a finished stage"),
        ("training.flow.max_seconds=1e-5", "trained 2 epochs of its flow; the settings ask for 2"),
    ):
        assert message in refused(resume, finished, "--set", change)
    assert "--set training.flow.epochs=4" in refused(resume, finished, "--minutes", "60")
    assert (finished / "model.json").read_bytes() == before


def test_a_time_budget_is_extended_by_a_larger_one(
    images: Folders, tmp_path: Path, refused: Printed
) -> None:
    out = tmp_path / "model"
    endless = ("--set", "training.flow.epochs=1000000")
    assert main(words(images, out, *endless, "--minutes", "0.02", "--quiet")) == 0
    epochs = read_card(out).training.epochs["flow"]
    assert "Raise it: --minutes" in refused(resume, out, "--minutes", "0.01")
    assert resume(out, "--minutes", "0.06", "--quiet") == 0
    card = read_card(out)
    assert card.training.epochs["flow"] > epochs
    assert card.config.training.minutes == 0.06
    numbers = [int(row["epoch"]) for row in log(out)]
    assert numbers == sorted(set(numbers)), "no epoch has two lines, or loses its picture"


def test_a_run_stopped_by_patience_can_continue_without_it(
    images: Folders, tmp_path: Path, printed: Printed
) -> None:
    out = tmp_path / "model"
    rate = "training.flow.learning_rate=1e-9"  # no improvement
    sets = [
        part
        for change in (rate, f"{PATIENCE}=1", "training.flow.epochs=9")
        for part in ("--set", change)
    ]
    assert main(words(images, out, *sets, "--quiet")) == 0
    ended = len(log(out))
    assert ended < 9
    assert "nothing to do" in printed(resume, out)
    assert resume(out, "--set", f"{PATIENCE}=null", "--quiet") == 0
    assert len(log(out)) == 9


def test_a_calibration_is_dropped_with_a_warning(
    images: Folders,
    finished: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = ["--images", images[0], "--masks", images[1], "--model", finished, "--quiet"]
    assert calibrate([*map(str, own), "--allow-few", "--samples", "2", "--device", "cpu"]) == 0
    card = read_card(finished)
    assert card.calibration is not None
    capsys.readouterr()
    boxes = {"calibration": None, "prompt_calibrations": {"box": card.calibration}}
    warn_of_calibration(card.model_copy(update=boxes))
    assert "latentfm-calibrate again" in caplog.text
    capsys.readouterr()
    assert resume(finished, "--set", "training.flow.epochs=3") == 0
    assert "latentfm-calibrate again" in capsys.readouterr().err
    assert read_card(finished).calibration is None


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (("--seed", 9), "training.seed"),
        (("--set", "training.gradient_clip=9"), "training.gradient_clip"),
        (("--set", "data.size=96"), "data.size"),
        (("--mask-threshold", 100), "data.mask_threshold"),
    ],
)
def test_settings_that_differ_from_the_finished_run_are_refused(
    finished: Path, refused: Printed, changed: tuple[object, ...], named: str
) -> None:
    before = (finished / "model.json").read_bytes()
    assert named in refused(resume, finished, *changed)
    assert resume(finished, *changed, "--set", "training.flow.epochs=3") == 2
    assert (finished / "model.json").read_bytes() == before


def test_settings_that_a_finished_run_would_ignore_are_refused(
    finished: Path, images: Folders, tmp_path: Path, refused: Printed, printed: Printed
) -> None:
    (tmp_path / "card.toml").write_text('title = "Discs"\n')
    (tmp_path / "split.json").write_text('{"train": ["blob_001"]}')
    other = write_blobs(tmp_path / "other", 3)
    given = {
        "--images (data.images), --masks (data.masks)": ("--images", other[0], "--masks", other[1]),
        "--split (data.split_file)": ("--split", tmp_path / "split.json"),
        "sampling.steps": ("--set", "sampling.steps=7"),
        "training.validation_samples": ("--set", "training.validation_samples=3"),
        "--card": ("--card", tmp_path / "card.toml"),
        "--changed-data": ("--changed-data", "keep"),
    }
    for named, words_of in given.items():
        said = refused(resume, finished, *words_of)
        assert f"--init {finished} with another --out" in said
        assert all(name in said for name in named.split(", ")), said
    assert "did not start from a model" in refused(resume, finished, "--init", "isic2018")
    # Options that do not affect the result, and the same images again, are accepted.
    same = ("--images", images[0], "--masks", images[1], "--device", "auto", "--skip-bad")
    assert "nothing to do" in printed(resume, finished, *same)


def test_changed_validation_images_rescore_the_best_weights(
    finished: Path, images: Folders, printed: Printed
) -> None:
    for name in read_split(finished / "training" / "split.json").val:
        mask = images[1] / f"{name}.png"
        corner = np.zeros_like(imread(mask))
        corner[:3, :3] = 255
        imsave(mask, corner, check_contrast=False)
    more = ("--changed-data", "keep", "--set", "training.flow.epochs=4")
    assert "have a score of" in printed(resume, finished, *more)
    best = max(float(row["val_dice"]) for row in log(finished)[2:])
    assert read_card(finished).metrics["val_dice"] <= max(best, 0.2), "not that of other images"
