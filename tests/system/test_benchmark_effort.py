"""The effort benchmark with a small model and unseen images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from benchmarks.effort.annotator import GOOD_ENOUGH, MAX_CLICKS, annotate
from benchmarks.effort.cli import page
from benchmarks.effort.data import Selection, select
from benchmarks.effort.order import by_uncertainty
from benchmarks.effort.work import (
    ResultFile,
    dice_without_prompt,
    work_adapted,
    work_afterwards,
    work_plain,
)
from latentfm_core.adaptation.session import AdaptationSession
from latentfm_core.config import AdaptationConfig
from latentfm_core.datasets.pairs import find_pairs
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.worklist.order import uncertainty_of
from tests.helpers.prompting import two_discs

QUICK = AdaptationConfig(seconds=0.3, views=4, learning_rate=3e-3, fewest=2)


@pytest.fixture
def selection(tmp_path: Path) -> Selection:
    """Return images of one bright disc: four to work through and two others."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in range(6):
        pixels, labels = two_discs(np.random.default_rng(number))
        mask = (labels == 1).astype(np.uint8) * 255
        imsave(tmp_path / "images" / f"{number}.png", 255 - pixels, check_contrast=False)
        imsave(tmp_path / "masks" / f"{number}.png", mask, check_contrast=False)
    pairs = {pair.name: pair for pair in find_pairs(tmp_path / "images", tmp_path / "masks")}
    return Selection(pairs, tuple("0123"), tuple("45"))


def test_the_annotator_stops_at_a_good_answer_or_after_ten_clicks(
    promptable_model_folder: Path, selection: Selection
) -> None:
    segmenter = Segmenter.load(promptable_model_folder, "cpu")
    image, target = selection.read("0")
    effort, mask = annotate(segmenter, image, target, 0)
    assert effort.first < GOOD_ENOUGH, "two discs are found without a click, one is wanted"
    assert 1 <= effort.clicks <= MAX_CLICKS
    assert dice(mask, target) >= GOOD_ENOUGH, "an answer, or the expert's mask"
    assert effort.reached or (effort.clicks == MAX_CLICKS and np.array_equal(mask, target))


def test_an_interrupted_run_is_continued(
    promptable_model_folder: Path, selection: Selection, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    settings = {"model": "tiny"}
    compared: list[int] = []

    def begin(part: Selection) -> tuple[ResultFile, AdaptationSession]:
        session = AdaptationSession(promptable_model_folder, QUICK)
        result = ResultFile(out / "result.json", settings)
        none, box = dice_without_prompt(session.present, part, "before")
        result.values["others"]["0"] = {"used": False, "none": none, "box": box}
        done = len(result.efforts("adapted"))
        names = part.worked_through[done:]
        work_adapted(session, out, part, names, result, (2, 4), compared.append)
        return result, session

    begin(replace(selection, worked_through=selection.worked_through[:2]))
    result, session = begin(selection)
    assert compared == [2, 4]
    assert [effort.name for effort in result.efforts("adapted")] == list("0123")
    assert [image.name for image in session.record.images] == list("0123")
    work_plain(str(promptable_model_folder), selection, result)
    result.values["afterwards"] = work_afterwards(session, selection.others, selection)
    assert page(result).count("of 4 |") == 2
    assert page(result).count("of 2 |") == 2
    stored = json.loads((out / "result.json").read_text("utf-8"))
    assert len(stored["plain"]) == 4
    with pytest.raises(SystemExit, match="other settings"):
        ResultFile(out / "result.json", {"model": "other"})


def test_the_most_uncertain_images_come_first(
    promptable_model_folder: Path, selection: Selection
) -> None:
    session = AdaptationSession(promptable_model_folder, QUICK)
    names = list(by_uncertainty(session, selection, selection.worked_through, ["1"]))
    assert sorted(names) == ["0", "2", "3"]
    uncertainty = []
    for name in names:
        samples = session.present.sample(selection.read(name)[0])
        uncertainty.append(uncertainty_of(session.present.summarise(samples)))
    assert uncertainty == sorted(uncertainty, reverse=True)


def test_no_image_or_group_has_both_roles() -> None:
    data = Path("../shared/data")
    if not (data / "fuseg_wound").is_dir():
        pytest.skip("needs the wound images")
    found = select("fuseg_wound", data, 10, 20, 0, False)
    assert len(found.worked_through) == 10
    assert not set(found.worked_through) & set(found.others)
    tuning = select("fuseg_wound", data, 10, 20, 0, True)
    assert not {*tuning.worked_through, *tuning.others} & {*found.worked_through, *found.others}
