"""The calibration in a model folder is used by every command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from latentfm_core.cli.calibrate import main as calibrate
from latentfm_core.cli.evaluate import main as evaluate_main
from latentfm_core.cli.predict import main as predict
from latentfm_core.config import SamplingConfig
from latentfm_core.datasets.splits import Split, write_split
from latentfm_core.errors import ModelFolderError
from latentfm_core.evaluation.calibrate import (
    fit_calibration,
)
from latentfm_core.evaluation.evaluate import Case
from latentfm_core.images.read import read_image, read_mask
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.folder import read_card, write_card
from latentfm_core.types import ImageInput, SampleSet
from latentfm_core.uncertainty.calibration import MonotoneMap
from latentfm_core.uncertainty.summary import summarise
from tests.helpers.calibrating import OPTIONS, RAW, SETTINGS
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, copy_model, with_sampling

# --- in the card --------------------------------------------------------------------------


def test_a_model_without_calibration_gives_raw_maps(
    segmenter: Segmenter, blob_folders: Folders
) -> None:
    samples = segmenter.sample(read_image(blob_folders[0] / "blob_001.png"), SETTINGS)
    found = segmenter.summarise(samples)
    assert not found.calibrated
    assert segmenter.resolved(SETTINGS).threshold == 0.5
    np.testing.assert_array_equal(found.confidence, summarise(samples, 0.5).confidence)


def test_an_older_card_is_read(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = copy_model(tiny_model_folder, tmp_path / "old")
    path = folder / "model.json"
    card = json.loads(path.read_text())
    del card["calibration"], card["config"]["sampling"]["calibrated"]
    card["config"]["sampling"]["threshold"] = 0.4
    path.write_text(json.dumps(card))
    old = Segmenter.load(folder, "cpu")
    assert old.card.calibration is None
    assert old.resolved().threshold == 0.4
    assert not old.resolved().calibrated


def test_a_calibration_from_one_sample_is_not_used_for_several_without_a_warning(
    tiny_model_folder: Path, blob_folders: Folders, tmp_path: Path, printed: Printed
) -> None:
    model, split = copy_model(tiny_model_folder, tmp_path / "model"), tmp_path / "split.json"
    write_split(split, Split((), ("blob_000", "blob_001")))
    given = ["--model", model, "--images", blob_folders[0], "--masks", blob_folders[1], "--split"]
    given += [split, "--allow-few", "--samples", 1, "--steps", 1, "--device", "cpu"]
    assert "One sample has no spread" in printed(calibrate, [*map(str, given)])

    def said(out: str, samples: int, steps: int) -> str:
        words = [blob_folders[0] / "blob_002.png", "--model", model, "--device", "cpu"]
        words += ["--out", tmp_path / out, "--samples", samples, "--steps", steps]
        return printed(predict, [*map(str, words)])

    assert "calibration" not in said("same", 1, 1)
    text = "was fitted to results of 1 sample and 1 ODE step, and this result has 3 samples and 2"
    assert text in said("more", 3, 2)
    assert "calibration" not in said("again", 3, 2), "once"


DAMAGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "x falls": lambda c: c["confidence"]["x"].reverse(),
    "y falls": lambda c: c["confidence"].update(y=[1.0] + [0.5] * (len(c["confidence"]["x"]) - 1)),
    "lengths": lambda c: c["confidence"]["y"].pop(),
    "range": lambda c: c["probability"]["y"].__setitem__(-1, 1.5),
    "NaN": lambda c: c["confidence"]["x"].__setitem__(0, float("nan")),
    "too many": lambda c: c["confidence"].update(x=[i / 9999 for i in range(9999)], y=[0.5] * 9999),
    "empty": lambda c: c["confidence"].update(x=[], y=[]),
    "no number": lambda c: c["confidence"].update(x="0 1"),
    "sigma": lambda c: c.update(sigma=float("inf")),
    "threshold": lambda c: c.update(threshold=1.0),
    "stranger": lambda c: c.update(code="print()"),
    "missing": lambda c: c.pop("confidence"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_calibration_is_refused(
    calibrated_model_folder: Path, tmp_path: Path, damage: Callable[[dict[str, Any]], None]
) -> None:
    folder = copy_model(calibrated_model_folder, tmp_path / "damaged")
    path = folder / "model.json"
    card = json.loads(path.read_text())
    damage(card["calibration"])
    path.write_text(json.dumps(card))
    with pytest.raises(ModelFolderError, match="calibration"):
        Segmenter.load(folder, "cpu")


# --- the commands -------------------------------------------------------------------------


@pytest.fixture
def marked(calibrated_model_folder: Path, tmp_path: Path) -> Path:
    """A model with an easily recognised calibration: confidence at most 0.9, threshold 0.3."""
    folder = copy_model(calibrated_model_folder, tmp_path / "marked")
    card = read_card(folder)
    assert card.calibration is not None
    maps = {
        "confidence": MonotoneMap(x=(0.0, 1.0), y=(0.6, 0.9)),
        "probability": MonotoneMap(x=(0.0, 1.0), y=(0.1, 0.8)),
        "threshold": 0.3,
        "noise_scale": 1.5,
        "sigma": 2.0,
    }
    changed = card.calibration.model_copy(update=maps)
    write_card(folder, card.model_copy(update={"calibration": changed}))
    return folder


AS_TRAINED = SETTINGS.model_copy(update={"noise_scale": 1.0})


@pytest.mark.parametrize(
    ("flags", "settings", "used", "threshold"),
    [
        ([], SETTINGS, "calibrated", 0.3),
        (["--confidence", "calibrated"], SETTINGS, "calibrated", 0.3),
        (["--confidence", "raw"], RAW, "raw", 0.3),
        (["--threshold", "0.6"], SETTINGS.model_copy(update={"threshold": 0.6}), "calibrated", 0.6),
        (["--noise-scale", "1"], AS_TRAINED, "calibrated", 0.3),
    ],
)
def test_predict_equals_the_python_api(
    marked: Path,
    blob_folders: Folders,
    tmp_path: Path,
    flags: list[str],
    settings: SamplingConfig,
    used: str,
    threshold: float,
) -> None:
    image, out = blob_folders[0] / "blob_001.png", tmp_path / "out"
    kinds = ["--outputs", "mean_mask,confidence,probability,variance", "--format", "tiff"]
    words = [str(image), "--model", str(marked), "--out", str(out), *OPTIONS, *kinds]
    assert predict([*words, *flags]) == 0
    python = Segmenter.load(marked, "cpu", "fp32")
    wanted = python.summarise(python.sample(read_image(image), settings))
    maps = {
        "confidence": wanted.confidence,
        "probability": wanted.mean_probability,
        "variance": wanted.variance,
        "mean_mask": wanted.mean_mask * 255,
    }
    for kind, values in maps.items():
        np.testing.assert_array_equal(tifffile.imread(out / f"blob_001_{kind}.tif"), values)
    assert (wanted.confidence.max() <= 0.9) is np.bool_(used == "calibrated")
    sidecar = json.loads((out / "blob_001.json").read_text())
    assert (sidecar["confidence"], sidecar["threshold"]) == (used, threshold)
    assert sidecar["noise_scale"] == (settings.noise_scale or 1.5)
    assert predict([*words, *flags, "--skip-done"]) == 0
    other = "calibrated" if used == "raw" else "raw"
    assert predict([*words, "--skip-done", "--confidence", other]) == 2
    assert predict([*words, *flags, "--skip-done", "--noise-scale", "2"]) == 2


def test_skip_done_refuses_results_of_another_calibration(
    marked: Path, blob_folders: Folders, tmp_path: Path, refused: Printed
) -> None:
    words = [str(blob_folders[0] / "blob_001.png"), "--model", str(marked), *OPTIONS]
    fitted, raw = ["--out", str(tmp_path / "fitted")], ["--out", str(tmp_path / "raw")]
    raw += ["--confidence", "raw"]
    assert predict([*words, *fitted]) == predict([*words, *raw]) == 0
    card = read_card(marked)
    assert card.calibration is not None
    # Threshold and noise scale stay, so that only the calibration itself differs.
    other = card.calibration.model_copy(update={"sigma": 3.0})
    write_card(marked, card.model_copy(update={"calibration": other}))
    assert "another model, calibration or training domain" in refused(
        predict, [*words, *fitted, "--skip-done"]
    )
    assert predict([*words, *raw, "--skip-done"]) == 0


def test_requesting_a_missing_calibration_is_refused(
    tiny_model_folder: Path, blob_folders: Folders, tmp_path: Path, refused: Printed
) -> None:
    words = [str(blob_folders[0] / "blob_001.png"), "--model", str(tiny_model_folder)]
    words += ["--out", str(tmp_path / "out"), *OPTIONS]
    assert "latentfm-calibrate" in refused(predict, [*words, "--confidence", "calibrated"])
    assert predict(words) == 0
    sidecar = json.loads((tmp_path / "out" / "blob_001.json").read_text())
    assert (sidecar["confidence"], sidecar["threshold"]) == ("raw", 0.5)


@pytest.fixture
def command(
    tiny_model_folder: Path, blob_folders: Folders, tmp_path: Path
) -> tuple[Path, Callable[..., int]]:
    """A copy of the tiny model, and a function that calibrates it on 10 of 14 images."""
    folder = copy_model(tiny_model_folder, tmp_path / "model")
    names = [f"blob_{index:03d}" for index in range(14)]
    write_split(tmp_path / "split.json", Split((), tuple(names[:10]), tuple(names[10:])))
    words = ["--images", blob_folders[0], "--masks", blob_folders[1], "--model", folder]

    def run(*more: object) -> int:
        split = ["--split", tmp_path / "split.json", "--allow-few"]
        return calibrate([*map(str, (*words, *split)), *OPTIONS, *map(str, more)])

    return folder, run


def test_the_command_writes_the_calibration_into_the_card(
    command: tuple[Path, Callable[..., int]], blob_folders: Folders, tmp_path: Path
) -> None:
    folder, run = command
    card = read_card(folder)
    # Cards of trained models may state the usual threshold; the fitted one replaces it.
    with_sampling(folder, threshold=0.5)
    weights = (folder / "model.safetensors").read_bytes()
    assert run() == 0
    found = read_card(folder).calibration
    assert found is not None
    assert (found.n_images, found.part, found.n_samples, found.steps) == (10, "val", 4, 2)
    assert read_card(folder).metrics == card.metrics
    assert (folder / "model.safetensors").read_bytes() == weights
    assert {path.name for path in folder.iterdir()} == {"model.json", "model.safetensors"}
    segmenter = Segmenter.load(folder, "cpu", "fp32")
    assert segmenter.resolved().threshold == found.threshold
    wanted = fit_calibration(
        segmenter,
        (
            Case(read_image(path), read_mask(blob_folders[1] / path.name)[None])
            for path in sorted(blob_folders[0].iterdir())[:10]
        ),
        SETTINGS,
        part="val",
    )
    assert found == wanted
    figures = {}
    for kind in ("raw", "calibrated"):
        words = ["--images", blob_folders[0], "--masks", blob_folders[1], "--model", folder]
        words += ["--out", tmp_path / kind, "--confidence", kind]
        words += ["--split", tmp_path / "split.json", "--part", "val"]
        assert evaluate_main([*map(str, words), *OPTIONS]) == 0
        summary = json.loads((tmp_path / kind / "summary.json").read_text())
        assert summary["settings"]["calibrated"] is (kind == "calibrated")
        assert summary["settings"]["threshold"] == found.threshold
        assert sum(summary["agreement"]["pixels"]) == sum(summary["reliability"]["pixels"])
        figures[kind] = summary["metrics"]
    for name in ("confidence_ece", "dataset_ece"):
        assert figures["calibrated"][name] < figures["raw"][name]
    assert figures["calibrated"]["dice"] == figures["raw"]["dice"]


def test_errors_are_reported_and_the_card_is_unchanged(
    command: tuple[Path, Callable[..., int]], refused: Printed
) -> None:
    folder, run = command
    card = (folder / "model.json").read_bytes()
    assert "empty" in refused(run, "--part", "train")
    assert "nowhere" in refused(run, "--masks", folder / "nowhere")
    assert "nothing" in refused(run, "--model", folder / "nothing")
    assert run("--threshold", "0.4") == 2, "the threshold is what is fitted"
    assert (folder / "model.json").read_bytes() == card


def test_a_bad_mask_stops_the_command_early_or_is_skipped(
    command: tuple[Path, Callable[..., int]], blob_folders: Folders, tmp_path: Path
) -> None:
    folder, run = command
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in blob_folders[1].iterdir():
        content = path.read_bytes()
        (masks / path.name).write_bytes(content[:40] if "003" in path.name else content)
    card = (folder / "model.json").read_bytes()
    assert run("--masks", masks) == 2
    assert (folder / "model.json").read_bytes() == card
    assert run("--masks", masks, "--skip-bad") == 0
    found = read_card(folder).calibration
    assert found is not None
    assert found.n_images == 9


def test_samples_record_the_settings_of_their_summary(marked: Path) -> None:
    segmenter = Segmenter.load(marked, "cpu", "fp32")
    image = ImageInput(np.random.default_rng(0).random((40, 60)))
    samples: SampleSet = segmenter.sample(image, SETTINGS)
    assert samples.settings["threshold"] == 0.3
    assert samples.settings["calibrated"] is True


def test_the_command_reads_masks_and_groups(
    tiny_model_folder: Path,
    blob_folders: Folders,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = copy_model(tiny_model_folder, tmp_path / "model")
    folders = ["--images", str(blob_folders[0]), "--masks", str(blob_folders[1])]
    names = [file.stem for file in sorted(blob_folders[0].iterdir())]
    table = tmp_path / "videos.csv"
    rows = "\n".join(f"{name},{index // 10}" for index, name in enumerate(names))
    table.write_text(f"image,video\n{rows}\n")
    command = [*folders, "--model", str(model), *OPTIONS, "--group-file", str(table)]
    assert calibrate(command) != 0
    assert "belong together" in capsys.readouterr().err
    assert calibrate([*command, "--group-column", "patient"]) != 0
    assert "no column 'patient'" in capsys.readouterr().err
    assert calibrate([*command, "--group-column", "video"]) == 0
    assert read_card(model).calibration is not None
