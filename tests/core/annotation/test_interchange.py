"""Annotations in formats of other programs, read by their own readers."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools.coco import COCO
from scipy import ndimage

from latentfm_core.annotation.coco import CocoFile
from latentfm_core.annotation.export import export_annotation
from latentfm_core.annotation.labelled import LabelledImage
from latentfm_core.annotation.labelme import write_labelme
from latentfm_core.annotation.table import measured_rows, write_table
from latentfm_core.errors import OutputError
from latentfm_core.measures.objects import PixelSize
from tests.helpers.annotations import info, labels_of


def labels() -> np.ndarray:
    """Return two labels: one of two pieces, one of which has a hole, and one at the edge."""
    found = np.zeros((90, 110), np.uint8)
    row, column = np.mgrid[:90, :110]
    distance = np.hypot(row - 40.2, column - 45.7)
    found[(distance < 30) & (distance > 10)] = 1
    found[70:85, 80:100] = 1
    found[:12, 90:] = 3
    return found


def marked(**more: object) -> LabelledImage:
    values = {"image": "skin.png", "labels": labels(), "names": {1: "lesion", 3: "hair"}, **more}
    return LabelledImage(**values)  # type: ignore[arg-type]


def opened(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def border(mask: np.ndarray) -> np.ndarray:
    around = np.ones((3, 3), bool)
    return ndimage.binary_dilation(mask, around) & ~ndimage.binary_erosion(mask, around)


def test_run_lengths_are_decoded_exactly(tmp_path: Path) -> None:
    file = CocoFile("rle")
    file.add(marked())
    file.add(marked(image="empty.png", labels=np.zeros((20, 30), np.uint8)))
    file.write(tmp_path / "all.json")
    coco = opened(tmp_path / "all.json")
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == ["lesion", "hair"]
    assert coco.imgs[1] == {"id": 1, "file_name": "skin.png", "height": 90, "width": 110}
    assert coco.getAnnIds(imgIds=[2]) == []
    for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[1])):
        wanted = labels() == annotation["category_id"]
        np.testing.assert_array_equal(coco.annToMask(annotation), wanted)
        assert annotation["area"] == wanted.sum()
        rows, columns = np.nonzero(wanted)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert annotation["bbox"] == box


def shapes() -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    column, corner = np.zeros((9, 7), np.uint8), np.zeros((9, 7), np.uint8)
    column[:, 2:5] = 1
    column[3, 6] = 2
    corner[8, 6] = corner[0, 0] = 4
    return {
        "noise": (random.random((41, 33)) < 0.4).astype(np.uint8),
        "labels": random.integers(0, 4, (20, 25), np.uint8),
        "columns of full height": column,
        "first and last pixel": corner,
        "full": np.ones((6, 5), np.uint8),
        "cells": ndimage.label(random.random((60, 70)) < 0.3)[0].astype(np.uint16),
    }


@pytest.mark.parametrize("name", shapes())
@pytest.mark.parametrize("separate", [False, True])
def test_run_lengths_of_any_object_are_decoded_exactly(
    tmp_path: Path, name: str, separate: bool
) -> None:
    given = shapes()[name]
    file = CocoFile("rle", separate)
    file.add(LabelledImage("a.png", given))
    file.write(tmp_path / "a.json")
    coco = opened(tmp_path / "a.json")
    again = np.zeros_like(given)
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(annotation).astype(bool)
        assert not again[mask].any()
        assert annotation["area"] == np.count_nonzero(mask)
        again[mask] = annotation["category_id"]
    np.testing.assert_array_equal(again, given)


def test_decoded_polygons_are_accurate_to_a_pixel(tmp_path: Path) -> None:
    file = CocoFile("polygons")
    file.add(marked())
    file.write(tmp_path / "all.json")
    coco = opened(tmp_path / "all.json")
    found = {each["category_id"]: each for each in coco.anns.values()}
    assert len(found[1]["segmentation"]) == 2
    for label, annotation in found.items():
        wanted = labels() == label
        wrong = coco.annToMask(annotation).astype(bool) != wanted
        assert not (wrong & ~border(wanted)).any()
        assert wrong.sum() < 0.03 * wanted.sum()


def test_pieces_can_be_separate_annotations(tmp_path: Path) -> None:
    file = CocoFile(separate=True)
    file.add(marked())
    file.write(tmp_path / "all.json")
    assert [each["category_id"] for each in opened(tmp_path / "all.json").anns.values()] == [
        *(1, 1, 3)
    ]


def test_objects_of_one_class_are_annotations_of_one_category(tmp_path: Path) -> None:
    """Labels 1 and 3 are objects of the model's only class; label 2 is a separate class."""
    values = labels()
    values[60:66, :9] = 2
    file = CocoFile()
    file.add(marked(labels=values, names={2: "hair"}, classes=("lesion",)))
    file.add(
        marked(image="b.png", labels=values, names={2: "hair", 3: "hair"}, classes=("lesion",))
    )
    file.write(tmp_path / "all.json")
    coco = opened(tmp_path / "all.json")
    assert [coco.cats[number]["name"] for number in coco.getCatIds()] == ["lesion", "hair"]
    lesions, hairs = coco.getCatIds(["lesion"]), coco.getCatIds(["hair"])
    assert [len(coco.getAnnIds(imgIds=[1], catIds=ids)) for ids in (lesions, hairs)] == [2, 1]
    assert [len(coco.getAnnIds(imgIds=[2], catIds=ids)) for ids in (lesions, hairs)] == [1, 2]
    masks = [coco.annToMask(coco.anns[each]) for each in coco.getAnnIds([1], lesions)]
    np.testing.assert_array_equal(masks, [values == 1, values == 3])


