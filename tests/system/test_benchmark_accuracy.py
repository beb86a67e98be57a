"""The accuracy benchmark: rows train within their budget and end in one table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("monai")

from benchmarks.accuracy.cli import main
from benchmarks.accuracy.data import read_cases
from benchmarks.accuracy.datasets import Dataset
from benchmarks.accuracy.evaluate import fit_threshold
from benchmarks.accuracy.figures import hd95, local_confidence
from benchmarks.accuracy.latent_diffusion import TRAIN_STEPS, ddim
from benchmarks.accuracy.loop import WARMUP_SHARE, rate_at
from benchmarks.accuracy.rows import ROWS, make_baseline
from benchmarks.accuracy.settings import RunSettings
from benchmarks.accuracy.significance import holm
from benchmarks.accuracy.table import COLUMNS, make_table
from latentfm_core.datasets.pairs import find_pairs
from latentfm_core.types import Geometry, ImageInput, SampleSet, SamplingRecord, Summary
from tests.helpers.fixtures import SIZE, Folders

BUDGET = 2.0
SAMPLES = 3
TRAINED = ("basic_unet", "dynunet_dropout", "lite_unet", "default")

SMALL_NETWORK = (
    "model.vae_width=16",
    "model.condition_widths=[16,24,32,32]",
    "model.condition_blocks=[1,1,1,1]",
    "model.velocity_widths=[24,32]",
)


def write_split(path: Path, images: Path) -> Path:
    names = sorted(file.stem for file in images.iterdir())
    path.write_text(json.dumps({"train": names[:28], "val": names[28:34], "test": names[34:]}))
    return path


def arguments(row: str, folders: Folders, split: Path, out: Path) -> list[str]:
    images, masks = folders
    command = ["--quiet", "train-and-evaluate", "--row", row, "--out", str(out)]
    command += ["--images", str(images), "--masks", str(masks), "--split", str(split)]
    command += ["--size", str(SIZE), "--budget", str(BUDGET), "--samples", str(SAMPLES)]
    command += ["--limit", "4", "--val-limit", "3", "--device", "cpu", "--precision", "fp32"]
    if row == "default":
        command += [part for item in SMALL_NETWORK for part in ("--set", item)]
    return command


@pytest.fixture(scope="module")
def split(blob_folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_split(tmp_path_factory.mktemp("split") / "split.json", blob_folders[0])


@pytest.fixture(scope="module")
def runs(blob_folders: Folders, split: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the finished rows `TRAINED`."""
    folder = tmp_path_factory.mktemp("runs")
    for row in TRAINED:
        assert main(arguments(row, blob_folders, split, folder / row)) == 0
    return folder


def result(runs: Path, row: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((runs / row / "result.json").read_text("utf-8"))
    return content


@pytest.mark.parametrize("row", TRAINED)
def test_the_result_contains_every_figure_setting_and_threshold(runs: Path, row: str) -> None:
    content = result(runs, row)
    figures = content["figures"]
    for key in (key for key, _, _ in COLUMNS):
        assert key in figures
        assert figures[key] is not None or key in ("spearman", "error_auroc")
    assert figures["images"] == 4
    assert figures["parameters"] > 10_000
    assert 0.05 <= content["threshold"]["value"] <= 0.95
    assert content["settings"]["budget"] == BUDGET
    assert content["settings"]["seed"] == 0
    assert {"torch", "monai"} <= content["versions"].keys()
    assert f"--row {row}" in content["command"]
    lines = (runs / row / "per_image.csv").read_text("utf-8").splitlines()
    assert len(lines) == 1 + 4


@pytest.mark.parametrize("row", TRAINED)
def test_the_time_budget_is_used_and_not_exceeded(runs: Path, row: str) -> None:
    # Each of at most three stages ends with the step that crosses its budget; the first
    # step of a network is its slowest.
    seconds = result(runs, row)["training"]["seconds"]
    assert seconds + 0.1 >= BUDGET
    assert seconds < BUDGET + 15


def test_samplers_sample_and_single_answers_do_not(runs: Path) -> None:
    assert result(runs, "basic_unet")["figures"]["diversity"] is None
    assert result(runs, "basic_unet")["figures"]["nfe"] == 1
    assert result(runs, "default")["figures"]["nfe"] == 4


def test_table_has_one_row_for_each_label(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.md"
    assert main(["--quiet", "table", "--runs", str(runs), "--out", str(out)]) == 0
    lines = out.read_text("utf-8").splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:6]] == [
        "default",
        "lite_unet",
        "basic_unet",
        "dynunet_dropout",
    ]
    assert all(line.count("|") == lines[0].count("|") for line in lines[:6])
    (settings,) = [line for line in lines if line.startswith("Settings:")]
    assert f"budget {BUDGET}" in settings
    assert "rows differ" not in "".join(lines)
    pairs = [line.split("|")[1:3] for line in lines[lines.index("") :] if line.startswith("|")]
    rows = ["lite_unet", "basic_unet", "dynunet_dropout"]
    expected = [(figure, row) for figure in ("Dice", "GED") for row in rows]
    assert [(figure.strip(), row.strip()) for figure, row in pairs[2:]] == expected


