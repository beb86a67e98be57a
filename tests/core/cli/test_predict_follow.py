"""``latentfm-predict --stack --follow`` on real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from latentfm_core.cli.predict import main
from latentfm_core.config import SamplingConfig
from latentfm_core.inference.following import follow_object
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.prompts import Prompt
from tests.core.inference.test_following import box_around, images_of, moving_disc

OPTIONS = ["--samples", "2", "--steps", "2", "--seed", "3", "--device", "cpu"]
OPTIONS += ["--precision", "fp32", "--quiet", "--outputs", "mean_mask,samples"]
SETTINGS = SamplingConfig(n_samples=2, steps=2, seed=3, device="cpu", precision="fp32")


@pytest.fixture
def run(promptable_model_folder: Path, tmp_path: Path) -> Any:
    def command(*words: object) -> int:
        model = ["--model", str(promptable_model_folder), "--out", str(tmp_path / "out")]
        return main([*map(str, words), *model, *OPTIONS])

    return command


def test_a_box_on_one_plane_gives_the_object_on_all(
    run: Any, tmp_path: Path, promptable_model_folder: Path
) -> None:
    planes = moving_disc(3)
    images, path = images_of(planes), tmp_path / "scan.tif"
    pixels = np.stack([image.pixels for image in images])
    tifffile.imwrite(path, pixels, photometric="rgb", metadata={"axes": "TYXS"})
    prompt = box_around(planes[1])
    assert prompt.box is not None
    box = ",".join(str(value) for value in prompt.box)
    assert run(path, "--stack", "--box", box, "--follow", 1) == 0
    segmenter = Segmenter.load(promptable_model_folder, "cpu", "fp32")
    wanted = follow_object(segmenter, images, 1, Prompt(box=prompt.box), SETTINGS)
    out = tmp_path / "out"
    found = tifffile.imread(out / "scan_mean_mask.tif")
    np.testing.assert_array_equal(found > 0, wanted.stack.summary.mean_mask)
    assert (
        min(dice(mask > 0, labels == 1) for mask, labels in zip(found, planes, strict=True)) > 0.8
    )
    assert tifffile.imread(out / "scan_samples.tif").shape == (2, 3, 64, 96)
    side = json.loads((out / "scan.json").read_text())
    assert side["following"] == {"start": 1, "found": [0, 1, 2], "missed": []}
    assert side["prompt"] == prompt.to_json()
    assert side["stack"]["shape"] == [3, 64, 96]
    # Complete, so that it is left alone; but not for another start.
    before = (out / "scan.json").stat().st_mtime_ns
    assert run(path, "--stack", "--box", box, "--follow", 1, "--skip-done") == 0
    assert (out / "scan.json").stat().st_mtime_ns == before
    assert run(path, "--stack", "--box", box, "--follow", 0, "--skip-done") == 2


def test_wrong_combinations_say_what_is_missing(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(
        path, np.zeros((3, 40, 48), np.uint8), photometric="minisblack", metadata={"axes": "ZYX"}
    )
    box = ("--box", "5,5,30,30")
    assert run(path, "--stack", *box) == 2
    assert "--follow PLANE" in capsys.readouterr().err
    assert run(path, "--stack", "--follow", 1) == 2
    assert "--follow needs --stack, and --box or --prompts" in capsys.readouterr().err
    assert run(path, "--stack", *box, "--follow", 7) == 2
    assert "there is no plane 7" in capsys.readouterr().err
    assert run(path, "--stack", *box, "--follow", "first") == 2
    assert "is not a plane" in capsys.readouterr().err
    several = tmp_path / "several.tif"
    tifffile.imwrite(
        several,
        np.zeros((2, 3, 40, 48), np.uint8),
        photometric="minisblack",
        metadata={"axes": "TZYX"},
    )
    assert run(several, "--stack", *box, "--follow", 0) == 2
    assert "along one axis" in capsys.readouterr().err
