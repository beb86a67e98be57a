"""Prompts in the commands, and in training from several data sets."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.io import imread, imsave

from latentfm_core.annotation.labelled import LabelledImage
from latentfm_core.annotation.labelme import write_labelme
from latentfm_core.cli.calibrate import main as calibrate
from latentfm_core.cli.evaluate import main as evaluate
from latentfm_core.cli.predict import main as predict
from latentfm_core.cli.prompts import PromptedImage, prompted_images
from latentfm_core.cli.train import main as train
from latentfm_core.config import READING, SamplingConfig, load_config
from latentfm_core.errors import DatasetError, ImageError
from latentfm_core.images import read as read_module
from latentfm_core.images.decode import decode
from latentfm_core.images.decoded import Decoded
from latentfm_core.images.read import read_image
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.model_io.card import read_card, write_card
from latentfm_core.prompts import files as prompt_files
from latentfm_core.prompts import labelme as labelme_module
from latentfm_core.prompts.field import extent
from latentfm_core.prompts.files import read_prompts
from latentfm_core.prompts.prompt import Prompt, check_prompt
from tests.helpers.commands import Printed
from tests.helpers.fixtures import SMALL_NETWORK, Folders, copy_model
from tests.helpers.pages import read_table
from tests.helpers.prompting import write_discs

FAST = ["--samples", "4", "--device", "cpu", "--precision", "fp32", "--quiet"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return write_discs(tmp_path_factory.mktemp("new"), 3, seed=9)


def labels_of(folders: Folders, name: str) -> np.ndarray[Any, Any]:
    return np.asarray(imread(folders[1] / f"{name}.png"))


def prompts_as(kind: str, folders: Folders, folder: Path) -> Path:
    """Write the same prompts, one box for each disc of each image, in one of the formats."""
    boxes = {
        path.stem: [extent(labels_of(folders, path.stem) == k) for k in (1, 2)]
        for path in sorted(folders[0].iterdir())
    }
    path = folder / "prompts.json"
    if kind == "labels":
        return folders[1]
    if kind == "lists":
        content: Any = {name: [{"box": box} for box in both] for name, both in boxes.items()}
    else:
        names = list(boxes)
        content = {
            "images": [{"id": i, "file_name": f"{name}.png"} for i, name in enumerate(names)],
            "annotations": [
                {"image_id": i, "bbox": [left, top, right - left, bottom - top]}
                | {"id": 10 * i + k, "category_id": 7}
                for i, name in enumerate(names)
                for k, (top, left, bottom, right) in enumerate(boxes[name])  # type: ignore[misc]
            ],
            "categories": [{"id": 7, "name": "disc"}],
        }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["lists", "coco", "labels"])
def test_every_object_of_a_prompt_file_gets_a_result(
    kind: str, folders: Folders, promptable_model_folder: Path, tmp_path: Path
) -> None:
    prompts = prompts_as(kind, folders, tmp_path)
    words = [folders[0], "--model", promptable_model_folder, "--prompts", prompts]
    words += ["--out", tmp_path / "out", "--format", "png", *FAST]
    assert predict([str(word) for word in words]) == 0
    for path in folders[0].iterdir():
        labels = labels_of(folders, path.stem)
        for number in (1, 2):
            name = f"{path.stem}_object{number}"
            mask = imread(tmp_path / "out" / f"{name}_mean_mask.png") > 0
            assert dice(mask, labels == number) > 0.85
            sidecar = json.loads((tmp_path / "out" / f"{name}.json").read_text())
            assert sidecar["prompt"]["box"] == list(extent(labels == number))  # type: ignore[arg-type]
            assert (
                sidecar["prompt_source"]
                == {
                    "lists": {"entry": number - 1},
                    "coco": {"annotation_id": 10 * int(name[6:9]) + number - 1}
                    | {"category_id": 7, "category": "disc"},
                    "labels": {"number": number},
                }[kind]
            )
    # Restarted, it has nothing to do; with another prompt, it refuses to mix results.
    again = [*map(str, words), "--skip-done"]
    assert predict(again) == 0
    # Files of earlier versions do not name the object of the prompt file.
    older = tmp_path / "out" / "discs_000_object1.json"
    older.write_text(json.dumps(json.loads(older.read_text()) | {"prompt_source": {}}))
    assert predict(again) == 0
    if kind == "coco":
        prompts.write_text(prompts.read_text().replace('"name": "disc"', '"name": "cell"'))
        assert predict(again) == 2
    # The image clips this box.
    box = ["--box", "1,1,30,3000"]
    other = [str(folders[0]), "--model", str(promptable_model_folder), *box, *FAST]
    other += ["--out", str(tmp_path / "boxes"), "--format", "png"]
    assert predict(other) == 0
    assert predict([*other, "--skip-done"]) == 0
    changed = [word.replace("1,1,30,3000", "1,1,40,3000") for word in other]
    assert predict([*changed, "--skip-done"]) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "must be a JSON object"),
        ("not JSON", "Cannot read the prompts"),
        ('{"a": [{"box": [1, 2, 3]}]}', "A box is"),
        ('{"a": [{"bx": [1, 2, 3, 4]}]}', "cannot be used"),
        ('{"images": [], "annotations": [{"bbox": [1, 2, 3, 4]}]}', "image_id"),
        ('{"unknown": [{"box": [1, 2, 3, 4]}]}', "no prompt for any of the 3 images"),
        ('{"a": [{"positive": [[3, 4]], "negativ": []}]}', "negativ: is an unknown name"),
        ('{"a": [{"box": [1, 2, 3]}]}', "(box: has too few entries)"),
        ('{"a": [{"box": [1, 2, 3, 4, 5]}]}', "(box: must have at most 4 entries)"),
        ("name,box", "it is not JSON. Give COCO"),
        ('{"a": [', "it ends too early for JSON. Give COCO"),
        (
            '{"discs_000": [{"positive": [[9.2, 9]], "negative": [[9, 9.5]]}]}',
            "both as inside the object and as outside it",
        ),
        ('{"discs_000": [{"box": ["1", "2", "30", "40"]}]}', "valid number"),
        ('{"discs_000": [{"positive": [[true, false]]}]}', "valid number"),
        ('{"caf\u00e9": [], "cafe\u0301": []}', "twice"),
        (
            '{"images": [{"id": 1, "file_name": "a/x.png"}, {"id": 2, "file_name": "a/x.png"}], '
            '"annotations": []}',
            "a file name twice",
        ),
        (
            '{"a/discs_000": [{"box": [1, 2, 30, 40]}], "b/discs_000.jpg": [], "c/discs_000": []}',
            "names a/discs_000, c/discs_000. Keep the folders",
        ),
        ('{"discs_000": [{"box": [900, 2, 903, 4]}]}', "outside the image of 64 x 96"),
    ],
)
def test_unusable_prompt_files_are_reported(
    content: str,
    message: str,
    folders: Folders,
    promptable_model_folder: Path,
    tmp_path: Path,
    refused: Printed,
) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(content, encoding="utf-8")
    words = [folders[0], "--model", promptable_model_folder, "--prompts", path, "--out"]
    error = refused(predict, [*map(str, words), str(tmp_path / "out"), *FAST])
    assert message in error
    assert "Traceback" not in error
    assert "on CPU" not in error, "before the model is loaded"


def test_a_single_image_is_read_once_to_check_it(
    folders: Folders,
    promptable_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []

    def counted(path: Path, *limits: Any) -> Decoded:
        read.append(path.name)
        return decode(path, *limits)

    monkeypatch.setattr(read_module, "decode", counted)
    image = min(folders[0].iterdir())
    words = ["--model", promptable_model_folder, "--box", "4,4,40,40", "--out", tmp_path / "out"]
    assert predict([*map(str, [image, *words]), *FAST]) == 0
    assert read == [image.name] * 2, "to check it, and to segment it"


def test_unmatched_images_and_prompts_are_reported(
    folders: tuple[Path, Path],
    promptable_model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = {
        "images": [{"id": 1, "file_name": "discs_000.png"}, {"id": 2, "file_name": "other.png"}],
        "annotations": [
            {"image_id": 1, "bbox": [5, 5, 30, 30]},
            {"image_id": 2, "bbox": [5, 5, 30, 30]},
            {"image_id": 3, "bbox": [5, 5, 30, 30]},
            {"image_id": 1, "segmentation": []},
        ],
    }
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(content))
    words = [folders[0], "--model", promptable_model_folder, "--prompts", path, "--out", tmp_path]
    assert predict([*map(str, words), *FAST]) == 0
    said = capsys.readouterr().err
    assert "no prompt for 2 of 3 images, which are not segmented: discs_001.png, discs_002" in said
    assert "1 name with prompts matches no image: other.png" in said
    assert "2 of 4 annotations not used" in said


def test_folders_in_a_prompt_file_distinguish_images_with_the_same_name(tmp_path: Path) -> None:
    boxes = {"a/x.png": 1, "b\\x.png": 2, "b/c/x.png": 3, "e/y.png": 4}
    content = {
        "images": [{"id": number, "file_name": name} for name, number in boxes.items()],
        "annotations": [{"image_id": n, "bbox": [n, n, 9, 9]} for n in boxes.values()],
    }
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    prompts = read_prompts(path)
    for image, number in {"a/x.png": 1, "b/x.png": 2, "z/b/c/x.png": 3, "f/y.png": 4}.items():
        (prompt,) = prompts.of(tmp_path / image)
        assert prompt.box == (number, number, number + 9, number + 9)
    with pytest.raises(DatasetError, match=r"ambiguous.*a/x\.png, b.*x\.png"):
        prompts.of(tmp_path / "d" / "x.png")


def test_prompts_that_match_two_images_are_refused(
    folders: tuple[Path, Path], promptable_model_folder: Path, tmp_path: Path, refused: Printed
) -> None:
    for number, name in enumerate(("a/x.png", "b/x.bmp")):
        (tmp_path / name).parent.mkdir()
        imsave(tmp_path / name, imread(folders[0] / f"discs_00{number}.png"))
    path = tmp_path / "prompts.json"
    path.write_text('{"x": [{"box": [5, 5, 40, 40]}]}')
    words = ["--model", promptable_model_folder, "--prompts", path, *FAST, "--format", "png"]
    words = [*words, "--samples", "1", "--steps", "1", "--out", tmp_path / "out"]
    both = [tmp_path / "a", tmp_path / "b"]
    message = refused(predict, [*map(str, [*both, *words])])
    assert all(name in message for name in ("a/x.png", "b/x.bmp", "The prompts of x"))
    path.write_text('{"c/x": [{"box": [5, 5, 40, 40]}]}')
    words.remove("--quiet")
    assert predict([*map(str, [both[0], *words])]) == 0


def test_a_label_image_is_not_applied_to_several_images(
    folders: Folders, promptable_model_folder: Path, tmp_path: Path, refused: Printed
) -> None:
    labels, out = folders[1] / "discs_001.png", tmp_path / "out"
    words = ["--model", promptable_model_folder, "--prompts", labels, *FAST, "--out", out]
    said = refused(predict, [*map(str, [folders[0], *words])])
    assert "labels the objects of one image, and there are 3 images" in said
    assert "a folder of label images" in said
    assert not out.exists()
    assert predict([*map(str, [folders[0] / "discs_001.png", *words])]) == 0


def test_label_images_are_found_by_the_names_of_masks(tmp_path: Path) -> None:
    for number, name in enumerate(("a_mask", "b", "b_mask", "C_Seg", "d_mask_mask"), 1):
        imsave(tmp_path / f"{name}.png", np.full((9, 9), number, np.uint8), check_contrast=False)
    prompts = read_prompts(tmp_path)

    def number_of(image: str) -> list[object]:
        return [prompt.source["number"] for prompt in prompts.of(Path(image))]

    assert number_of("a.png") == number_of("a_mask.png") == [1]
    assert number_of("b.png") == [2], "the exact name comes first"
    assert number_of("b_mask.png") == [3]
    assert number_of("C.png") == [4]
    assert number_of("d.png") == []
    imsave(tmp_path / "a_labels.png", np.ones((9, 9), np.uint8), check_contrast=False)
    with pytest.raises(DatasetError, match=r"shares a name: a_labels.png / a_mask.png"):
        read_prompts(tmp_path)


def test_a_bad_prompt_skips_only_its_object(
    folders: tuple[Path, Path],
    promptable_model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = {"box": list(extent(labels_of(folders, "discs_000") == 1) or ())}
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({"discs_000": [{"box": [900, 1, 990, 9]}, good, {}]}))
    image = folders[0] / "discs_000.png"
    words = [image, "--model", promptable_model_folder, "--prompts", path, *FAST]
    words = [*words, "--format", "png", "--out", tmp_path / "out"]
    assert predict([*map(str, words)]) == 2
    said = capsys.readouterr().err
    assert "nothing was done" in said, "before any object is segmented"
    assert "on CPU" not in said, "before the model is loaded"
    assert "discs_000.png (object1): The box" in said
    boxed = [*map(str, (folders[0], *words[1:3], *FAST, "--out", tmp_path / "out"))]
    for box, message in (
        ("50,60,40,70", "is empty"),
        ("0.1,0.1,0.6,0.6", "not fractions"),
        ("900,1,990,9", "outside the image of 64 x 96 pixels"),
    ):
        assert predict([*boxed, "--box", box]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert "3 of 3 inputs cannot be used" in said
        assert "on CPU" not in said
    assert predict([*map(str, words), "--skip-bad"]) == 0
    said = capsys.readouterr()
    assert "1 of 3 objects segmented" in said.out
    assert "2 of 3 inputs were skipped" in said.err
    assert "(object3): The prompt is empty" in said.err
    mask = imread(tmp_path / "out" / "discs_000_object2_mean_mask.png") > 0
    assert dice(mask, labels_of(folders, "discs_000") == 1) > 0.85
    assert not list((tmp_path / "out").glob("*object1*"))


@pytest.mark.parametrize(
    ("name", "looks"),
    [("a.txt", " Its files look like text of YOLO."), ("a.xml", "Pascal VOC"), ("a.json", "")],
)
def test_a_folder_of_another_format_is_named(tmp_path: Path, name: str, looks: str) -> None:
    (tmp_path / name).write_text("[]")
    with pytest.raises(DatasetError, match=f"no label images and no LabelMe files.*{looks}"):
        read_prompts(tmp_path)


def test_a_folder_of_prompts_without_permission_is_a_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DatasetError, match="no permission to read the folder"):
        read_prompts(tmp_path)


@pytest.mark.parametrize(
    ("size", "box", "message"),
    [
        ((480, 640), [20, 20, 24, 24], "64 x 64 pixels.*for an image of 480 x 640.*scale the"),
        ((64, 64), [0.3, 0.3, 0.4, 0.4], "lies in one pixel. Give pixels, not fractions"),
        ((64, 64), [0.7, 0.6, 0.6, 0.5], "lies in one pixel. Give pixels, not fractions"),
        ((64, 64), [0, 0, 1, 1], "lies in one pixel. Give pixels, not fractions"),
        ((64, 64), [20, 20, 0.4, 0.9], "smaller than a pixel"),
        ((64, 64), [20, 20, 24, 24], ""),
        ((0, 0), [20, 20, 24, 24], ""),
    ],
)
def test_boxes_in_another_scale_are_refused(
    tmp_path: Path, size: tuple[int, int], box: list[float], message: str
) -> None:
    image, path = tmp_path / "x.png", tmp_path / "coco.json"
    listed = {"id": 1, "file_name": "x.png", "height": size[0], "width": size[1]}
    path.write_text(json.dumps({"images": [listed], "annotations": [{"image_id": 1, "bbox": box}]}))
    args = argparse.Namespace(box=None, prompts=path)
    (item,) = prompted_images([image], args, READING)
    assert item.fits((64, 64, 3)) == (message == "")
    if message:
        with pytest.raises(ImageError, match=message):
            item.check((64, 64, 3))


def test_the_box_of_an_object_in_the_corner_pixel_is_not_taken_for_fractions() -> None:
    mask = np.zeros((64, 64), bool)
    mask[0, 0] = True
    prompt = Prompt(box=extent(mask))
    assert check_prompt(prompt, (64, 64)).box == (0, 0, 1, 1)
    PromptedImage(Path("x.png"), Prompt(prompt.box, mask=mask)).check((64, 64, 3))


CORNERS = [[30, 20, 80, 55], [5, 6, 20, 30], [31.5, 30, 70, 60]]
"""``[x0, y0, x1, y1]`` in an image of 60 x 80 pixels."""
SIZES = [[30, 20, 50, 35], [5, 6, 15, 24], [31.5, 30, 38.5, 30]]
"""The same boxes as a COCO bbox."""


def coco(folder: Path, boxes: list[list[float]], size: tuple[int, int] | None = (60, 80)) -> Path:
    path = folder / "coco.json"
    image: dict[str, object] = {"id": 1, "file_name": "x.png"}
    if size is not None:
        image |= {"height": size[0], "width": size[1]}
    annotations = [{"image_id": 1, "bbox": box} for box in boxes]
    path.write_text(json.dumps({"images": [image], "annotations": annotations}))
    return path


def items_of(path: Path) -> list[PromptedImage]:
    image = path.parent / "x.png"
    return prompted_images([image], argparse.Namespace(box=None, prompts=path), READING)


def test_corners_in_a_coco_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"2 boxes extend beyond their image: x\.png.*corners"):
        read_prompts(coco(tmp_path, CORNERS))
    # Without the size in the file, it is that of the image.
    item = items_of(coco(tmp_path, CORNERS, None))[0]
    with pytest.raises(
        ImageError, match=r"x\.png \(object1\): the box .* extends beyond .*corners"
    ):
        item.check((60, 80, 3))
    for size in ((60, 80), None):
        assert all(item.fits((60, 80, 3)) for item in items_of(coco(tmp_path, SIZES, size)))


@pytest.mark.parametrize("kind", ["segmentation", "area"])
def test_boxes_that_contradict_their_polygon_or_area_are_refused(tmp_path: Path, kind: str) -> None:
    sizes = [[20, 20, 20, 15], [5, 6, 15, 24]]  # as corners too, none leaves the image

    def described(boxes: list[list[float]]) -> Path:
        path = coco(tmp_path, boxes)
        content = json.loads(path.read_text())
        for one, (x, y, width, height) in zip(content["annotations"], sizes, strict=True):
            polygon = [x, y, x + width, y, x + width, y + height, x, y + height]
            one[kind] = [polygon] if kind == "segmentation" else width * height
        path.write_text(json.dumps(content))
        return path

    assert len(items_of(described(sizes))) == 2
    with pytest.raises(
        DatasetError, match=r"2 boxes contradict .* x\.png\. They seem to be corners"
    ):
        read_prompts(described([[20, 20, 40, 35], [5, 6, 20, 30]]))


@pytest.mark.parametrize("size", [(60, 80), None])
def test_boxes_outside_their_image_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: tuple[int, int] | None
) -> None:
    def check(boxes: list[list[float]]) -> None:
        for item in items_of(coco(tmp_path, boxes, size)):
            item.check((60, 80, 3))

    check([*SIZES, [60, 40, 21, 21]])
    assert "extend" not in caplog.text, "rounding"
    check([*SIZES, [60, 40, 25, 19]])
    assert re.search(r"extends?\b.* cut off", caplog.text)
    assert "x.png" in caplog.text


def test_a_swapped_box_in_a_list_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "list.json"
    path.write_text('{"x": [{"box": [20, 30, 78, 50]}]}')
    for item in items_of(path):
        item.check((60, 80))
    assert re.search(r"x\.png \(object1\): the box .* extends beyond .* cut off", caplog.text)


def test_shapes_of_labelme_are_prompts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[10:30, 20:45] = 1
    labels[40:50, 5:15], labels[40:50, 60:70] = 2, 2
    path = tmp_path / "x.json"
    write_labelme(path, LabelledImage("x.png", labels, path=tmp_path / "images" / "x.png"))
    content = json.loads(path.read_text())
    for kind, points in {
        "rectangle": [[30, 40], [10, 5]],
        "point": [[7, 9]],
        "circle": [[7, 9], [8, 9]],
    }.items():
        content["shapes"].append({"label": "a", "points": points, "shape_type": kind})
    path.write_text(json.dumps(content))
    for label in ("BG", "__ignore__"):
        shape = {"label": label, "points": [[3, 4]], "shape_type": "point"}
        content["shapes"].insert(2, shape)
    path.write_text(json.dumps(content))
    first, second, box, point = read_prompts(path).of(Path("x.png"))
    assert "x.json: 2 shapes are not used, because their label means background" in caplog.text
    assert "BG, __ignore__" in caplog.text
    assert second.source == {
        "label": content["shapes"][1]["label"],
        "group_id": 2,
        "shapes": [1, 4],
    }
    assert point.source == {"label": "a", "shapes": [6]}
    for prompt, number in ((first, 1), (second, 2)):
        np.testing.assert_array_equal(prompt.mask, labels == number)
        assert prompt.box == extent(labels == number)
    assert box.box == (5, 10, 40, 30)
    assert point.positive == ((9, 7),)
    assert "1 of 8 shapes not used" in caplog.text
    assert read_prompts(path).size_of(Path("x.png")) == (60, 80)


def test_shapes_of_labelme_are_grouped_by_label_and_group(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    labelme(path, "point", [[7, 9]])
    content = json.loads(path.read_text())
    shape = content["shapes"][0]
    content["shapes"] = [
        {**shape, "label": label, "group_id": 1} for label in ("cell", "nucleus", "cell")
    ]
    path.write_text(json.dumps(content))
    first, second = read_prompts(path).of(Path("x.png"))
    assert (len(first.positive), len(second.positive)) == (2, 1)


def labelme(path: Path, kind: str, points: list[list[float]], **facts: object) -> Path:
    shape = {"label": "a", "points": points, "shape_type": kind}
    size = {"imagePath": f"{path.stem}.png", "imageHeight": 60, "imageWidth": 80}
    path.write_text(json.dumps({"shapes": [shape], **size, **facts}))
    return path


def test_shapes_of_labelme_beyond_the_border(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.json"
    for point, kept in (([80, 60], (59.5, 79.5)), ([-0.3, 10], (10, 0))):
        (prompt,) = read_prompts(labelme(path, "point", [point])).of(Path("x.png"))
        assert check_prompt(prompt, (60, 80)).positive == (kept,)
    assert "extend" not in caplog.text
    read_prompts(labelme(path, "rectangle", [[-50, 20], [90, 40]]))
    assert "1 box extends beyond its image and is cut off" in caplog.text
    with pytest.raises(DatasetError, match=r"imageHeight: .*save it in LabelMe again"):
        read_prompts(labelme(path, "point", [[7, 9]], imageHeight=None))


def test_keypoints_on_the_border_of_the_image_are_in_its_last_pixels(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "x.png", "width": 60, "height": 40}]
    points = [60, 40, 2, 60.4, 12, 2, -0.3, 0, 2, 90, 7, 2]
    content = {"images": images, "annotations": [{"image_id": 1, "keypoints": points}]}
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    (prompt,) = read_prompts(path).of(Path("x.png"))
    assert prompt.positive == ((39.5, 59.5), (12, 59.5), (0, 0), (7, 90))
    check_prompt(replace(prompt, positive=prompt.positive[:3]), (40, 60))
    with pytest.raises(ImageError):
        check_prompt(prompt, (40, 60))


def test_hidden_keypoints_and_crowds_in_coco_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    objects = [
        {"image_id": 1, "bbox": [], "keypoints": [9, 8, 2, 30, 31, 1, 0, 0, 0]},
        {"image_id": 1, "bbox": [0, 0, 60, 40], "iscrowd": 1},
        {"image_id": 1, "bbox": [9, 3, 4, 5], "category_id": "b"},
        {"image_id": 1, "bbox": [2, 3, 4, 5], "iscrowd": 0},
    ]
    path = tmp_path / "coco.json"
    images = [{"id": 1, "file_name": "x.png", "width": 60, "height": 40}]
    categories = [{"id": "b", "name": "Background"}, "c"]
    content = {"images": images, "annotations": objects, "categories": categories}
    path.write_text(json.dumps(content))
    first, second = read_prompts(path).of(Path("x.png"))
    assert first.positive == ((8, 9),)
    assert second.box == (3, 2, 8, 6)
    assert "1 annotations are not used, because their label means background" in caplog.text
    assert "1 keypoints are labelled as not visible and not used: x.png" in caplog.text
    assert "1 annotations are regions of many objects (iscrowd) and not used: x.png" in caplog.text


def test_a_folder_of_labelme_files_is_parsed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        labelme(tmp_path / f"{name}.json", "point", [[7, 9]], imagePath=f"{name}.png")
    parsed: list[bytes] = []
    for module in (prompt_files, labelme_module):
        parse = module.parse_json
        monkeypatch.setattr(module, "parse_json", lambda b, p=parse: (parsed.append(b), p(b))[1])
    assert read_prompts(tmp_path).names == {"a.png", "b.png", "c.png"}
    assert len(parsed) == 3


def test_a_folder_of_labelme_files_describes_the_images_next_to_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[10:30, 20:45] = 1
    for name in ("x", "y"):
        imsave(tmp_path / f"{name}.png", np.dstack([labels * 9] * 3), check_contrast=False)
        labelled = LabelledImage(f"{name}.png", labels, path=tmp_path / f"{name}.png")
        write_labelme(tmp_path / f"{name}.json", labelled)
        labels = np.roll(labels, 9, axis=1)
    photograph = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    imsave(tmp_path / "later.png", photograph, check_contrast=False)
    (tmp_path / "y.json").rename(tmp_path / "Y.JSON")
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "short.json").write_text((tmp_path / "x.json").read_text()[:-9])
    prompts = read_prompts(tmp_path)
    assert prompts.names == {"x.png", "y.png"}
    (prompt,) = prompts.of(tmp_path / "y.png")
    assert prompt.box == (10, 29, 30, 54)
    assert re.search(r"2 JSON files are not used.*: other\.json, short\.json", caplog.text)
    (tmp_path / "z.json").write_bytes((tmp_path / "x.json").read_bytes())
    with pytest.raises(DatasetError, match="same image"):
        read_prompts(tmp_path)


@pytest.mark.parametrize("one_file", [False, True])
def test_label_images_of_a_turned_photograph_cause_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, one_file: bool
) -> None:
    turned, pixels = Image.Exif(), np.zeros((40, 60, 3), np.uint8)
    turned[274] = 3
    pixels[10:30, 10:30] = 200
    (tmp_path / "labels").mkdir()
    for name, exif in (("a", turned), ("b", Image.Exif())):
        Image.fromarray(pixels).save(tmp_path / f"{name}.jpg", exif=exif)
        labels = np.zeros((40, 60), np.uint8)
        labels[5:20, 5:20] = 1
        imsave(tmp_path / "labels" / f"{name}.png", labels, check_contrast=False)
    path = tmp_path / "labels" / ("a.png" if one_file else "")
    args = argparse.Namespace(box=None, prompts=path)
    both = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    prompted_images(both[:1] if one_file else both, args, READING)
    said = "1 image was rotated by 180 degrees, as the metadata (EXIF) say, and the masks"
    assert f"{said} were not: a.jpg." in caplog.text


def test_label_images_take_precedence_over_a_labelme_file(
    folders: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copied = Path(shutil.copytree(folders[1], tmp_path / "labels"))
    labelme(copied / "discs_000.json", "point", [[7, 9]])
    prompts = read_prompts(copied)
    assert prompts.names == {path.stem for path in folders[1].iterdir()}
    assert "its LabelMe files are not used: discs_000.json" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "looks"),
    [
        ("p.json", {"type": "FeatureCollection", "features": []}, "GeoJSON"),
        ("p.json", [{"type": "Feature", "geometry": {"type": "Polygon"}}], "GeoJSON"),
        ("p.json", {"x.png12": {"filename": "x.png", "regions": []}}, "VGG Image Annotator"),
        ("p.json", {"_via_img_metadata": {}}, "VGG Image Annotator"),
        ("p.json", [{"image_id": 1, "bbox": [1, 2, 3, 4]}], "COCO results"),
        ("p.json", [{"data": {}, "annotations": []}], "Label Studio"),
        ("p.xml", "<annotations/>", "Pascal VOC or CVAT"),
        ("p.txt", "0 0.5 0.5 0.2 0.2", "YOLO"),
    ],
)
def test_prompts_in_other_formats_are_identified(
    tmp_path: Path, name: str, content: object, looks: str
) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=rf"ook like .*{looks}.*Give COCO annotations, LabelMe"):
        read_prompts(tmp_path / name)


def test_names_of_prompts_are_compared_in_normalised_unicode(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({"cafe\u0301": {"box": [1, 2, 3, 4]}}))
    (prompt,) = read_prompts(path).of(Path("caf\u00e9.png"))
    assert prompt.box == (1, 2, 3, 4)


def test_a_box_for_a_model_without_prompts_is_refused(
    folders: Folders, tiny_model_folder: Path, tmp_path: Path, refused: Printed
) -> None:
    words = [folders[0], "--model", tiny_model_folder, "--box", "1,1,20,20", "--out", tmp_path]
    assert "does not take prompts" in refused(predict, [*map(str, words), *FAST])


def test_evaluation_and_calibration_with_a_box(
    folders: Folders, promptable_model_folder: Path, tmp_path: Path
) -> None:
    model = copy_model(promptable_model_folder, tmp_path / "model")
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in folders[1].iterdir():
        imsave(masks / path.name, (imread(path) > 0).astype(np.uint8) * 255, check_contrast=False)
    data = ["--images", str(folders[0]), "--masks", str(masks), "--model", str(model), *FAST]
    found = {}
    for prompt in ("none", "box", "point", "corrections"):
        out = tmp_path / prompt
        assert evaluate([*data, "--prompt", prompt, "--out", str(out)]) == 0
        summary = json.loads((out / "summary.json").read_text())
        assert summary["data"]["prompt"] == prompt
        found[prompt] = np.mean([float(row["dice"]) for row in read_table(out)])
    assert min(found["box"], found["point"], found["corrections"]) > 0.85
    assert calibrate([*data, "--prompt", "box", "--allow-few"]) == 0
    card = read_card(model)
    assert set(card.prompt_calibrations) == {"box"}
    assert card.calibration is None
    words = [str(folders[0]), "--model", str(model), "--box", "2,2,60,40", *FAST]
    assert predict([*words, "--out", str(tmp_path / "box_result"), "--format", "png"]) == 0
    sidecar = json.loads((tmp_path / "box_result" / "discs_000.json").read_text())
    assert sidecar["confidence"] == "calibrated"


def test_images_without_an_object_to_prompt_are_reported(
    folders: Folders,
    promptable_model_folder: Path,
    tiny_model_folder: Path,
    tmp_path: Path,
    printed: Printed,
    refused: Printed,
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in sorted(folders[1].iterdir()):
        drawn = np.asarray(imread(path) > 0) & (path.stem != "discs_001")
        imsave(masks / path.name, drawn.astype(np.uint8) * 255, check_contrast=False)
    data = ["--images", str(folders[0]), "--masks", str(masks), "--prompt", "box", *FAST]
    words = [*data, "--steps", "1", "--out", str(tmp_path / "out")]
    said = printed(evaluate, [*words, "--model", str(promptable_model_folder)])
    assert "1 image without a marked object is left out" in said
    assert "discs_001" in said
    assert {row["name"] for row in read_table(tmp_path / "out")} == {"discs_000", "discs_002"}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["data"]["left_out"] == ["discs_001"]
    # A model without prompts is reported before the files are read.
    (masks / "discs_000.png").write_text("damaged")
    other = [*data, "--out", str(tmp_path / "other"), "--model", str(tiny_model_folder)]
    assert "does not take prompts" in refused(evaluate, other)


def test_several_sets_train_one_model(tmp_path: Path) -> None:
    write_discs(tmp_path / "b", 8, seed=3)
    toml = (
        """
