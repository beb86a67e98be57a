"""State, order and files of a work list."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import DatasetError, OutputError
from latentfm_core.evaluation.evaluate import Case, evaluate
from latentfm_core.images.read import read_image
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.worklist.item import Item
from latentfm_core.worklist.order import ordered, step, tally, uncertainty_of
from latentfm_core.worklist.state import WorkList
from tests.helpers.fixtures import Folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        imsave(images / name, np.zeros((8, 8), np.uint8), check_contrast=False)
    return images


def test_state_survives(folder: Path) -> None:
    work = WorkList(folder)
    work.update("b.png", state="completed", seconds=12.5, uncertainty=0.25, note="ok")
    again = WorkList(folder)
    assert again.file == folder / "latentfm_annotations" / "worklist.json"
    item = again.item("b.png")
    assert (item.state, item.seconds, item.uncertainty, item.note) == (
        "completed",
        12.5,
        0.25,
        "ok",
    )
    assert item.updated
    assert again.names == ["a.png", "b.png", "c.png"]
    assert again.item("a.png") == Item()


def test_a_list_from_an_earlier_version_opens(folder: Path) -> None:
    """Files that hold ``doubt`` and ``doubt_of`` are read, and written with the present names."""
    work = WorkList(folder)
    former = {"state": "in progress", "doubt": 0.25, "doubt_of": "model, settings"}
    work.file.write_text(json.dumps({"images": {"b.png": former}}))
    again = WorkList(folder)
    assert again.warning == ""
    item = again.item("b.png")
    assert (item.state, item.uncertainty, item.measured_with) == (
        "in progress",
        0.25,
        "model, settings",
    )
    again.update("a.png", state="completed")
    written = json.loads(work.file.read_text())["images"]["b.png"]
    assert written["uncertainty"] == 0.25
    assert "doubt" not in written


def test_images_that_disappear_and_reappear_keep_their_state(folder: Path) -> None:
    WorkList(folder).update("b.png", state="completed")
    content = (folder / "b.png").read_bytes()
    (folder / "b.png").unlink()
    (folder / "d.png").write_bytes(content)
    work = WorkList(folder)
    assert work.names == ["a.png", "c.png", "d.png"]
    work.update("d.png", state="flagged")
    (folder / "b.png").write_bytes(content)
    assert WorkList(folder).item("b.png").state == "completed"


@pytest.mark.parametrize(
    "content",
    [
        "{ not json",
        json.dumps({"kind": "worklist", "images": {"../x.png": {}}}),
        json.dumps({"kind": "worklist", "images": {"/etc/x.png": {}}}),
        json.dumps({"kind": "worklist", "images": {"a.png": {"seconds": -1}}}),
        json.dumps({"kind": "worklist", "images": {"a.png": {"file": "../x.tif"}}}),
        json.dumps({"kind": "worklist", "images": {"a.png": {"state": "unheard of"}}}),
    ],
)
def test_a_damaged_state_is_set_aside(folder: Path, content: str) -> None:
    file = WorkList(folder).file
    file.write_text(content)
    work = WorkList(folder)
    assert "worklist.json.broken" in work.warning
    assert (file.parent / "worklist.json.broken").read_text() == content
    assert work.item("a.png") == Item()
    work.update("a.png", state="completed")
    assert WorkList(folder).warning == ""
    file.write_text("once more")
    WorkList(folder)
    assert (file.parent / "worklist.json.broken").read_text() == content


def test_names_outside_the_folder_are_refused(folder: Path) -> None:
    work = WorkList(folder)
    for name in ("../a.png", "/a.png", "", "..", "x/y.png", "a\0b"):
        with pytest.raises(ValueError, match="not a name of a file"):
            work.update(name, state="completed")
        with pytest.raises(ValueError, match="not a name of a file"):
            work.path(name)


@pytest.mark.skipif(os.name == "nt", reason="names there are always Unicode")
def test_errors_about_any_name_are_kept(folder: Path) -> None:
    work = WorkList(folder)
    work.update("a.png", error=os.fsdecode(b"\xff.png: ") + "x" * 3000)
    kept = WorkList(folder).item("a.png").error
    assert kept.startswith("_.png: x")
    assert len(kept) == 2000


@pytest.mark.skipif(os.name == "nt", reason="these names lead elsewhere on Windows")
def test_names_invalid_only_on_other_systems_are_accepted(folder: Path) -> None:
    for name in ("1:30 visit.png", "set\\b.png", "C:\\x.png", "line\nbreak.png", "a\x1b[31m.png"):
        (folder / name).write_bytes((folder / "a.png").read_bytes())
    (folder / os.fsdecode(b"\xff.png")).write_bytes((folder / "a.png").read_bytes())
    work = WorkList(folder)
    for name in work.names:
        work.update(name, state="completed", note=f"seen {name}")
    again = WorkList(folder)
    assert again.warning == ""
    assert {item.state for item in again.items().values()} == {"completed"}
    assert len({work.annotation(name) for name in work.names}) == len(work.names)


def test_states_and_annotations_are_found_under_both_forms_of_a_name(folder: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "L\u00e4sion.png") for form in ("NFC", "NFD"))
    (folder / apart).write_bytes((folder / "a.png").read_bytes())
    work = WorkList(folder)
    kept = work.annotation(apart)
    kept.write_bytes(b"labels")
    work.update(apart, state="completed", file=kept.name)
    (folder / apart).rename(folder / composed)  # as a copy to another system does
    kept.rename(kept.with_name(unicodedata.normalize("NFC", kept.name)))
    again = WorkList(folder)
    assert again.item(composed).state == "completed"
    assert again.kept(composed) is not None


def test_impossible_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="among the images"):
        WorkList(folder, folder)
    with pytest.raises(DatasetError, match="not a folder"):
        WorkList(tmp_path / "none")


def test_no_two_images_share_an_annotation(folder: Path) -> None:
    work = WorkList(folder)
    assert work.annotation("a.png").name == "a.tif"
    work.update("a.png", file="a.tif")
    imsave(folder / "a.jpg", np.zeros((8, 8), np.uint8), check_contrast=False)
    again = WorkList(folder)
    assert again.annotation("a.png").name == "a.tif"
    assert again.annotation("a.jpg").name != "a.tif"


def test_order_and_steps() -> None:
    items = {
        "a": Item(uncertainty=0.1, state="completed"),
        "b": Item(uncertainty=0.5),
        "c": Item(),
        "d": Item(uncertainty=0.0),
    }
    assert ordered(items) == ["a", "b", "c", "d"]
    by_uncertainty = ordered(items, "uncertainty")
    assert by_uncertainty == ["b", "a", "d", "c"]
    assert step(by_uncertainty, items, "b") == "a"
    assert step(by_uncertainty, items, "b", skip_done=True) == "d"
    assert step(by_uncertainty, items, "d", -1, skip_done=True) == "b"
    assert step(by_uncertainty, items, "c") is None
    assert step(by_uncertainty, items, "b", -1) is None
    assert step(list("abcd"), items, None, 1, skip_done=True) == "b"


def test_tally() -> None:
    items = {str(n): Item() for n in range(10)}
    assert str(tally(items)) == "0 of 10 done, 0 flagged"
    items["0"] = Item(state="completed", seconds=60)
    items["1"] = Item(state="completed", seconds=180)
    items["2"] = Item(state="flagged", seconds=999)
    assert str(tally(items)) == "2 of 10 done, 1 flagged, about 14 min left"


def test_uncertainty_equals_that_of_the_evaluation(
    tiny_model_folder: Path, blob_folders: Folders
) -> None:
    segmenter = Segmenter.load(tiny_model_folder, "cpu")
    image = read_image(next(iter(sorted(blob_folders[0].iterdir()))))
    settings = SamplingConfig(n_samples=3, steps=2, device="cpu")
    summary = segmenter.summarise(segmenter.sample(image, settings), settings)
    found = evaluate(segmenter, [Case(image, summary.mean_mask[None])], settings)
    assert uncertainty_of(summary) == pytest.approx(1 - found.scores[0].expected_dice, abs=1e-12)
