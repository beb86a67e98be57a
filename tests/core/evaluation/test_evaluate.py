"""Figures of ``latentfm-evaluate`` against values computed from their definitions."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentfm_core.cli.evaluate import main
from latentfm_core.config import SamplingConfig
from latentfm_core.datasets.splits import Split, write_split
from latentfm_core.errors import DatasetError
from latentfm_core.evaluation.evaluate import Case, evaluate, score
from latentfm_core.images.read import read_image, read_mask
from latentfm_core.model_io.folder import read_card
from latentfm_core.types import ImageInput, Summary
from latentfm_core.uncertainty.summary import summarise
from tests.helpers.fixtures import Folders
from tests.helpers.pages import read_table

OPTIONS = ["--samples", "3", "--steps", "2", "--precision", "fp32", "--device", "cpu"]
SETTINGS = SamplingConfig(n_samples=3, steps=2, precision="fp32", device="cpu")


@pytest.fixture
def data(blob_folders: Folders, tmp_path: Path) -> Folders:
    """Four images with masks, one of them not square."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    for source, target in zip(blob_folders, (images, masks), strict=True):
        target.mkdir()
        for path in sorted(source.iterdir())[:4]:
            shutil.copy(path, target)
        first = target / "blob_000.png"
        with Image.open(first) as opened:
            cropped = opened.crop((0, 4, 64, 57))
        cropped.save(first)
    return images, masks


@pytest.fixture
def run(data: Folders, tmp_path: Path, tiny_model_folder: Path):
    """Run the command on `data`; results go to ``out``."""

    def command(*arguments: object) -> int:
        words = ["--images", data[0], "--masks", data[1], "--model", tiny_model_folder]
        return main([*map(str, words), "--out", str(tmp_path / "out"), *OPTIONS, *arguments])

    return command


def read_summary(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))


# --- the figures, from their definitions -----------------------------------------------------


def plain_iou(a: np.ndarray, b: np.ndarray) -> float:
    union = np.logical_or(a, b).sum()
    return np.logical_and(a, b).sum() / union if union else 1.0


def plain_dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.logical_and(a, b).sum() / (a.sum() + b.sum())


def plain_ece(probability: np.ndarray, truth: np.ndarray) -> float:
    total = 0.0
    for index in range(15):
        low, high = index / 15, (index + 1) / 15
        inside = (probability >= low) & ((probability < high) | (index == 14))
        if inside.any():
            total += inside.sum() * abs(truth[inside].mean() - probability[inside].mean())
    return total / probability.size


def plain_auroc(score: np.ndarray, positive: np.ndarray) -> float:
    first, second = score[positive][:, None], score[~positive][None]
    return float(((first > second) + 0.5 * (first == second)).mean())


def plain_figures(summary: Summary, truth: np.ndarray) -> dict[str, float]:
    masks = summary.sample_masks
    to_truth = [1 - plain_iou(mask, truth) for mask in masks]
    among = [1 - plain_iou(a, b) for a in masks for b in masks]
    pairs = [1 - plain_iou(a, b) for a, b in itertools.combinations(masks, 2)]
    probability = summary.mean_probability.astype(np.float64)
    return {
        "dice": plain_dice(summary.mean_mask, truth),
        "iou": plain_iou(summary.mean_mask, truth),
        "sample_dice": np.mean([plain_dice(mask, truth) for mask in masks]),
        "ged": 2 * np.mean(to_truth) - np.mean(among),
        "hm_iou": 1 - np.mean(to_truth),  # one reference: every sample is matched with it
        "diversity": np.mean(pairs),
        "ece": plain_ece(probability, truth),
        "brier": np.mean((probability - truth) ** 2),
        "error_auroc": plain_auroc(1 - summary.confidence, summary.mean_mask != truth),
        "confidence": np.mean(summary.confidence),
    }


def test_figures_match_their_definitions(run, data, tmp_path, segmenter, capsys):
    assert run() == 0
    rows = read_table(tmp_path / "out")
    assert [row["name"] for row in rows] == [f"blob_{index:03d}" for index in range(4)]
    probabilities, truths = [], []
    for row in rows:
        image = read_image(data[0] / f"{row['name']}.png")
        truth = read_mask(data[1] / f"{row['name']}.png")
        summary = summarise(segmenter.sample(image, SETTINGS))
        assert (int(row["height"]), int(row["width"])) == truth.shape
        for name, expected in plain_figures(summary, truth).items():
            assert float(row[name]) == pytest.approx(expected, abs=2e-6), name
        assert (row["references"], row["nfe"]) == ("1", "2")
        assert float(row["seconds"]) > 0
        probabilities.append(summary.mean_probability.ravel())
        truths.append(truth.ravel())
    summary = read_summary(tmp_path)
    for name in plain_figures(summarise(segmenter.sample(image, SETTINGS)), truth):
        mean = np.mean([float(row[name]) for row in rows])
        assert summary["metrics"][name] == pytest.approx(mean, abs=1e-6)
    pooled = plain_ece(np.concatenate(probabilities).astype(np.float64), np.concatenate(truths))
    assert summary["metrics"]["dataset_ece"] == pytest.approx(pooled, abs=1e-6)
    assert sum(summary["reliability"]["pixels"]) == sum(map(len, truths))
    printed = capsys.readouterr().out
    for name in ("dice", "iou", "ged", "hm_iou", "dataset_ece", "brier", "error_auroc"):
        assert f"{summary['metrics'][name]:.4f}" in printed


