"""The speed benchmark from command to table, on the smallest settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("monai")

from benchmarks.speed.cli import main
from benchmarks.speed.table import exponent


def test_a_run_writes_figures_and_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.speed.measure.LEAST_SECONDS", 0.01)
    out = tmp_path / "speed.json"
    words = ["--sizes", "64", "--samples", "1", "2", "--steps", "1", "--rounds", "1"]
    words += ["--threads", "1", "--clock", "processor"]
    assert main([*words, "--out", str(out)]) == 0
    cells = json.loads(out.read_text())["cells"]
    assert all(cell["seconds"] > 0 and cell["megabytes"] > 100 for cell in cells)
    pixel = {c["job"]["shown"]: c["seconds"] for c in cells if "pixel" in c["job"]["name"]}
    assert pixel[2] == pytest.approx(2 * pixel[1])
    page = out.with_suffix(".md").read_text()
    assert "LatentFM, K = 1" in page
    assert "processor clock" in page
    assert "time ~ N^" in page
    assert "velocity network" in page


def test_the_exponent_is_that_of_the_curve() -> None:
    assert exponent([1, 4, 16], [2, 8, 32]) == pytest.approx(1)
    assert exponent([1, 4, 16], [3, 6, 12]) == pytest.approx(0.5)
