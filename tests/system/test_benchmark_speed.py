"""The speed benchmark from command to table, with the smallest settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("monai")

from benchmarks.speed.cli import main
from benchmarks.speed.contenders import ENSEMBLE, PLAIN, WITH_DROPOUT, jobs
from benchmarks.speed.job import Job
from benchmarks.speed.measure import Measured
from benchmarks.speed.prompted import FIRST, NEW_BOX, NEW_PROMPT, prompted
from benchmarks.speed.table import exponent, page
from latentfm_core.models.latentfm import LatentFM


def test_a_run_writes_figures_and_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.speed.measure.LEAST_SECONDS", 0.01)
    out = tmp_path / "speed.json"
    words = ["--sizes", "64", "--samples", "1", "2", "--steps", "1", "--rounds", "1"]
    words += ["--threads", "1", "--clock", "processor", "--prompted-sizes"]
    assert main([*words, "--out", str(out)]) == 0
    cells = json.loads(out.read_text())["cells"]
    assert all(cell["seconds"] > 0 and cell["megabytes"] > 100 for cell in cells)
    pixel = {c["job"]["shown"]: c["seconds"] for c in cells if "pixel" in c["job"]["name"]}
    assert pixel[2] == pytest.approx(2 * pixel[1])
    text = out.with_suffix(".md").read_text()
    assert "LatentFM, K = 1" in text
    assert "processor clock" in text
    assert "time ~ N^" in text
    ensemble = {c["job"]["shown"]: c["job"] for c in cells if "ensemble" in c["job"]["name"]}
    assert (ensemble[1]["samples"], ensemble[2]["samples"]) == (1, 2)
    [plain] = [c["job"] for c in cells if "plain" in c["job"]["name"]]
    assert plain["samples"] == 1
    assert "new prompt (features cached)" in text
    assert "| 192 px |" in text
    assert "velocity network" in text


def test_the_exponent_matches_the_curve() -> None:
    assert exponent([1, 4, 16], [2, 8, 32]) == pytest.approx(1)
    assert exponent([1, 4, 16], [3, 6, 12]) == pytest.approx(0.5)


def cell(name: str, samples: int, seconds: float, steps: int = 0) -> Measured:
    return Measured(Job(name, 256, samples, steps), seconds, (seconds,), 100.0)


def test_ratios_distinguish_plain_passes_from_dropout() -> None:
    cells = [cell("LatentFM", 16, 0.1, 1), cell(PLAIN, 1, 0.2), cell(ENSEMBLE, 16, 3.2)]
    text = page([*cells, cell(WITH_DROPOUT[0], 1, 0.5)], [], "a device")
    assert "K = 1, N = 16 over ONE plain pass of DynUNet: 0.5000" in text
    assert "K = 1, N = 16 over an ensemble of 16: 0.0312" in text
    assert "K = 1, N = 16 over one pass with dropout: 0.2000" in text
    assert "one pass with dropout over one plain pass: 2.5000" in text


def test_ensembles_too_large_to_measure_are_extrapolated() -> None:
    [job] = [job for job in jobs([64], [16], [1]) if job.name == ENSEMBLE]
    assert job.samples * job.times == job.samples_shown == 16


@pytest.mark.parametrize(("name", "encoded"), [(NEW_PROMPT, 1), (NEW_BOX, 3), (FIRST, 3)])
def test_only_a_prompt_on_the_same_canvas_reuses_features(
    name: str, encoded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    encode = LatentFM.image_features

    def counted(model: LatentFM, images: torch.Tensor) -> list[torch.Tensor]:
        seen.append(len(images))
        return encode(model, images)

    monkeypatch.setattr(LatentFM, "image_features", counted)
    call = prompted(Job(name, 64, 2, 1))
    for _ in range(3):
        call()
    assert len(seen) == encoded