def test_the_summary_records_how_it_was_made(run, data, tmp_path, tiny_model_folder, capsys):
    assert run("--seed", "3", "--solver", "midpoint", "--threshold", "0.4") == 0
    summary = read_summary(tmp_path)
    card = read_card(tiny_model_folder)
    assert summary["model"] == {"id": card.id, "sha256": card.weights_sha256}
    assert summary["settings"]["seed"] == 3
    assert summary["settings"]["threshold"] == 0.4
    assert summary["settings"]["precision"] == "float32"
    assert (summary["n_images"], summary["nfe"]) == (4, 4)
    assert summary["seconds_per_image"]["mean"] > 0
    printed = capsys.readouterr().out
    assert card.id in printed
    # The recorded command gives the same figures again.
    program, *words = shlex.split(summary["command"])
    assert program == "latentfm-evaluate"
    assert main([*words, "--overwrite"]) == 0
    assert read_summary(tmp_path)["metrics"] == summary["metrics"]


def test_the_module_runs_as_a_program(data, tmp_path, tiny_model_folder):
    command = [sys.executable, "-m", "latentfm_core.cli.evaluate", "--images", str(data[0])]
    command += ["--masks", str(data[1]), "--out", str(tmp_path / "out"), *OPTIONS]
    command += ["--model", str(tiny_model_folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Dice of the mean mask" in done.stdout
    assert f"written to {tmp_path / 'out'}" in done.stderr
    assert len(read_table(tmp_path / "out")) == 4


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["blob_002"]),
        (["--part", "test"], ["blob_002"]),
        (["--part", "val"], ["blob_001"]),
        (["--part", "train"], ["blob_000", "blob_003"]),
    ],
)
def test_a_part_of_a_split_is_evaluated(run, tmp_path, arguments, expected):
    file = tmp_path / "split.json"
    write_split(file, Split(("blob_000", "blob_003"), ("blob_001",), ("blob_002",)))
    assert run("--split", str(file), *arguments) == 0
    rows = read_table(tmp_path / "out")
    assert [row["name"] for row in rows] == expected
    assert read_summary(tmp_path)["data"]["part"] == (arguments or [None, "test"])[1]


def test_one_sample_has_neither_diversity_nor_confidence(run, tmp_path, capsys):
    assert run("--samples", "1", "--report", "--overwrite") == 0
    printed = capsys.readouterr()
    assert "warning: One sample has no spread" in printed.err
    assert re.search(r"sample diversity \(1 - IoU\) +-\n", printed.out)
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    figures = read_summary(tmp_path)["metrics"]
    assert figures["confidence_ece"] is None
    for name in ("diversity", "confidence", "error_auroc"):
        assert figures[name] is None
        assert {row[name] for row in read_table(tmp_path / "out")} == {""}
        assert f'<td class="value" data-metric="{name}">-</td>' in page


# --- raters, in Python -----------------------------------------------------------------------


def summary_of(masks: np.ndarray) -> Summary:
    mean = masks.mean(axis=0, dtype=np.float32)
    variance = masks.var(axis=0, dtype=np.float32)
    return Summary(mean, mean >= 0.5, variance, 1 - 4 * variance, masks)


def test_samples_equal_to_the_raters_have_distance_zero():
    raters = np.zeros((4, 12, 12), bool)
    for index in range(4):
        raters[index, 2 : 6 + index, 3:9] = True
    case = Case(ImageInput(np.zeros((12, 12)), name="nodule"), raters)
    figures, bins = score(summary_of(raters[::-1]), case, 4, 0.1, 0.99)
    assert figures.references == 4
    assert figures.ged == pytest.approx(0, abs=1e-9)
    assert figures.hm_iou == pytest.approx(1)
    # The share of raters who marked a pixel is then its probability: calibrated.
    assert figures.ece == pytest.approx(0, abs=1e-6)
    assert bins.count.sum() == raters.size
    mean_mask = raters.mean(axis=0) >= 0.5
    assert figures.dice == pytest.approx(np.mean([plain_dice(mean_mask, r) for r in raters]))
    assert figures.iou == pytest.approx(np.mean([plain_iou(mean_mask, r) for r in raters]))


