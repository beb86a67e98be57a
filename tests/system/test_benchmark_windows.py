"""The benchmarks that drive a real window, on a small image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PHASES = {
    "run",
    "sample slider, step 3",
    "show a hypothesis",
    "visit an uncertain region",
    "paint a stroke, samples follow",
    "take the mean mask, until kept",
    "paint on the annotation, until kept",
    "redo the mean mask",
    "unite it with the annotation",
    "export",
    "run again",
}


@pytest.mark.gui
@pytest.mark.process
def test_every_action_in_the_window_is_timed(tmp_path: Path) -> None:
    words = ["-m", "benchmarks.gui_latency", "--here", "--megapixels", "0.02", "--samples", "2"]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "NAPARI_LATENTFM_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *phases, total = [json.loads(line) for line in done.stdout.splitlines()]
    assert {phase["phase"] for phase in phases} >= PHASES
    assert 0 < total["gui_busy"] == max(phase["gui_busy"] for phase in phases)