[data]
size = 64
val_fraction = 0.25
test_fraction = 0.0
[[data.sets]]
name = "a"
images = "b/images"
masks = "b/masks"
kind = "instances"
weight = 2
[[data.sets]]
name = "c"
images = "b/images"
masks = "b/masks"
kind = "instances"
"""
        + SMALL_NETWORK
        + """classes = ["disc"]
prompts = true
[training]
validation_images = 2
[training.image_vae]
epochs = 1
size = 64
[training.mask_vae]
epochs = 1
[training.flow]
epochs = 1
batch_size = 4
"""
    )
    path = tmp_path / "sets.toml"
    path.write_text(toml, encoding="utf-8")
    assert load_config(path).data.sets[0].images == (tmp_path / "b" / "images").resolve()
    assert train(["--config", str(path), "--out", str(tmp_path / "model"), "--quiet"]) == 0
    card = read_card(tmp_path / "model")
    assert (card.data.n_train, card.data.n_val) == (12, 4)
    assert {"val_dice", "val_dice_box", "val_dice_point"} <= set(card.metrics)
    assert not card.config.data.sets
    split = json.loads((tmp_path / "model" / "training" / "split.json").read_text())
    assert {name.split("__")[0] for name in split["train"]} == {"a", "c"}


def test_a_damaged_set_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_discs(tmp_path / "b", 4, seed=3)
    (tmp_path / "b" / "masks" / "discs_000.png").unlink()
    path = tmp_path / "sets.toml"
    path.write_text(
        '[model]\nprompts = true\n[[data.sets]]\nname = "wounds"\nimages = "b/images"\n'
        'masks = "b/masks"\nkind = "instances"\n',
        encoding="utf-8",
    )
    assert train(["--config", str(path), "--out", str(tmp_path / "model"), "--quiet"]) == 2
    assert "Set wounds: Images in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "one", "message"),
    [
        ('split_file = "s.json"', "", "data.split_file has no effect with several sets"),
        ("mask_threshold = 0.5", "", "data.mask_threshold has no effect"),
        ("", 'group_file = "g.csv"', "Set a: group_file and group_column belong together"),
        (
            "",
            'kind = "instances"\nmask_threshold = 1.5',
            "Set a: mask_threshold has no effect: masks of several objects",
        ),
        ("", "weight = 1e308", "less than or equal to 1000000"),
    ],
)
def test_settings_without_effect_on_several_sets_are_refused(
    tmp_path: Path, refused: Printed, data: str, one: str, message: str
) -> None:
    path = tmp_path / "sets.toml"
    table = f'[[data.sets]]\nname = "a"\nimages = "b/images"\nmasks = "b/masks"\n{one}\n'
    path.write_text(f"[model]\nprompts = true\n[data]\n{data}\n{table}", encoding="utf-8")
    words = ["--config", str(path), "--out", str(tmp_path / "model")]
    assert message in refused(train, words)
    inside = [*words[:3], str(tmp_path / "b" / "masks" / "model")]
    path.write_text(f"[model]\nprompts = true\n{table.replace(one, '')}", encoding="utf-8")
    assert "inside the folder of the masks" in refused(train, inside)


def test_numbered_objects_are_compared_one_by_one(
    folders: Folders,
    promptable: Segmenter,
    promptable_model_folder: Path,
    tiny_model_folder: Path,
    tmp_path: Path,
    printed: Printed,
) -> None:
    words = [*map(str, ["--images", folders[0], "--masks", folders[1], "--model"])]
    words += [str(promptable_model_folder), "--prompt", "box", *FAST]
    out = tmp_path / "all"
    assert evaluate([*words, "--mask-kind", "instances", "--report", "--out", str(out)]) == 0
    rows = read_table(out)
    names = sorted(path.stem for path in folders[0].iterdir())
    assert [(row["name"], row["object"]) for row in rows] == [(n, k) for n in names for k in "12"]
    settings = promptable.resolved(SamplingConfig(n_samples=4), "box")
    for name in names:
        own = [labels_of(folders, name) == number for number in (1, 2)]
        prompts = [Prompt(box=extent(mask)) for mask in own]
        image = read_image(folders[0] / f"{name}.png")
        drawn = promptable.sample_objects(image, prompts, settings)
        for number, samples in enumerate(drawn):
            (row,) = (r for r in rows if (r["name"], r["object"]) == (name, str(number + 1)))
            mask = promptable.summarise(samples, settings).mean_mask
            assert float(row["dice"]) == pytest.approx(dice(mask, own[number]), abs=1e-3)
            assert float(row["dice"]) > 0.85
            # In the field of the object, not in the whole image.
            top, left, rows_seen, columns_seen = samples.geometry.window or (0, 0, 64, 96)
            seen = own[number][max(0, top) : top + rows_seen, max(0, left) : left + columns_seen]
            again = promptable.reconstruct_mask(seen)
            assert float(row["mask_vae_dice"]) == pytest.approx(dice(again, seen), abs=1e-6)
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["n_images"], summary["n_objects"]) == (3, 6)
    found = [float(row["dice"]) for row in rows]
    assert summary["metrics"]["dice"] == pytest.approx(np.mean(found), abs=1e-5)
    assert summary["metrics_over_images"]["dice"] == pytest.approx(np.mean(found), abs=1e-5)
    assert "6 objects of 3 images" in (out / "report.html").read_text()
    assert "discs_000, object 1" in (out / "report.html").read_text()
    # Without a prompt all objects together are the foreground.
    words[words.index("box")] = "none"
    words += ["--out", str(tmp_path / "whole")]
    words.remove("--quiet")
    said = printed(evaluate, [*words, "--mask-kind", "instances"])
    assert "compare each object with its own mask, add --prompt box or --prompt point." in said
    whole = read_table(tmp_path / "whole")
    assert len(whole) == 3
    assert "object" not in whole[0]
    assert evaluate([*words, "--mask-threshold", "0.5", "--overwrite"]) == 0
    again = read_table(tmp_path / "whole")
    assert [row["dice"] for row in again] == [row["dice"] for row in whole]
    words[words.index("--model") + 1] = str(tiny_model_folder)
    said = printed(evaluate, [*words, "--mask-kind", "instances", "--overwrite"])
    assert "choose a model that takes prompts, and add --prompt box." in said


def test_the_seed_chooses_among_many_numbered_objects(
    folders: Folders, promptable_model_folder: Path, tmp_path: Path, printed: Printed
) -> None:
    words = [*map(str, ["--images", folders[0], "--masks", folders[1], "--model"])]
    words += [str(promptable_model_folder), "--prompt", "corrections", "--corrections", "1"]
    words += ["--mask-kind", "instances", "--most-objects", "1", *FAST[:-1], "--samples", "1"]
    chosen = []
    for number, seed in enumerate((0, 0, 1, 2, 3)):
        out = tmp_path / str(number)
        said = printed(evaluate, [*words, "--seed", str(seed), "--out", str(out)])
        assert "3 of 3 images with more than 1 object:" in said
        chosen.append([row["object"] for row in read_table(out)])
    assert chosen[0] == chosen[1]
    assert len(set(map(tuple, chosen))) > 1


def test_numbered_objects_of_the_training_are_recognised(
    promptable_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = promptable_model_folder.parent
    words = ["--images", trained / "images", "--masks", trained / "masks", "--model"]
    words = [*words, promptable_model_folder, "--prompt", "point", *FAST, "--out", tmp_path / "out"]
    assert evaluate([*map(str, words)]) == 0
    rows = read_table(tmp_path / "out")
    test = json.loads((promptable_model_folder / "training/split.json").read_text())["test"]
    assert len(rows) == 2 * len(test)
    copied = copy_model(promptable_model_folder, tmp_path / "copy")
    split = promptable_model_folder / "training/split.json"
    own = {part: [n.removeprefix("discs__") for n in names] for part, names in
           json.loads(split.read_text()).items()}  # fmt: skip
    (tmp_path / "split.json").write_text(json.dumps(own))
    words = ["--images", trained / "images", "--masks", trained / "masks", "--model", copied]
    words = [*words, "--mask-kind", "instances", "--prompt", "box", "--allow-few", *FAST]
    words = [*words, "--split", tmp_path / "split.json"]
    assert calibrate([*map(str, words)]) == 0
    card = read_card(copied)
    fitted = card.prompt_calibrations["box"]
    assert fitted.n_images == 2 * len(own["val"])
    # A calibration from before samples were aligned with boxes does not say that they were.
    older = fitted.model_copy(update={"box_aligned": False})
    assert older.digest() == fitted.digest(), "results of earlier versions count as the same"
    image = next((trained / "images").iterdir())
    for calibration, warns in ((fitted, False), (older, True)):
        write_card(copied, card.model_copy(update={"prompt_calibrations": {"box": calibration}}))
        words = [image, "--model", copied, "--box", "9,9,30,30", *FAST, "--overwrite"]
        assert predict([*map(str, words), "--out", str(tmp_path / "out")]) == 0
        said = capsys.readouterr().err
        assert ("does not say that the samples were aligned with their boxes" in said) is warns


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--mask-threshold", "1"], "no --mask-threshold"),
        (["--most-objects", "0"], "whole number of at least 1"),
        (["--masks", "raters"], "2 raters numbered its objects"),
    ],
)
def test_options_that_do_not_fit_numbered_objects_are_refused(
    more: list[str],
    message: str,
    folders: Folders,
    promptable_model_folder: Path,
    tmp_path: Path,
    refused: Printed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for rater in ("a", "b"):
        shutil.copytree(folders[1], tmp_path / "raters" / rater)
    monkeypatch.chdir(tmp_path)
    words = ["--images", folders[0], "--masks", folders[1], "--model", promptable_model_folder]
    words = [*words, "--prompt", "box", "--mask-kind", "instances", *more, "--out", "out", *FAST]
    assert message in refused(evaluate, [*map(str, words)])