def test_a_perfect_mask_has_no_auroc_and_does_not_affect_the_mean():
    mask = np.zeros((1, 8, 8), bool)
    mask[0, 2:5, 2:5] = True
    case = Case(ImageInput(np.zeros((8, 8))), mask)
    figures, _ = score(summary_of(np.repeat(mask, 3, axis=0)), case, 4, 0.1, 0.99)
    assert np.isnan(figures.error_auroc)
    assert figures.dice == 1


@pytest.mark.parametrize("shape", [(8, 8), (0, 8, 8), (1, 8, 9)])
def test_references_that_do_not_fit_are_refused(shape):
    case = Case(ImageInput(np.zeros((8, 8))), np.zeros(shape, bool))
    with pytest.raises(ValueError, match="references"):
        score(summary_of(np.zeros((2, 8, 8), bool)), case, 4, 0.1, 0.99)


def test_an_evaluation_without_images_is_refused(segmenter):
    with pytest.raises(DatasetError, match="no image"):
        evaluate(segmenter, [], SETTINGS)


def test_one_image_is_read_at_a_time(segmenter):
    events = []

    def cases():
        for index in range(3):
            events.append(f"read {index}")
            pixels = np.random.default_rng(index).random((64, 64))
            yield Case(ImageInput(pixels, name=str(index)), np.ones((1, 64, 64), bool))

    evaluate(segmenter, cases(), SETTINGS, lambda figures: events.append(f"did {figures.name}"))
    assert events == ["read 0", "did 0", "read 1", "did 1", "read 2", "did 2"]


# --- what goes wrong -------------------------------------------------------------------------


def save_mask(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(path)


def spoil(images: Path, masks: Path, how: str) -> None:
    image, mask = images / "blob_002.png", masks / "blob_002.png"
    match how:
        case "no mask":
            mask.unlink()
        case "other size":
            save_mask(mask, np.eye(60, dtype=np.uint8))
        case "grey mask":
            save_mask(mask, np.tile(np.array([0, 90, 180, 250], np.uint8), (64, 16)))
        case "truncated image":
            image.write_bytes(image.read_bytes()[:3000])


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("no mask", ["blob_002", "no mask"]),
        ("other size", ["blob_002", "60 x 60", "64 x 64"]),
        ("grey mask", ["blob_002", "0, 90, 180, 250", "--mask-threshold"]),
        ("truncated image", ["blob_002", "truncated"]),
    ],
)
def test_bad_data_is_reported_and_nothing_is_written(run, data, tmp_path, refused, how, named):
    spoil(*data, how)
    message = refused(run)
    for text in named:
        assert text in message
    assert not (tmp_path / "out").exists()


def test_skip_bad_continues_and_lists_skipped_files(run, data, tmp_path, printed):
    spoil(*data, "truncated image")
    save_mask(data[1] / "blob_001.png", np.eye(60, dtype=np.uint8))
    listed = printed(run, "--skip-bad").partition("2 of 4 inputs were skipped")[2]
    assert "blob_001" in listed
    assert "blob_002" in listed
    rows = read_table(tmp_path / "out")
    assert [row["name"] for row in rows] == ["blob_000", "blob_003"]
    summary = read_summary(tmp_path)
    assert summary["n_images"] == 2
    assert summary["data"]["left_out"] == ["blob_001", "blob_002"]


def test_skip_bad_with_nothing_left_is_an_error(run, data, tmp_path, refused):
    for path in data[0].iterdir():
        path.write_text("no image")
    message = refused(run, "--skip-bad")
    assert all(f"blob_{index:03d}" in message for index in range(4))
    assert not (tmp_path / "out").exists()


def test_a_grey_mask_is_usable_with_a_threshold(run, data, tmp_path):
    mask = read_mask(data[1] / "blob_002.png")
    assert run() == 0
    binary = read_table(tmp_path / "out")
    save_mask(data[1] / "blob_002.png", np.where(mask, 140, 60).astype(np.uint8))
    assert run("--mask-threshold", "100", "--overwrite") == 0
    grey = read_table(tmp_path / "out")
    assert [row["dice"] for row in grey] == [row["dice"] for row in binary]


def test_split_errors_are_reported(run, tmp_path, refused):
    assert "--split" in refused(run, "--part", "val")
    file = tmp_path / "my_split.json"
    assert "my_split.json" in refused(run, "--split", str(file))
    write_split(file, Split(("blob_000",)))
    assert "empty" in refused(run, "--split", str(file))
    write_split(file, Split((), (), ("blob_000", "ghost")))
    assert "ghost" in refused(run, "--split", str(file))
    assert not (tmp_path / "out").exists()


def test_an_evaluation_is_kept_unless_overwrite(run, tmp_path, refused):
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.json").write_text("of last year")
    message = refused(run)
    assert "summary.json" in message
    assert "--overwrite" in message
    assert (out / "summary.json").read_text() == "of last year"
    assert run("--overwrite") == 0
    assert read_summary(tmp_path)["n_images"] == 4
    assert {path.name for path in out.iterdir()} == {"summary.json", "per_image.csv"}
