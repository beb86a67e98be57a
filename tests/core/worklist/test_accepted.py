"""All accepted annotations of a folder, exported together."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from latentfm_core.annotation.export import export_annotation, sidecar_path
from latentfm_core.annotation.fingerprint import image_signature
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.colours import label_colour
from latentfm_core.datasets.label_names import FILE_NAME
from latentfm_core.errors import FolderBusy, OutputError
from latentfm_core.files.locks import FolderLock
from latentfm_core.images.read import read_image
from latentfm_core.measures.objects import PixelSize
from latentfm_core.worklist import state
from latentfm_core.worklist.accepted import Format, accepted, export_accepted
from latentfm_core.worklist.classes import add_classes, read_classes
from latentfm_core.worklist.state import WorkList
from tests.helpers.annotations import info, labels_of

MICRONS = {"spacing": (0.5, 0.25), "units": ("micrometer", "micrometer"), "classes": ("lesion",)}


@pytest.fixture
def work(tmp_path: Path) -> WorkList:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.png", "d.png"):
        Image.fromarray(np.zeros((40, 50), np.uint8)).save(folder / name)
    found = WorkList(folder)
    side = info(image="a.png", **MICRONS)
    export_annotation(found.annotation("a.png"), labels_of(1), side)
    export_annotation(found.annotation("b.png"), labels_of(0), info(image="b.png"))
    found.update("a.png", state="completed", file="a.tif", seconds=12.5)
    found.update("b.png", state="completed", file="b.tif", empty=True)
    found.update("c.png", state="flagged", note="blurred")
    return found


def opened(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_the_table_says_why_an_image_could_not_be_read(work: WorkList, tmp_path: Path) -> None:
    work.update("c.png", error="damaged")
    list(export_accepted(work, tmp_path / "all.csv", "csv"))
    with (tmp_path / "all.csv").open(encoding="utf-8-sig", newline="") as stream:
        notes = {row["image"]: row["note"] for row in csv.DictReader(stream)}
    assert notes["c.png"] == "blurred; damaged"


@pytest.mark.skipif(os.name == "nt", reason="names there are always Unicode")
def test_a_table_accepts_images_with_any_name(work: WorkList, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    (work.folder / name).write_bytes((work.folder / "a.png").read_bytes())
    work.refresh()
    list(export_accepted(work, tmp_path / "all.csv", "csv"))
    with (tmp_path / "all.csv").open(encoding="utf-8-sig", newline="") as stream:
        states = {row["image"]: row["state"] for row in csv.DictReader(stream)}
    assert states["_.png"] == "not started"
    assert len(states) == 5


def test_names_of_another_window_are_awaited_and_damaged_ones_kept(
    work: WorkList, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "LOCK_SECONDS", 0.0)
    add_classes(work.output, {1: "nevus"})
    other = FolderLock(work.output, state.LOCK)
    assert other.acquire()
    with pytest.raises(FolderBusy):
        add_classes(work.output, {2: "melanoma"})
    other.release()
    add_classes(work.output, {2: "melanoma"})
    assert read_classes(work.output) == {1: "nevus", 2: "melanoma"}
    (work.output / FILE_NAME).write_text("{")
    add_classes(work.output, {3: "seborrhoeic keratosis"})
    assert (work.output / f"{FILE_NAME}.broken").read_text() == "{"
    assert read_classes(work.output) == {3: "seborrhoeic keratosis"}


def test_table_of_all_accepted_images(work: WorkList, tmp_path: Path) -> None:
    reported = list(export_accepted(work, tmp_path / "all.csv", "csv", size=PixelSize(2, 2, "mm")))
    steps = [(each.done, each.name) for each in reported]
    # Once for the names of their labels, then to write them.
    assert steps == [(0, "a.png"), (0, "b.png"), (0, "a.png"), (1, "b.png"), (2, "")]
    with (tmp_path / "all.csv").open(encoding="utf-8-sig", newline="") as stream:
        first, empty, flagged, left = csv.DictReader(stream)
    assert (first["image"], first["class"], first["unit"]) == ("a.png", "lesion", "µm")
    assert float(first["area"]) == pytest.approx(15 * 20 * 0.125)
    assert (first["state"], first["seconds"]) == ("done", "12.5")
    assert (empty["state"], empty["object"], empty["unit"]) == ("done (empty)", "", "mm")
    assert (empty["area_px"], empty["area"]) == ("0", "")
    assert (flagged["image"], flagged["flag"], flagged["note"]) == ("c.png", "yes", "blurred")
    assert (left["image"], left["state"], left["area_px"]) == ("d.png", "not started", "")


def test_names_of_the_list_apply_to_all_images(work: WorkList, tmp_path: Path) -> None:
    add_classes(work.output, {1: "nevus", 4: "hair"})
    add_classes(work.output, {4: "ruler"})
    list(export_accepted(work, tmp_path / "all.json", "coco"))
    found = json.loads((tmp_path / "all.json").read_text())["categories"]
    assert [(each["id"], each["name"]) for each in found] == [(1, "nevus"), (4, "ruler")]
    (work.output / "classes.json").write_text("damaged")
    assert read_classes(work.output) == {}


def test_objects_of_all_images_share_a_category(work: WorkList, tmp_path: Path) -> None:
    values = labels_of(2)
    values[30:35, 3:6] = 3
    facts = {"value": 2, "name": "label 2", "pixels": 300}  # as written by earlier versions
    side = info(image="b.png", **MICRONS, labels=[facts], class_names={4: "hair"})
    export_annotation(work.annotation("b.png"), values, side)
    list(export_accepted(work, tmp_path / "all.json", "coco"))
    coco = opened(tmp_path / "all.json")
    assert {each["id"]: each["name"] for each in coco.cats.values()} == {1: "lesion", 4: "hair"}
    assert [each["category_id"] for each in coco.anns.values()] == [1, 1, 1]
    list(export_accepted(work, tmp_path / "all.csv", "csv"))
    with (tmp_path / "all.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["image"] == "b.png"]
    assert [(row["label"], row["class"]) for row in rows] == [("2", "lesion"), ("3", "lesion")]


def test_coco_says_where_to_rename_a_label_with_two_names(work: WorkList, tmp_path: Path) -> None:
    named = info(image="b.png", class_names={1: "nevus"})
    export_annotation(work.annotation("b.png"), labels_of(1), named)
    target = tmp_path / "all.json"
    with pytest.raises(OutputError, match=r"b\.png: label 1 is called 'nevus' here") as refused:
        list(export_accepted(work, target, "coco"))
    assert "'lesion' in another image" in str(refused.value)
    assert "Name label…" in str(refused.value)
    assert not target.exists()
    # As renaming and accepting do.
    add_classes(work.output, {1: "nevus"})
    list(export_accepted(work, target, "coco"))
    assert [each["name"] for each in json.loads(target.read_text())["categories"]] == ["nevus"]


def names_in(kind: Format, target: Path) -> list[str]:
    """Return the class of each object in an export."""
    if kind == "coco":
        content = json.loads(target.read_text("utf-8"))
        names = {each["id"]: each["name"] for each in content["categories"]}
        return [names[each["category_id"]] for each in content["annotations"]]
    if kind == "csv":
        with target.open(encoding="utf-8-sig", newline="") as stream:
            return [row["class"] for row in csv.DictReader(stream) if row["class"]]
    files = [json.loads((target / name).read_text("utf-8")) for name in ("a.json", "b.json")]
    return [shape["label"] for file in files for shape in file["shapes"]]


@pytest.mark.parametrize("kind", ["coco", "csv", "labelme"])
def test_an_export_has_one_name_for_the_classes_of_two_models(
    work: WorkList, tmp_path: Path, kind: Format
) -> None:
    target = tmp_path / "all"

    def exported() -> tuple[list[str], tuple[str, ...]]:
        *_, last = export_accepted(work, target, kind)
        return names_in(kind, target), last.notes

    def model(image: str, *classes: str) -> None:
        export_annotation(
            work.annotation(image),
            labels_of(2),
            info(image=image, **{**MICRONS, "classes": classes}),
        )

    # A model that does not name its class takes the name of another one, also of a later image.
    model("b.png", "object")
    assert exported()[0] == ["lesion", "lesion"]
    model("a.png", "object")
    model("b.png", "lesion")
    names, (note,) = exported()
    assert names == ["lesion", "lesion"]
    assert "Label 1 is called 'lesion' in all images" in note
    assert "'object'" in note
    # Of two names of models the first one stays.
    model("a.png", "polyp")
    assert exported()[0] == ["polyp", "polyp"]
    # A name from the annotator wins, and nothing is left to check.
    add_classes(work.output, {1: "nevus"})
    assert exported() == (["nevus", "nevus"], ())
    # Classes in another order are no names of the same class.
    (work.output / FILE_NAME).unlink()
    model("a.png", "lesion", "hair")
    model("b.png", "hair", "lesion")
    with pytest.raises(OutputError, match="label 1 is called 'hair' here"):
        exported()
    model("a.png", "hair")
    model("b.png", "lesion", "hair")
    with pytest.raises(OutputError, match="label 1 is called 'lesion' here"):
        exported()


@pytest.mark.parametrize("kind", ["tiff", "csv"])
def test_images_replaced_since_they_were_accepted_are_named(
    work: WorkList, tmp_path: Path, kind: Format
) -> None:
    def notes() -> tuple[str, ...]:
        *_, last = export_accepted(work, tmp_path / "all", kind)
        return last.notes

    for name in ("a.png", "b.png"):
        Image.fromarray(np.eye(40, 50, dtype=np.uint8)).save(work.path(name))
        signature = image_signature(read_image(work.path(name)).pixels)
        side = info(image=name, image_signature=signature, created="2000-01-01T00:00:00+00:00")
        export_annotation(work.annotation(name), labels_of(1), side)
    assert notes() == (), "the same pixels at a later date"
    Image.fromarray(np.eye(40, 50, 2, dtype=np.uint8)).save(work.path("b.png"))
    (note,) = notes()
    assert note.startswith("1 image was replaced or changed after being accepted: b.png. Open it")
    signature = image_signature(read_image(work.path("b.png")).pixels)
    side = info(image="b.png", image_signature=signature)
    export_annotation(work.annotation("b.png"), labels_of(1), side)
    assert notes() == ()


def test_one_coco_file_for_all_images(work: WorkList, tmp_path: Path) -> None:
    list(export_accepted(work, tmp_path / "all.json", "coco"))
    coco = opened(tmp_path / "all.json")
    assert [each["file_name"] for each in coco.imgs.values()] == ["a.png", "b.png"]
    (annotation,) = coco.anns.values()
    np.testing.assert_array_equal(coco.annToMask(annotation), labels_of(1))


@pytest.mark.parametrize(
    ("kind", "ending"), [("tiff", ".tif"), ("png", ".png"), ("palette", ".palette.png")]
)
def test_label_files_with_their_provenance(
    work: WorkList, tmp_path: Path, kind: str, ending: str
) -> None:
    out = tmp_path / "out"
    list(export_accepted(work, out, kind))  # type: ignore[arg-type]
    labels, side = read_annotation(out / f"a{ending}")
    np.testing.assert_array_equal(labels, labels_of(1))
    assert side is not None
    assert side.spacing == (0.5, 0.25)
    assert not read_annotation(out / f"b{ending}")[0].any()


def test_pictures_use_the_colours_of_the_model_of_each_image(
    work: WorkList, tmp_path: Path
) -> None:
    side = info(image="b.png", classes=("disc",), class_colours=("#d01c8b",))
    export_annotation(work.annotation("b.png"), labels_of(1), side)
    list(export_accepted(work, tmp_path, "palette"))
    for name, colour in (("a", label_colour(1)), ("b", "#d01c8b")):
        with Image.open(tmp_path / f"{name}.palette.png") as picture:
            seen = np.asarray(picture.convert("RGB"))[labels_of(1) == 1]
        assert {bytes(pixel).hex() for pixel in seen} == {colour[1:]}
    assert "class_colours" not in json.loads((tmp_path / "a.palette.png.json").read_text())


def test_labelme_names_the_image_by_a_relative_path(work: WorkList, tmp_path: Path) -> None:
    list(export_accepted(work, tmp_path / "out", "labelme"))
    found = json.loads((tmp_path / "out" / "a.json").read_text())
    assert found["imagePath"] == "../images/a.png"
    assert json.loads((tmp_path / "out" / "b.json").read_text())["shapes"] == []


def test_a_cancelled_export_leaves_no_partial_file(work: WorkList, tmp_path: Path) -> None:
    steps = export_accepted(work, tmp_path / "all.json", "coco")
    next(steps)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "all.json").exists()


@pytest.mark.parametrize("kind", get_args(Format))
@pytest.mark.parametrize("damage", ["gone", "cut short"])
def test_an_unreadable_annotation_is_skipped_and_named(
    work: WorkList, tmp_path: Path, kind: Format, damage: str
) -> None:
    file = work.annotation("b.png")
    content = file.read_bytes()
    file.unlink()
    if damage == "cut short":
        file.write_bytes(content[:60])
    *_, last = export_accepted(work, tmp_path / "out" / "all", kind)
    assert len(last.problems) == 1
    assert last.problems[0].startswith("b.png: ")
    if kind == "csv":
        with (tmp_path / "out" / "all").open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [row["state"] for row in rows] == ["done", "not readable", "flagged", "not started"]
    elif kind == "coco":
        assert len(opened(tmp_path / "out" / "all").imgs) == 1
    work.annotation("a.png").unlink()
    with pytest.raises(OutputError, match=r"a\.png"):
        list(export_accepted(work, tmp_path / "other" / "all", kind))
    assert not (tmp_path / "other").exists()


def test_files_of_the_list_itself_are_never_replaced(work: WorkList) -> None:
    before = {path: path.read_bytes() for path in work.folder.rglob("*") if path.is_file()}
    for target, kind in (
        (work.folder, "png"),
        (work.output, "tiff"),
        (work.output / "WorkList.json", "coco"),
        (work.output / "classes.json", "coco-polygons"),
        (work.folder / "c.png", "csv"),
        (work.folder / ".." / work.folder.name / "a.png", "coco"),
    ):
        with pytest.raises(OutputError, match="work list itself"):
            list(export_accepted(work, target, kind))  # type: ignore[arg-type]
    after = {path: path.read_bytes() for path in work.folder.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("kind", ["coco", "csv"])
def test_the_provenance_of_an_export_is_never_replaced(
    work: WorkList, tmp_path: Path, kind: Format
) -> None:
    list(export_accepted(work, tmp_path / "out", "tiff"))
    provenance = sidecar_path(tmp_path / "out" / "a.tif")
    before = provenance.read_bytes()
    with pytest.raises(OutputError, match="provenance of an annotation"):
        list(export_accepted(work, provenance, kind))
    assert provenance.read_bytes() == before


def test_a_file_named_like_a_provenance_is_kept(work: WorkList, tmp_path: Path) -> None:
    """Labels without provenance do not get a provenance file."""
    for name in accepted(work):
        sidecar_path(work.annotation(name)).unlink(missing_ok=True)
    mine = sidecar_path(tmp_path / "out" / "a.tif")
    mine.parent.mkdir()
    mine.write_text('{"objects": []}')
    list(export_accepted(work, mine.parent, "tiff"))
    assert mine.read_text() == '{"objects": []}'


def test_an_export_without_accepted_images_is_refused(work: WorkList, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        work.update(name, state="in progress")
    with pytest.raises(OutputError, match="Accept one"):
        list(export_accepted(work, tmp_path / "all.csv", "csv"))