def test_the_table_combines_seeds_and_names_differences(runs: Path) -> None:
    first, second = result(runs, "basic_unet"), result(runs, "basic_unet")
    second["settings"] |= {"seed": 1, "budget": 9.0}
    first["figures"]["dice"], second["figures"]["dice"] = 0.8, 0.9
    text = make_table([first, second])
    assert "| basic_unet | 2 | 0.850 ± 0.071 |" in text
    assert "budget 2.0, 9.0 **(rows differ" in text


def write_row(folder: Path, label: str, seed: int, dice: list[float]) -> None:
    """Write a finished row with these metrics."""
    folder.mkdir(parents=True)
    settings = {"seed": seed, "dataset": "made up"}
    figures = {"dice": float(np.mean(dice)), "images": len(dice)}
    content = {"row": label, "label": label, "settings": settings, "figures": figures}
    (folder / "result.json").write_text(json.dumps(content | {"device": "cpu"}))
    rows = [f"image{n},{value}" for n, value in enumerate(dice)]
    (folder / "per_image.csv").write_text("\n".join(["name,dice", *rows]))


def compared(text: str) -> dict[str, list[str]]:
    lines = text.partition("Against")[2].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    return {row[1]: row[2:] for row in cells[2:]}


def test_rows_are_compared_image_by_image_over_their_seeds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 0.9, 40)
    for seed in (0, 1):
        noise = rng.normal(0, 0.002, 40)
        write_row(tmp_path / f"a{seed}", "default", seed, list(base + noise))
        write_row(tmp_path / f"b{seed}", "lite_unet", seed, list(base + noise - 0.03))
        write_row(tmp_path / f"c{seed}", "dynunet", seed, list(base + rng.normal(0, 0.05, 40)))
        write_row(tmp_path / f"d{seed}", "the same", seed, list(base + noise))
    words = ["--quiet", "table", "--runs", str(tmp_path), "--out", str(tmp_path / "t.md")]
    assert main([*words, "--figures", "dice"]) == 0
    text = (tmp_path / "t.md").read_text("utf-8")
    assert "| default | 2 |" in text
    found = compared(text)
    assert found["lite_unet"][:3] == ["-0.0300", "0", "40"]
    assert found["lite_unet"][4].endswith("*")
    assert not found["dynunet"][4].endswith("*")
    assert found["the same"] == ["+0.0000", "0", "0", "1", "1"]
    # 40 images of two patients are two observations, which prove nothing.
    groups = tmp_path / "groups.csv"
    lines = [f"image{n},{n % 2}" for n in range(40)]
    groups.write_text("\n".join(["image,patient", *lines]))
    assert main([*words, "--figures", "dice", "--groups", str(groups), "patient"]) == 0
    found = compared((tmp_path / "t.md").read_text("utf-8"))
    assert found["lite_unet"][:3] == ["-0.0300", "0", "2"]
    assert float(found["lite_unet"][3]) == 0.5
    assert main([*words, "--reference", "nothing"]) == 2
    assert main([*words, "--figures", "beauty"]) == 2


