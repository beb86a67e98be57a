"""A diverging stage is reported with advice that helps."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch

from latentfm_core.cli.train import main
from latentfm_core.config import StageConfig
from latentfm_core.training.divergence import Diverged, DivergenceWatch
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, write_blobs
from tests.helpers.training_runs import words

LONGER = ("image_vae", "mask_vae", "flow")


@pytest.fixture
def images(tmp_path: Path) -> Folders:
    return write_blobs(tmp_path / "data", 16)


def advice_in(message: str) -> list[str]:
    """Return the options that a message recommends."""
    _, found, rest = message.partition("--")
    return shlex.split(found + rest.rstrip().rstrip("."))


@pytest.mark.parametrize("stage", LONGER)
def test_a_finite_exploding_loss_ends_its_stage(
    images: Folders, tmp_path: Path, refused: Printed, stage: str
) -> None:
    out = tmp_path / "model"
    more = [f"--set=training.{name}.epochs=20" for name in LONGER]
    more += [f"--set=training.{name}.warmup_steps=0" for name in LONGER]
    rate = 3 if stage == "image_vae" else 10
    said = refused(main, words(images, out, *more, f"--set=training.{stage}.learning_rate={rate}"))
    message = said[said.index("error: ") :]
    assert f"Stage {stage} diverges" in message
    assert "fp32" not in message, "that is the precision already"
    assert f"training.{stage}.learning_rate={rate / 10:g}" in message
    assert ("--resume" in message) == (stage != "image_vae"), "before there is no checkpoint"
    assert not (out / "model.safetensors").exists()
    # The advice, with a rate that is surely low enough.
    good = f"training.{stage}.learning_rate=1e-3"
    if "--resume" in message:
        output = advice_in(message[message.index("--resume") :])
        assert output[0] == "--resume"
        assert main(["--out", str(out), "--resume", "--set", good, "--quiet"]) == 0
    else:
        assert main(words(images, out, *more, "--set", good, "--quiet")) == 0
    assert (out / "model.safetensors").exists()


@pytest.mark.parametrize("stage", ["mask_vae", "flow"])
def test_the_advice_for_a_fold_can_be_followed(
    images: Folders, tmp_path: Path, refused: Printed, stage: str
) -> None:
    rate = f"training.{stage}.learning_rate"
    more = [f"--set=training.{stage}.epochs=20", f"--set=training.{stage}.warmup_steps=0"]
    folds = words(images, tmp_path / "folds", "--folds", 2, *more, f"--set={rate}=10")
    said = refused(main, folds)
    message = said[said.index("error: ") :]
    if stage == "flow":
        assert advice_in(message)[:3] == ["--resume", "--fold", "0"]
    else:  # a stage that all folds must train with one rate
        assert f"start all of them in another --out with --set {rate}=1." in message


def test_the_advice_for_an_extension_repeats_its_settings(
    images: Folders, tmp_path: Path, refused: Printed
) -> None:
    out = tmp_path / "model"
    assert main(words(images, out, "--quiet")) == 0
    longer = ["--set", "training.flow.epochs=40", "--set", "training.flow.warmup_steps=0"]
    again = ["--out", str(out), "--resume"]
    said = refused(main, [*again, *longer, "--set", "training.flow.learning_rate=10"])
    output = advice_in(said[said.index("error: ") :])
    assert output[:3] == ["--resume", "--set", "training.flow.learning_rate=1"]
    assert set(longer) < set(output)


def watch(dtype: torch.dtype = torch.float32) -> DivergenceWatch:
    return DivergenceWatch("flow", StageConfig(learning_rate=0.01), dtype, None)


def test_noise_and_single_bad_batches_are_not_divergence() -> None:
    seen = watch()
    for step in range(500):
        seen.add(1e6 if step % 50 == 7 else 1.0 + step % 3, step)
    seen.check_end(500)


def test_a_diverging_network_is_not_saved() -> None:
    seen = watch()
    for step, loss in enumerate([1.0, 0.9, *[8.0] * 12]):
        seen.add(loss, step)
    assert not seen.healthy
    with pytest.raises(Diverged, match="was 1 at the first step and is 8 at the last one"):
        seen.check_end(20)


def test_low_precision_is_mentioned_only_if_it_may_be_the_cause() -> None:
    for dtype, named in ((torch.float32, False), (torch.bfloat16, True)):
        with pytest.raises(Diverged) as caught:
            watch(dtype).check_finite(float("nan"), 3)
        assert ("fp32" in str(caught.value)) == named
        assert caught.value.learning_rate == pytest.approx(1e-3)


def test_a_resumed_stage_is_compared_with_its_first_step() -> None:
    seen = DivergenceWatch("flow", StageConfig(), torch.float32, 0.1)
    with pytest.raises(Diverged, match=r"rose from 0\.1"):
        for step in range(10):
            seen.add(5.0, step)
