"""Layers that are deleted by hand during a run, in a separate process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = 8
"""Without `CanvasContext` the process dies within five; the seventh deletes the image, too."""


def test_deleting_layers_during_a_run_does_not_crash(promptable_model_folder: Path) -> None:
    command = [sys.executable, "-m", "tests.helpers.layer_deletions"]
    arguments = [str(promptable_model_folder), str(ROUNDS)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"ended with {done.returncode}: {done.stderr[:3000]}")
    assert f"{ROUNDS} rounds" in done.stdout
