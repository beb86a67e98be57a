"""Expected Dice of the mean mask: estimation, calibration and display."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from latentfm_core.cli.evaluate import main as evaluate_main
from latentfm_core.cli.predict import main as predict
from latentfm_core.config import Precision
from latentfm_core.evaluation.calibrate import fit_calibration
from latentfm_core.evaluation.evaluate import Case, evaluate
from latentfm_core.evaluation.evidence import THRESHOLDS, Evidence
from latentfm_core.images.read import read_image, read_mask
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.inference.stack import segment_stack
from latentfm_core.metrics.overlap import dice
from latentfm_core.uncertainty.expected_dice import (
    FEWEST,
    QualityMap,
    fit_quality,
    sample_agreement,
)
from napari_latentfm.results.stack_review import StackRun
from napari_latentfm.sampling.status import describe_stack
from tests.helpers.calibrating import OPTIONS, RAW, SETTINGS, with_calibration
from tests.helpers.fixtures import Folders, copy_model
from tests.helpers.pages import read_table
from tests.helpers.plugin_fixtures import run


@pytest.fixture(scope="module")
def cases(blob_folders: Folders) -> list[Case]:
    """Images with different amounts of noise, and raters who draw less than the model."""
    rng, found = np.random.default_rng(0), []
    for index in range(24):
        name = f"blob_{index:03d}.png"
        image, mask = read_image(blob_folders[0] / name), read_mask(blob_folders[1] / name)
        share = 0.8 * index / 24
        noise = rng.integers(0, 256, image.pixels.shape)
        covered = ((1 - share) * image.pixels + share * noise).astype(np.uint8)
        columns = np.flatnonzero(mask.any(axis=0))
        mask[:, : columns[round((0.3 + share / 2) * (len(columns) - 1))]] = False
        found.append(Case(replace(image, pixels=covered), mask[None]))
    return found


# --- agreement ------------------------------------------------------------------------------


def square(side: int) -> np.ndarray:
    mask = np.zeros((20, 20), dtype=bool)
    mask[:side, :side] = True
    return mask


def test_agreement_is_the_mean_dice_of_the_samples_with_the_mean_mask() -> None:
    samples = np.stack([square(10), square(5), square(0)])
    wanted = (1 + 2 * 25 / 125 + 0) / 3
    assert sample_agreement(samples, square(10)) == pytest.approx(wanted)


def test_samples_that_all_find_nothing_agree() -> None:
    assert sample_agreement(np.stack([square(0)] * 3), square(0)) == 1


def test_one_sample_has_no_agreement() -> None:
    assert sample_agreement(square(5)[None], square(5)) is None


def test_classes_are_weighted_equally() -> None:
    first, second = square(10).astype(np.uint8), square(10).astype(np.uint8)
    first[15:, 15:] = 2
    second[15:, :5] = 2  # a small second class that is elsewhere weighs half
    assert sample_agreement(np.stack([first, second]), first) == pytest.approx((1 + 0.5) / 2)


# --- the map --------------------------------------------------------------------------------


def test_the_fit_recovers_a_known_map() -> None:
    """Images whose Dice follows a known map plus noise."""
    rng = np.random.default_rng(0)
    truth = QualityMap(intercept=-1.0, slope=1.3)
    agreement = rng.uniform(0.5, 0.99, 300)
    found = np.clip([truth(a) for a in agreement] + rng.normal(0, 0.05, 300), 0, 1)
    fitted = fit_quality(agreement, found)
    assert fitted is not None
    grid = np.linspace(0.5, 0.99, 50)
    assert max(abs(fitted(a) - truth(a)) for a in grid) < 0.02
    values = [fitted(a) for a in np.linspace(0, 1, 101)]
    assert 0 <= values[0] < values[-1] <= 1
    assert np.all(np.diff(values[1:-1]) > 0), "no order of images may be lost"


def test_no_map_is_fitted_without_enough_images_or_a_relation() -> None:
    agreement = np.linspace(0.5, 0.9, FEWEST)
    assert fit_quality(agreement, agreement) is not None
    assert fit_quality(agreement[1:], agreement[1:]) is None
    assert fit_quality(agreement, 1 - agreement) is None


# --- fitted to a model, and shown -----------------------------------------------------------


def test_calibration_makes_the_expected_dice_unbiased(
    segmenter: Segmenter, cases: list[Case]
) -> None:
    fitted = fit_calibration(segmenter, cases, SETTINGS)
    assert fitted.quality is not None
    mine = with_calibration(segmenter, fitted)
    raw, calibrated = (evaluate(mine, cases, settings) for settings in (RAW, SETTINGS))
    assert raw.mean("expected_dice") > raw.mean("dice") + 0.1, "the case is made to be so"
    assert calibrated.mean("expected_dice") == pytest.approx(calibrated.mean("dice"), abs=0.01)
    assert calibrated.quality_error() < raw.quality_error()
    assert calibrated.mean("dice") == pytest.approx(
        np.mean([dice(mean_mask(mine, case), case.references[0]) for case in cases])
    )


def test_images_without_an_expected_dice_are_not_fitted(
    segmenter: Segmenter, cases: list[Case]
) -> None:
    """Empty and full masks, whose samples all agree, and images out of domain."""
    plain, mixed = Evidence(segmenter.card.config), Evidence(segmenter.card.config)
    for case in cases:
        samples = segmenter.sample(case.image, SETTINGS)
        for evidence in (plain, mixed):
            evidence.add(samples, case.references, None)
        nothing = replace(samples, probabilities=np.zeros_like(samples.probabilities))
        everything = replace(samples, probabilities=np.ones_like(samples.probabilities))
        outside = replace(samples, domain_score=2.0)
        for wrong in (nothing, everything, outside):
            assert segmenter.summarise(wrong, SETTINGS).expected_dice is None
            mixed.add(wrong, case.references, None)
    index = THRESHOLDS.index(0.5)
    assert plain.quality(index) is not None
    assert mixed.quality(index) == plain.quality(index)


def mean_mask(segmenter: Segmenter, case: Case) -> Any:
    return segmenter.summarise(segmenter.sample(case.image, SETTINGS), SETTINGS).mean_mask


def test_a_single_sample_has_no_expected_dice(segmenter: Segmenter, cases: list[Case]) -> None:
    single = SETTINGS.model_copy(update={"n_samples": 1})
    summary = segmenter.summarise(segmenter.sample(cases[0].image, single), single)
    assert summary.expected_dice is None
    assert fit_calibration(segmenter, cases, single).quality is None
    found = evaluate(segmenter, cases[:4], single)
    assert np.isnan([found.quality_error(), found.quality_rank()]).all()


def test_planes_of_a_stack_have_an_expected_dice(segmenter: Segmenter, cases: list[Case]) -> None:
    images = [case.image for case in cases[:2]]
    stack = segment_stack(segmenter, images, SETTINGS)
    alone = [segmenter.summarise(segmenter.sample(i, SETTINGS), SETTINGS) for i in images]
    assert stack.expected_dice == tuple(summary.expected_dice for summary in alone)
    # The status counts the planes as napari's slider does.
    shown = [(dice, n) for n, dice in enumerate(stack.expected_dice) if alone[n].mean_mask.any()]
    layer = ViewerModel().add_image(np.zeros((2, 64, 64)), name="scan")
    text = describe_stack(layer, StackRun(stack.first, stack.summary, "cpu", stack))
    assert f"(plane {min(shown)[1]})" in text


def test_command_line_and_panel_report_the_same_score(
    auto_precision: Precision,
    tiny_model_folder: Path,
    blob_folders: Folders,
    tmp_path: Path,
    docked_panel: Any,
    qtbot: Any,
) -> None:
    model = copy_model(tiny_model_folder, tmp_path / "model")
    image = sorted(blob_folders[0].iterdir())[0]
    words = ["--samples", "4", "--steps", "2", "--device", "cpu"]
    assert predict([str(image), "--out", str(tmp_path), "--model", str(model), *words]) == 0
    output = json.loads((tmp_path / f"{image.stem}.json").read_text())["expected_dice"]
    one = Segmenter.load(model, "cpu")
    settings = SETTINGS.model_copy(update={"precision": auto_precision})
    summary = one.summarise(one.sample(read_image(image), settings), settings)
    assert output == summary.expected_dice
    viewer, panel = docked_panel()
    viewer.add_image(read_image(image).pixels, name="blob")
    panel.form.n_samples.value, panel.form.steps.value = 4, 2
    assert run(qtbot, panel) == "done", panel.last_error
    assert f"Expected Dice: {output:.2f}." in panel.form.status.value


def test_the_command_names_the_images_to_look_at_first(
    tiny_model_folder: Path,
    blob_folders: Folders,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = [str(file) for file in sorted(blob_folders[0].iterdir())[:7]]
    command = ["--out", str(tmp_path), "--model", str(tiny_model_folder), *OPTIONS]
    assert predict([images[0], *command]) == 0
    assert "Check these first" not in capsys.readouterr().out, "one image has no order"
    assert predict([*images, *command, "--skip-done"]) == 0
    output = {f.stem: json.loads(f.read_text())["expected_dice"] for f in tmp_path.glob("*.json")}
    assert len(output) == 7, "also that of the run before"
    worst = sorted(output, key=lambda name: (output[name], name))[:5]
    line = "Check these first (lowest expected Dice): " + ", ".join(
        f"{name} {output[name]:.2f}" for name in worst
    )
    said = capsys.readouterr().out
    assert line in said
    assert "not calibrated, and usually too high" in said


def test_calibrated_values_are_not_called_too_high(
    calibrated_model_folder: Path,
    blob_folders: Folders,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = [str(file) for file in sorted(blob_folders[0].iterdir())[:2]]
    command = ["--out", str(tmp_path), "--model", str(calibrated_model_folder), *OPTIONS]
    assert predict([*images, *command]) == 0
    said = capsys.readouterr().out
    assert "Check these first" in said
    assert "not calibrated" not in said


def test_an_evaluation_checks_the_expected_dice(
    tiny_model_folder: Path,
    blob_folders: Folders,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = ["--images", str(blob_folders[0]), "--masks", str(blob_folders[1])]
    arguments = [*folders, "--model", str(tiny_model_folder), "--out", str(tmp_path), *OPTIONS]
    assert evaluate_main([*arguments, "--part", "all", "--report"]) == 0
    assert "no: the expected Dice is usually too high" in capsys.readouterr().out
    assert "not calibrated, and usually too high" in (tmp_path / "report.html").read_text()
    rows = read_table(tmp_path)
    error = np.mean([abs(float(r["expected_dice"]) - float(r["dice"])) for r in rows])
    metrics = json.loads((tmp_path / "summary.json").read_text())["metrics"]
    assert metrics["quality_error"] == pytest.approx(error, abs=1e-5)
    assert -1 <= metrics["quality_rank"] <= 1
