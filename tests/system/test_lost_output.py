"""Failing output never ends the work of a command."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from latentfm_core.cli.train import main as train
from latentfm_core.training.checkpoint import read_checkpoint
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, write_blobs
from tests.helpers.processes import PATIENCE, environment, wait_for
from tests.helpers.training_runs import start, words

ENDLESS = ("--set", "training.flow.epochs=100000")


@pytest.fixture
def images(tmp_path: Path) -> Folders:
    return write_blobs(tmp_path / "data", 8)


def in_the_flow(out: Path) -> bool:
    log = out / "training" / "log.csv"
    return log.exists() and "flow" in log.read_text()


def stopped_in_the_flow(out: Path) -> bool:
    position = read_checkpoint(out / "training").position
    return position.stage == "flow" and position.step > 0


def test_ctrl_c_saves_after_the_output_pipe_closed(images: Folders, tmp_path: Path) -> None:
    """As in ``latentfm-train ... 2>&1 | tee log``, where Ctrl+C ends tee, too."""
    out = tmp_path / "model"
    process = start(words(images, out, *ENDLESS), subprocess.STDOUT)
    wait_for(lambda: in_the_flow(out), process)
    assert process.stdout is not None
    process.stdout.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert stopped_in_the_flow(out)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_lost_connection_saves_the_run(
    images: Folders, tmp_path: Path, number: signal.Signals
) -> None:
    """Writing to a closed terminal fails."""
    out = tmp_path / "model"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "latentfm_core.cli.train", *words(images, out, *ENDLESS)],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment(), start_new_session=True,
        # Under nohup, the tests ignore SIGHUP, and their child processes would, too.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )  # fmt: skip
    os.close(theirs)
    while not in_the_flow(out):
        os.read(ours, 4096)  # a terminal that nobody reads would fill
        assert process.poll() is None
    os.close(ours)
    process.send_signal(number)
    process.send_signal(number)  # a closing session sends more than one
    assert process.wait(PATIENCE) == 130
    assert stopped_in_the_flow(out)


def test_nohup_is_respected(images: Folders, tmp_path: Path) -> None:
    out = tmp_path / "model"
    command = [sys.executable, "-m", "latentfm_core.cli.train", *words(images, out, *ENDLESS)]
    process = subprocess.Popen(
        ["nohup", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, text=True, env=environment(),
    )  # fmt: skip
    wait_for(lambda: in_the_flow(out), process)
    process.send_signal(signal.SIGHUP)
    rows = (out / "training" / "log.csv").read_text().count("\n")
    wait_for(lambda: (out / "training" / "log.csv").read_text().count("\n") > rows + 2, process)
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130


def test_quiet_prints_nothing(images: Folders, tmp_path: Path) -> None:
    process = start(words(images, tmp_path / "model", "--quiet"))
    output, errors = process.communicate()
    assert output == ""
    # Warnings remain: a model that hardly trained is of no use.
    assert all("not usable yet" in line for line in errors.splitlines()), errors
    assert process.returncode == 0


def test_progress_bars_in_a_file_are_a_few_lines(images: Folders, tmp_path: Path) -> None:
    process = start(words(images, tmp_path / "model", "--set", "training.flow.epochs=60"))
    _, errors = process.communicate()
    assert process.returncode == 0
    assert "\r" not in errors
    bars = [line for line in errors.splitlines() if "it/s" in line or "step/s" in line]
    half_minutes = 30
    assert len([line for line in bars if line.startswith("flow:")]) <= half_minutes
    assert any("120/120" in line or "60/60" in line for line in bars)


def test_unwritable_pictures_and_logs_do_not_end_training(
    images: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    for name in ("samples", "log.csv", "report.html"):
        (out / "training" / name).parent.mkdir(parents=True, exist_ok=True)
    (out / "training" / "samples").touch()  # a file in place of the folder
    assert train(words(images, out)) == 0
    capsys.readouterr()
    shutil.rmtree(out)
    (out / "training" / "log.csv").mkdir(parents=True)  # a folder in place of the file
    assert train(words(images, out)) == 0
    assert (out / "model.safetensors").is_file()


def test_a_link_to_a_moved_folder_loses_nothing(
    images: Folders, tmp_path: Path, refused: Printed
) -> None:
    drive, out = tmp_path / "drive", tmp_path / "model"
    drive.mkdir()
    out.symlink_to(drive)
    process = start(words(images, out, *ENDLESS))
    wait_for(lambda: in_the_flow(out), process)
    drive.rename(tmp_path / "elsewhere")
    wait_for(lambda: in_the_flow(out), process)
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert stopped_in_the_flow(out)
    drive.rename(tmp_path / "again")
    assert f"is a link to {drive}, which does not exist" in refused(train, words(images, out))
