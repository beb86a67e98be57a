"""Calibration: fitted on validation data, carried by the model folder, used everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter

from latentfm_core.calibrating import (
    SIGMA_SHARES,
    THRESHOLDS,
    Frequency,
    choose_threshold,
    fit_calibration,
)
from latentfm_core.cli.calibrate import main as calibrate
from latentfm_core.cli.evaluate import main as evaluate_main
from latentfm_core.cli.predict import main as predict
from latentfm_core.config import SamplingConfig, config_from_mapping
from latentfm_core.data.canvas import from_canvas
from latentfm_core.data.images import read_image, read_mask
from latentfm_core.data.splits import Split, write_split
from latentfm_core.errors import DatasetError, ModelFolderError
from latentfm_core.evaluation import Case, evaluate
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.calibration import error_auroc
from latentfm_core.metrics.overlap import dice
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.store.folder import read_card, write_card
from latentfm_core.training.validate import draft_card
from latentfm_core.types import ImageInput, SampleSet
from latentfm_core.uncertainty.calibration import MAX_KNOTS, Calibration, MonotoneMap
from latentfm_core.uncertainty.summary import summarise
from tests.fixtures import copy_model, tiny_settings

SETTINGS = SamplingConfig(n_samples=4, steps=2, device="cpu", precision="fp32")
RAW = SETTINGS.model_copy(update={"calibrated": False})
OPTIONS = ["--samples", "4", "--steps", "2", "--device", "cpu", "--precision", "fp32"]


@pytest.fixture(scope="module")
def segmenter(tiny_model_folder: Path) -> Segmenter:
    return Segmenter.load(tiny_model_folder, "cpu", "fp32")


@pytest.fixture(scope="module")
def odd_cases(blob_folders: tuple[Path, Path]) -> list[Case]:
    """Cases of two raters who draw as the model never learnt to: one wide, one narrow.

    What the samples agree on is then often wrong.
    """
    cases = []
    for index in range(0, 40, 2):
        name = f"blob_{index:03d}.png"
        mask = read_mask(blob_folders[1] / name)
        wide = binary_dilation(mask, iterations=9)
        narrow = binary_erosion(mask, iterations=1 + index % 3)
        cases.append(Case(read_image(blob_folders[0] / name), np.stack([wide, narrow])))
    return cases


@pytest.fixture(scope="module")
def fitted(segmenter: Segmenter, odd_cases: list[Case]) -> Calibration:
    return fit_calibration(segmenter, odd_cases[::2], SETTINGS)


def with_calibration(segmenter: Segmenter, calibration: Calibration | None) -> Segmenter:
    card = segmenter.card.model_copy(update={"calibration": calibration})
    return Segmenter(segmenter.model, card, "cpu", "fp32")


# --- the maps -----------------------------------------------------------------------------


def test_calibrated_confidence_is_how_often_the_mask_is_right(
    segmenter: Segmenter, fitted: Calibration, odd_cases: list[Case]
) -> None:
    """On images that the fit has not seen, where the raw confidence is badly off."""
    mine = with_calibration(segmenter, fitted)
    raw = evaluate(mine, odd_cases[1::2], RAW)
    calibrated = evaluate(mine, odd_cases[1::2], SETTINGS)
    assert raw.means()["confidence_ece"] > 0.08
    assert calibrated.means()["confidence_ece"] < 0.25 * raw.means()["confidence_ece"]
    assert calibrated.means()["dataset_ece"] < 0.5 * raw.means()["dataset_ece"]
    # Looking at the neighbourhood finds more errors than the spread of a pixel alone.
    assert calibrated.mean("error_auroc") > raw.mean("error_auroc")
    bins = calibrated.agreement
    full = bins.count > 0.02 * bins.count.sum()
    assert full.sum() >= 3
    np.testing.assert_allclose(bins.mean_probability[full], bins.frequency[full], atol=0.1)
    for name in ("dice", "iou", "sample_dice", "ged", "diversity"):
        assert calibrated.mean(name) == raw.mean(name), "masks stay as they are"


def test_the_fit_finds_a_known_frequency() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(400_000, dtype=np.float32) ** 3
    found = Frequency.empty()
    found.add(score, rng.random(score.size) < 0.2 + 0.7 * score)
    fit = found.fit()
    assert len(fit.x) <= MAX_KNOTS
    at = np.linspace(0.01, 0.95, 40)
    np.testing.assert_allclose(fit(at), 0.2 + 0.7 * at, atol=0.03)
    assert (np.diff(fit(np.linspace(0, 1, 500))) >= 0).all()


@pytest.mark.parametrize("value", [True, False])
def test_what_is_always_true_or_never_gives_a_constant(value: bool) -> None:
    found = Frequency.empty()
    found.add(np.linspace(0, 1, 50, dtype=np.float32), np.full(50, value))
    np.testing.assert_array_equal(found.fit()(np.array([0.0, 0.3, 1.0])), float(value))


def test_threshold_and_neighbourhood_are_the_best_ones(
    segmenter: Segmenter, fitted: Calibration, odd_cases: list[Case]
) -> None:
    drawn = [(segmenter.sample(case.image, SETTINGS), case) for case in odd_cases[::2]]

    def dice_of(samples: SampleSet, case: Case, threshold: float) -> float:
        mask = summarise(samples, threshold).mean_mask
        return float(np.mean([dice(mask, rater) for rater in case.references]))

    table = np.array([[dice_of(*one, value) for value in THRESHOLDS] for one in drawn])
    assert fitted.threshold == THRESHOLDS[choose_threshold(table)]
    assert np.ptp(table.mean(axis=0)) > 0.05, "they differ"

    def pooled_auroc(sigma: float) -> float:
        confidence, mask, truth = [], [], []
        for samples, case in drawn:
            q = gaussian_filter(samples.probabilities.mean(axis=0), sigma, mode="nearest")
            q = from_canvas(q, samples.geometry)
            for rater in case.references:
                confidence.append(1 - 4 * q * (1 - q))
                mask.append(summarise(samples, fitted.threshold).mean_mask)
                truth.append(rater)
        return error_auroc(np.stack(confidence), np.stack(mask), np.stack(truth)) or 0.0

    best = max(pooled_auroc(64 * share) for share in SIGMA_SHARES)
    assert pooled_auroc(fitted.sigma) == pytest.approx(best, abs=0.005)


def test_the_threshold_leaves_one_half_only_for_more_than_chance() -> None:
    rng = np.random.default_rng(5)
    low, middle = THRESHOLDS.index(0.3), THRESHOLDS.index(0.5)
    dice_of = np.full((60, len(THRESHOLDS)), 0.5)
    dice_of[:, middle] = rng.uniform(0.7, 0.9, 60)

    always_better = dice_of.copy()
    always_better[:, low] = dice_of[:, middle] + 0.01
    assert choose_threshold(always_better) == low

    better_by_luck = dice_of.copy()
    better_by_luck[:, low] = dice_of[:, middle] + np.where(np.arange(60) % 2, 0.06, -0.05)
    assert better_by_luck.mean(axis=0).argmax() == low, "the highest mean is not enough"
    assert choose_threshold(better_by_luck) == middle

    assert choose_threshold(always_better[:1]) == middle, "one image says nothing of chance"


def test_a_threshold_that_only_one_video_likes_is_not_taken() -> None:
    """Of 40 frames, 24 of one video gain by another threshold, and the others lose a little."""
    low, middle = THRESHOLDS.index(0.1), THRESHOLDS.index(0.5)
    videos = ["a"] * 24 + ["b"] * 10 + ["c"] * 6
    dice_of = np.full((40, len(THRESHOLDS)), 0.5)
    dice_of[:, middle] = 0.7
    dice_of[:, low] = 0.7 + np.where(np.array(videos) == "a", 0.1, -0.01)
    assert choose_threshold(dice_of) == low, "as single images they seem to agree"
    assert choose_threshold(dice_of, videos) == middle
    dice_of[:, low] = 0.78 + 0.001 * np.arange(40)
    assert choose_threshold(dice_of, videos) == low


def test_the_command_reads_what_belongs_together(
    tiny_model_folder: Path,
    blob_folders: tuple[Path, Path],
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


def test_summary_follows_the_formulas(segmenter: Segmenter, fitted: Calibration) -> None:
    pixels = np.random.default_rng(3).integers(60, 220, (50, 70, 3), dtype=np.uint8)
    samples = segmenter.sample(ImageInput(pixels), SETTINGS)
    mine = with_calibration(segmenter, fitted)
    raw, calibrated = mine.summarise(samples, RAW), mine.summarise(samples, SETTINGS)
    assert (raw.calibrated, calibrated.calibrated) == (False, True)
    canvas = samples.probabilities.astype(np.float64).mean(axis=0)
    q = gaussian_filter(canvas, fitted.sigma, mode="nearest", truncate=3.0).astype(np.float32)
    q = from_canvas(q, samples.geometry)
    expected = np.interp(1 - 4 * q * (1 - q), fitted.confidence.x, fitted.confidence.y)
    np.testing.assert_allclose(calibrated.confidence, expected, atol=1e-3)
    assert fitted.probability is not None
    expected = np.interp(raw.mean_probability, fitted.probability.x, fitted.probability.y)
    np.testing.assert_allclose(calibrated.mean_probability, expected, atol=1e-6)
    np.testing.assert_array_equal(raw.mean_mask, raw.mean_probability >= fitted.threshold)
    for name in ("mean_mask", "variance", "sample_masks"):
        np.testing.assert_array_equal(getattr(calibrated, name), getattr(raw, name))
    np.testing.assert_allclose(raw.confidence, 1 - 4 * raw.variance, atol=1e-6)


def test_one_image_is_held_at_a_time(segmenter: Segmenter, odd_cases: list[Case]) -> None:
    events: list[str] = []

    def cases() -> Any:
        for index, case in enumerate(odd_cases[:3]):
            events.append(f"read {index}")
            yield case

    fit_calibration(segmenter, cases(), SETTINGS, lambda done: events.append(f"did {done}"))
    assert events == ["read 0", "did 1", "read 1", "did 2", "read 2", "did 3"]


def test_several_classes(odd_cases: list[Case]) -> None:
    """A model that knows nothing is right as often as its calibrated confidence says."""
    config = config_from_mapping({**tiny_settings(), "model": {"classes": ["disc", "square"]}})
    torch.manual_seed(0)
    segmenter = Segmenter(LatentFM(config.model), draft_card(config), "cpu", "fp32")
    cases = [
        Case(c.image, c.references.astype(np.uint8) * (1, 2)[i % 2])
        for i, c in enumerate(odd_cases[:6])
    ]
    fitted = fit_calibration(segmenter, cases, SETTINGS)
    assert (fitted.probability, fitted.threshold) == (None, 0.5)
    found = evaluate(with_calibration(segmenter, fitted), cases, SETTINGS)
    raw = evaluate(segmenter, cases, SETTINGS)
    assert found.means()["confidence_ece"] < 0.5 * raw.means()["confidence_ece"]
    assert found.mean("dice") == raw.mean("dice")


def test_no_images(segmenter: Segmenter) -> None:
    with pytest.raises(DatasetError, match="no image"):
        fit_calibration(segmenter, [], SETTINGS)


# --- in the card --------------------------------------------------------------------------


def test_a_model_without_calibration_gives_raw_maps(
    segmenter: Segmenter, blob_folders: tuple[Path, Path]
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
    """A model whose calibration nobody can mistake: confidence at most 0.9, threshold 0.3."""
    folder = copy_model(calibrated_model_folder, tmp_path / "marked")
    card = read_card(folder)
    assert card.calibration is not None
    maps = {
        "confidence": MonotoneMap(x=(0.0, 1.0), y=(0.6, 0.9)),
        "probability": MonotoneMap(x=(0.0, 1.0), y=(0.1, 0.8)),
        "threshold": 0.3,
        "sigma": 2.0,
    }
    changed = card.calibration.model_copy(update=maps)
    write_card(folder, card.model_copy(update={"calibration": changed}))
    return folder


@pytest.mark.parametrize(
    ("flags", "settings", "used", "threshold"),
    [
        ([], SETTINGS, "calibrated", 0.3),
        (["--confidence", "calibrated"], SETTINGS, "calibrated", 0.3),
        (["--confidence", "raw"], RAW, "raw", 0.3),
        (["--threshold", "0.6"], SETTINGS.model_copy(update={"threshold": 0.6}), "calibrated", 0.6),
    ],
)
def test_predict_gives_what_python_gives(
    marked: Path,
    blob_folders: tuple[Path, Path],
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
    assert predict([*words, *flags, "--skip-done"]) == 0
    other = "calibrated" if used == "raw" else "raw"
    assert predict([*words, "--skip-done", "--confidence", other]) == 2


def test_asking_for_a_calibration_that_is_not_there(
    tiny_model_folder: Path, blob_folders: tuple[Path, Path], tmp_path: Path, capsys: Any
) -> None:
    words = [str(blob_folders[0] / "blob_001.png"), "--model", str(tiny_model_folder)]
    words += ["--out", str(tmp_path / "out"), *OPTIONS]
    assert predict([*words, "--confidence", "calibrated"]) == 2
    assert "latentfm-calibrate" in capsys.readouterr().err
    assert predict(words) == 0
    sidecar = json.loads((tmp_path / "out" / "blob_001.json").read_text())
    assert (sidecar["confidence"], sidecar["threshold"]) == ("raw", 0.5)


@pytest.fixture
def command(
    tiny_model_folder: Path, blob_folders: tuple[Path, Path], tmp_path: Path
) -> tuple[Path, Callable[..., int]]:
    """A copy of the tiny model, and a function that calibrates it on 10 of 14 images."""
    folder = copy_model(tiny_model_folder, tmp_path / "model")
    names = [f"blob_{index:03d}" for index in range(14)]
    write_split(tmp_path / "split.json", Split((), tuple(names[:10]), tuple(names[10:])))
    words = ["--images", blob_folders[0], "--masks", blob_folders[1], "--model", folder]

    def run(*more: object) -> int:
        split = ["--split", tmp_path / "split.json"]
        return calibrate([*map(str, (*words, *split)), *OPTIONS, *map(str, more)])

    return folder, run


def test_the_command_writes_the_calibration_into_the_card(
    command: tuple[Path, Callable[..., int]], blob_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, run = command
    card = read_card(folder)
    # Cards of trained models may state the usual threshold; the fitted one replaces it.
    sampling = card.config.sampling.model_copy(update={"threshold": 0.5})
    config = card.config.model_copy(update={"sampling": sampling})
    write_card(folder, card.model_copy(update={"config": config}))
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


def test_mistakes_are_named_and_the_card_stays(
    command: tuple[Path, Callable[..., int]], blob_folders: tuple[Path, Path], capsys: Any
) -> None:
    folder, run = command
    card = (folder / "model.json").read_bytes()
    assert run("--part", "train") == 2
    assert "empty" in capsys.readouterr().err
    assert run("--masks", folder / "nowhere") == 2
    assert "nowhere" in capsys.readouterr().err
    assert run("--model", folder / "nothing") == 2
    assert "nothing" in capsys.readouterr().err
    assert run("--threshold", "0.4") == 2, "the threshold is what is fitted"
    assert (folder / "model.json").read_bytes() == card


def test_a_bad_mask_stops_the_command_before_the_work_or_is_left_out(
    command: tuple[Path, Callable[..., int]], blob_folders: tuple[Path, Path], tmp_path: Path
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


def test_samples_say_with_what_they_were_summarised(marked: Path) -> None:
    segmenter = Segmenter.load(marked, "cpu", "fp32")
    image = ImageInput(np.random.default_rng(0).random((40, 60)))
    samples: SampleSet = segmenter.sample(image, SETTINGS)
    assert samples.settings["threshold"] == 0.3
    assert samples.settings["calibrated"] is True
