"""The SLURM script, with simulated SLURM commands and a real torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from latentfm_core.model_io.card import read_card
from tests.helpers.fixtures import write_blobs
from tests.helpers.processes import PATIENCE, environment
from tests.helpers.training_runs import words

pytest.importorskip("lightning_fabric")

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "slurm_train.sh"
COMMANDS = {
    "srun": 'exec "$@"',
    # So many lines that a reader of the first one alone would break the pipe.
    "scontrol": 'echo "localhost"; seq -f "node-%g" 100000',
    "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="a shell script"),
]


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a job on one node without GPUs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, line in COMMANDS.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    return environment(
        PATH=os.pathsep.join([str(folder), os.environ["PATH"]]),
        SLURM_JOB_NODELIST="node[1-2]",
        SLURM_JOB_ID=str(os.getpid()),
        SLURM_NNODES="1",
        LATENTFM_PROCESSES="2",
    )


def run(job: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *arguments], env=job, capture_output=True, text=True, timeout=PATIENCE
    )


def test_resubmitting_a_training_job_continues_it(job: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "my model"
    command = words(write_blobs(tmp_path / "data", 12), out)
    command = command[: command.index("--out")]
    done = run(job, str(out), *command)
    assert done.returncode == 0, done.stderr
    card = read_card(out)
    assert card.training.epochs["flow"] == 2
    again = run(job, str(out), *command)
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr
    assert f"Ignored: {' '.join(command)}" in again.stderr
    assert read_card(out) == card


def test_a_job_without_a_folder_prints_its_usage(job: dict[str, str]) -> None:
    done = run(job)
    assert done.returncode == 2
    assert "usage: sbatch" in done.stderr