@pytest.mark.parametrize(
    ("classes", "names", "wanted"),
    [
        (("lesion",), {}, ["lesion", "lesion", "lesion"]),
        (("object",), {1: "polyp"}, ["polyp", "polyp", "polyp"]),
        (("object",), {3: "stool"}, ["object", "object", "stool"]),
        (("disc", "cup"), {}, ["disc", "cup", "label 3"]),
        ((), {2: "cup"}, ["label 1", "cup", "label 3"]),
    ],
)
def test_names_of_labels(
    classes: tuple[str, ...], names: dict[int, str], wanted: list[str]
) -> None:
    image = marked(classes=classes, names=names)
    assert [image.name(label) for label in (1, 2, 3)] == wanted


def test_one_label_with_two_names_is_refused() -> None:
    file = CocoFile()
    file.add(marked())
    with pytest.raises(OutputError, match="one name"):
        file.add(marked(names={1: "nevus"}))
    with pytest.raises(OutputError, match="single planes"):
        CocoFile().add(marked(labels=np.zeros((2, 4, 5), np.uint8)))


def test_labelme_shapes_are_named_after_their_class(tmp_path: Path) -> None:
    path = tmp_path / "skin.json"
    write_labelme(path, marked(names={}, classes=("lesion",)))
    shapes = json.loads(path.read_text())["shapes"]
    assert [(each["label"], each["group_id"]) for each in shapes] == [
        *(("lesion", 1), ("lesion", 1), ("lesion", None))
    ]


def test_labelme_files_have_all_fields_that_its_reader_needs(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "skin.json"
    write_labelme(path, marked(path=tmp_path / "skin.png"))
    found = json.loads(path.read_text())
    assert found["version"].startswith("5.")
    assert (found["imageHeight"], found["imageWidth"]) == (90, 110)
    assert (path.parent / found["imagePath"]).resolve() == (tmp_path / "skin.png").resolve()
    groups = [(each["label"], each["group_id"]) for each in found["shapes"]]
    assert groups == [("lesion", 1), ("lesion", 1), ("hair", None)]
    # LabelMe fills polygons in with Pillow.
    for name, label in (("lesion", 1), ("hair", 3)):
        picture = Image.new("1", (110, 90))
        for shape in found["shapes"]:
            if shape["label"] == name:
                ImageDraw.Draw(picture).polygon([tuple(p) for p in shape["points"]], 1, 1)
        wanted = labels() == label
        assert not ((np.array(picture) != wanted) & ~border(wanted)).any()


def test_labelme_does_not_overwrite_a_provenance(tmp_path: Path) -> None:
    _, beside = export_annotation(tmp_path / "a.tif", labels_of(1), info())
    before = beside.read_text()
    with pytest.raises(OutputError, match="provenance"):
        write_labelme(beside, marked())
    assert beside.read_text() == before


def test_table_has_sizes_in_pixels_and_in_the_unit(tmp_path: Path) -> None:
    rows = measured_rows(marked(size=PixelSize(0.5, 0.25, "µm")), {"state": "done"})
    rows += measured_rows(marked(image="=a.png", labels=np.zeros((2, 3), np.uint8)))
    write_table(tmp_path / "sizes.csv", rows)
    with (tmp_path / "sizes.csv").open(encoding="utf-8-sig", newline="") as stream:
        first, second, empty = csv.DictReader(stream)
    assert (first["image"], first["class"], first["pieces"]) == ("skin.png", "lesion", "2")
    assert (first["unit"], first["pixel_height"], first["pixel_width"]) == ("µm", "0.5", "0.25")
    pixels = int((labels() == 1).sum())
    assert float(first["area_px"]) == pixels
    assert float(first["area"]) == pytest.approx(pixels * 0.125, rel=1e-5)
    assert (second["class"], second["state"]) == ("hair", "done")
    assert (empty["image"], empty["object"], empty["area"]) == ("'=a.png", "", "")