def test_holm_corrects_as_in_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_one_command_produces_a_table(
    blob_folders: Folders,
    split: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from benchmarks.accuracy import run_all

    data = tmp_path / "data" / "blobs"
    data.mkdir(parents=True)
    for folder, name in zip(blob_folders, ("images", "masks"), strict=True):
        (data / name).symlink_to(folder)
    monkeypatch.setattr(run_all, "SPLITS", split.parent)
    monkeypatch.setitem(run_all.DATASETS, "blobs", Dataset("blobs", split.name, samples=2))
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    command = ["run-all", "--quiet", "--dataset", "blobs", "--data", str(data.parent)]
    command += ["--rows", "lite_unet", "basic_unet", "--seeds", "0", "1", "--budget", "1"]
    command += ["--size", str(SIZE), "--limit", "3", "--val-limit", "2", "--device", "cpu"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert capfd.readouterr().err == ""
    text = (tmp_path / "out" / "table.md").read_text("utf-8")
    assert "| lite_unet | 2 |" in text
    assert " ± " in text
    assert set(compared(text)) == {"basic_unet"}


def test_finished_row_is_skipped_and_interrupted_one_is_not_trained_again(
    runs: Path, blob_folders: Folders, split: Path
) -> None:
    command = arguments("basic_unet", blob_folders, split, runs / "basic_unet")
    path = runs / "basic_unet" / "result.json"
    before = path.read_text("utf-8")
    assert main(command) == 0
    assert path.read_text("utf-8") == before
    path.unlink()
    weights = (runs / "basic_unet" / "weights.safetensors").stat().st_mtime_ns
    assert main(command) == 0
    again = result(runs, "basic_unet")
    assert (runs / "basic_unet" / "weights.safetensors").stat().st_mtime_ns == weights
    assert again["figures"]["dice"] == pytest.approx(json.loads(before)["figures"]["dice"])


def test_a_model_folder_is_evaluated_unchanged(
    tiny_model_folder: Path, blob_folders: Folders, split: Path, tmp_path: Path
) -> None:
    images, masks = blob_folders
    command = ["--quiet", "evaluate-only", "--model", str(tiny_model_folder), "--limit", "2"]
    command += ["--images", str(images), "--masks", str(masks), "--split", str(split)]
    command += ["--samples", "2", "--steps", "3", "--solver", "heun", "--out", str(tmp_path)]
    assert main([*command, "--val-limit", "2", "--label", "heun 3"]) == 0
    content = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert content["figures"]["nfe"] == 6
    assert content["settings"]["samples"] == 2
    assert content["label"] == "heun 3"


@pytest.mark.parametrize("row", [row for row in ROWS if row not in ("default", "paper")])
def test_every_network_trains_and_samples(
    row: str, blob_folders: Folders, split: Path, tmp_path: Path
) -> None:
    import torch

    images, masks = blob_folders
    settings = RunSettings(
        row=row, label=row, images=images, masks=masks, split=split, out=tmp_path, size=SIZE
    )
    torch.manual_seed(0)
    baseline = make_baseline(settings)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 3, SIZE, SIZE, generator=generator)
    truth = (pixels[:, :1] > 0.5).float()
    baseline.module.train()
    optimizer = torch.optim.SGD(baseline.parameters(), lr=1e-2)
    baseline.losses(pixels, truth, generator)["loss"].backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    baseline.module.eval()
    with torch.inference_mode():
        first = baseline.draw(pixels[:1], (3,))
        both = baseline.draw(pixels[:1], (3, 4))
    assert first.shape == (1, SIZE, SIZE)
    assert 0 <= both.min() <= both.max() <= 1
    torch.testing.assert_close(both[:1], first, atol=1e-4, rtol=1e-3)
    if baseline.deterministic:
        assert both.shape == first.shape
    else:
        assert both.shape == (2, SIZE, SIZE)
        assert not torch.equal(both[0], both[1])


def test_hausdorff_distance_of_shifted_and_of_empty_masks() -> None:
    first = np.zeros((40, 30), bool)
    first[10:20, 5:15] = True
    assert hd95(first, first) == 0
    assert hd95(first, np.roll(first, 4, axis=0)) == pytest.approx(4)
    empty = np.zeros_like(first)
    assert hd95(empty, empty) == 0
    assert hd95(first, empty) == hd95(empty, first) == 50


def test_local_confidence_covers_possible_lesion_pixels() -> None:
    mean = np.zeros((4, 4), np.float32)
    mean[0, 0], mean[0, 1], mean[0, 2] = 1.0, 0.3, 0.01
    confidence = np.where(mean == 0.3, 0.2, 1.0).astype(np.float32)
    summary = Summary(mean, mean >= 0.5, mean, confidence, (mean >= 0.5)[None])
    assert local_confidence(summary) == pytest.approx(0.6)


class HalfSure:
    """Returns probability 0.3 for every pixel of a lesion."""

    nfe, deterministic, parameters = 1, True, 0

    def sample(self, image: ImageInput) -> SampleSet:
        mask = np.asarray(image.pixels)[..., 2] < 105
        geometry = Geometry(mask.shape, SIZE, (0, 0, SIZE, SIZE))
        p = np.where(mask, 0.3, 0.02).astype(np.float32)[None]
        return SampleSet(p, geometry, SamplingRecord("half-sure", "", (0,), 1))


def test_threshold_is_the_best_one_on_the_validation_images(blob_folders: Folders) -> None:
    pairs = find_pairs(*blob_folders)[:2]
    fitted = fit_threshold(HalfSure(), read_cases(pairs, None), 2)
    assert 0.05 <= fitted.value <= 0.3
    assert fitted.val_dice > 0.9
    assert fitted.curve["0.5"] == 0


@pytest.mark.parametrize("steps", [1, 3, 4, 10])
def test_ddim_starts_from_noise_and_its_steps_are_contiguous(steps: int) -> None:
    times = ddim(steps).timesteps.tolist()
    jump = TRAIN_STEPS // steps
    assert times[0] == TRAIN_STEPS - 1
    expected = [TRAIN_STEPS - 1 - jump * k for k in range(steps)]
    assert np.abs(np.subtract(times, expected)).max() <= 1


def test_learning_rate_warms_up_and_decays() -> None:
    assert rate_at(0.0, 1.0) == pytest.approx(0.01)
    assert rate_at(WARMUP_SHARE, 1.0) == pytest.approx(1.0)
    assert rate_at(1.5, 1.0) == pytest.approx(0.01)
