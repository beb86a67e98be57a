"""The data summary of the commands, and the data that they refuse."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage
from scipy.ndimage import binary_erosion
from skimage.draw import disk

from latentfm_core.annotation.export import export_annotation
from latentfm_core.annotation.fingerprint import image_signature
from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.cli.calibrate import main as calibrate
from latentfm_core.cli.evaluate import main as evaluate
from latentfm_core.cli.train import main as train
from latentfm_core.config import ReadingConfig
from latentfm_core.datasets.pair_reading import read_binary, read_instances, read_labelled
from latentfm_core.datasets.pairs import Pair, find_pairs
from latentfm_core.datasets.plausibility import copy_findings
from latentfm_core.datasets.stored_findings import number_findings, rim_findings
from latentfm_core.datasets.summary import size_text
from latentfm_core.errors import ImageError
from latentfm_core.files import memory
from latentfm_core.images.read import read_image, read_mask
from tests.helpers.commands import Printed
from tests.helpers.fixtures import SMALL_NETWORK, Folders, copy_model, write_blobs
from tests.helpers.predicting import OPTIONS
from tests.helpers.training_runs import words

PROMPTS = ("--set", "model.prompts=true")
SAMPLING = [word for word in OPTIONS if word not in ("--seed", "7")]
Change = Callable[[np.ndarray, int], np.ndarray]


def blobs(folder: Path, change: Change | None = None, count: int = 12) -> Folders:
    """Write images and masks, masks changed by their number."""
    images, masks = write_blobs(folder / "data", count)
    for number, path in enumerate(sorted(masks.iterdir())):
        if change is not None:
            mask = np.array(Image.open(path))
            Image.fromarray(change(mask, number)).save(path)
    return images, masks


def options(data: Folders) -> list[str]:
    return ["--images", str(data[0]), "--masks", str(data[1])]


def named(data: Folders) -> list[str]:
    """Return the arguments that name the folders."""
    return ["--images", str(data[0]), "--masks", str(data[1])]


def trained(folder: Path, data: Folders, *more: str) -> int:
    parts = ["--set", "data.val_fraction=0.2", "--set", "data.test_fraction=0.2"]
    one = ["--set", "training.flow.epochs=1"]
    return train(words(data, folder / "m", *parts, *one, *more))


def rows(printed: str) -> dict[str, str]:
    lines = printed.partition("data summary\n")[2].splitlines()
    named = [line for line in lines if line.startswith("  ") and line[2:16].strip()]
    return {line[2:16].strip(): line[16:].strip() for line in named}


def test_one_mask_for_several_images_and_several_bit_depths_are_named(
    tmp_path: Path, printed: Printed
) -> None:
    """As an export writes them that forgets to load the next mask, or of two cameras."""
    data = blobs(tmp_path)
    images, masks = (sorted(folder.iterdir()) for folder in data)
    for path in masks[1:4]:
        shutil.copy(masks[0], path)
    for path in images[:5]:
        Image.fromarray(np.array(Image.open(path))[..., 0].astype(np.uint16) * 200).save(path)
    code = ["--set", "data.val_fraction=0", "--set", "data.test_fraction=0"]
    said = printed(trained, tmp_path, data, *code)
    first = ", ".join(path.stem for path in masks[:4])
    assert f"4 images have the same mask: {first}. Check a mask in an image viewer" in said
    assert "different types of pixels: uint16 in 5 (" in said or "uint8 in 7 (" in said
    assert "equal objects may differ in brightness" in said


def test_many_copies_of_an_image_are_listed_in_short() -> None:
    (finding,) = copy_findings([tuple(f"train: image_{number:03d}" for number in range(40))])
    assert finding.text.startswith("1 image occurs more than once: train: image_000 = ")
    assert finding.text.endswith("= train: image_002 and 37 more.")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda mask, _: mask * 0, "Every mask is empty (8)"),
        (lambda mask, _: mask * 0 + 255, "Every mask is full (8)"),
        (lambda mask, _: mask * 0 + 1, "Every mask is full (8)"),
    ],
)
def test_entirely_empty_or_full_masks_stop_training_at_the_start(
    tmp_path: Path, refused: Printed, change: Change, said: str
) -> None:
    output = refused(trained, tmp_path, blobs(tmp_path, change))
    assert said in output
    assert "blob_0" in output, "some are named"
    assert not (tmp_path / "m" / "model.json").exists()


def outline(mask: np.ndarray) -> np.ndarray:
    return np.asarray(mask * ~binary_erosion(mask > 0))


def ring(mask: np.ndarray) -> np.ndarray:
    return np.asarray(mask * ~binary_erosion(mask > 0, iterations=6))


def branches(mask: np.ndarray) -> np.ndarray:
    """Draw thin lines that branch and cross, as vessels do; two of them enclose an area."""
    drawn = np.zeros_like(mask)
    rows = np.arange(len(drawn))
    for step, start in ((1, 0), (-1, 40), (2, 10), (3, 5)):
        drawn[rows, (start + step * rows // 2) % len(drawn)] = 255
    return drawn


@pytest.mark.parametrize(
    ("change", "number"), [(outline, 12), (outline, 4), (ring, 12), (branches, 12)]
)
def test_masks_that_are_only_outlines_are_reported(
    tmp_path: Path, printed: Printed, change: Callable[[np.ndarray], np.ndarray], number: int
) -> None:
    data = blobs(tmp_path, lambda mask, n: change(mask) if n < number else mask)
    said = printed(trained, tmp_path, data, "--dry-run")
    found = re.search(r"10 of 10 masks look like outlines.*Fill the outlines", said)
    assert bool(found) == (change is outline and number == 12)
    assert ("look like outlines" in said) == bool(found)


def around(mask: np.ndarray) -> np.ndarray:
    """Return 255 outside, 128 for the object, and 0 for its core."""
    core = binary_erosion(mask > 0, iterations=3)
    return np.where(mask == 0, 255, np.where(core, 0, 128)).astype(np.uint8)


def with_void(mask: np.ndarray) -> np.ndarray:
    return np.where((mask > 0) & ~binary_erosion(mask > 0), 255, mask // 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "more", "said", "unsaid"),
    [
        (around, "", "255 fills the corners of the image and more pixels than 0", "threshold"),
        (around, "a,b", "255 fills the corners of the image and more pixels than 0", "Renumber"),
        (with_void, "", "In some data sets 255 marks pixels to ignore", "replace it by 0 first"),
        (with_void, "a,b", "In some data sets 255 marks pixels to ignore", "Renumber"),
        (lambda mask: mask // 255 * 3, "a,b", "Renumber the mask", "to ignore"),
        (lambda mask: mask // 255 * 254 + mask // 255, "a,b", "Renumber the mask", "to ignore"),
    ],
)
def test_advice_fits_what_a_value_probably_means(
    tmp_path: Path,
    refused: Printed,
    change: Callable[[np.ndarray], np.ndarray],
    more: str,
    said: str,
    unsaid: str,
) -> None:
    data = blobs(tmp_path, lambda mask, _: change(mask))
    classes = ["--set", f"model.classes={more}"] if more else []
    output = refused(trained, tmp_path, data, "--dry-run", *classes)
    assert said in output
    assert unsaid not in output


def test_a_colour_table_with_a_value_to_ignore(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 255], [0, 1, 1]], np.uint8), "P")
    image.putpalette([0, 0, 0, 128, 0, 0, *[0] * 759, 224, 224, 192][:768])
    image.save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="255 marks pixels to ignore, for which there is no label"):
        read_mask(tmp_path / "a.png")


def test_a_photograph_gets_no_threshold(tmp_path: Path, refused: Printed) -> None:
    """One channel of an image with an overlay is not a mask."""
    images, masks = blobs(tmp_path)
    for path in images.iterdir():
        grey = np.array(Image.open(path).convert("L"))
        grey[np.array(Image.open(masks / path.name)) > 0] = 255
        Image.fromarray(grey).save(masks / path.name)
    said = refused(trained, tmp_path, (images, masks), "--dry-run")
    assert "as in a photograph, so it is not a mask" in said
    assert "--mask-threshold" not in said


def test_objects_that_vanish_at_the_size_of_training_are_reported(
    tmp_path: Path, printed: Printed, refused: Printed
) -> None:
    images, masks = blobs(tmp_path)
    for number, path in enumerate(sorted(masks.iterdir())):
        drawn, side = np.zeros((640, 640), np.uint8), 4 if number < 5 else 200
        drawn[13 : 13 + side, 23 : 23 + side] = 255
        Image.fromarray(drawn).save(path)
        Image.open(images / path.name).resize((640, 640)).save(images / path.name)
    all_parts = ["--set", "data.val_fraction=0", "--set", "data.test_fraction=0", "--dry-run"]
    run = words((images, masks), tmp_path / "m", *all_parts)
    said = printed(train, run)
    assert "5 of 12 masks are empty at the size of training, because their objects are too" in said
    assert rows(said)["empty masks"] == "0 of 12"
    for path in sorted(masks.iterdir())[5:]:
        path.unlink()
        (images / path.name).unlink()
    said = refused(train, run)
    assert "5 of 5 masks are empty at the size of training" in said
    assert "Raise data.size" in said


def test_a_threshold_that_empties_masks_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = blobs(tmp_path, lambda mask, number: mask // 255 * 2 * (1 + 99 * (number == 0)))
    assert trained(tmp_path, data, "--mask-threshold", "250") == 2
    assert "Every mask is empty (8, with the mask threshold 250)" in capsys.readouterr().err


def test_the_summary_comes_first_and_is_correct(tmp_path: Path, printed: Printed) -> None:
    data = blobs(tmp_path, lambda mask, number: mask * (number not in (0, 1)))
    split = {"train": [f"blob_{n:03d}" for n in range(8)], "val": ["blob_008"]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    output = printed(trained, tmp_path, data, "--split", str(tmp_path / "split.json"))
    found = rows(output)
    assert found["device"].startswith("CPU")
    assert found["images"].startswith(
        "8 train, 1 val, 0 test; 3 images of the folder are not in any part"
    )
    assert found["sizes"].startswith("64 x 64 pixels")
    share = np.mean(
        [np.array(Image.open(path)) > 0 for path in sorted((tmp_path / "data/masks").iterdir())[:9]]
    )
    assert found["classes"] == f"object {share:.1%} of the pixels"
    assert found["objects"] == "0.8 per mask (0 to 1)"
    assert found["empty masks"] == "2 of 9: blob_000, blob_001"
    assert found["stages"] == (
        "image_vae 1 epoch (2 steps), mask_vae 1 epoch (2 steps), flow 1 epoch (2 steps)"
    )
    assert "without validation" in found["expected"]
    assert "MB for images" in found["expected"]
    assert "warning: 2 of 8 masks are empty: blob_000, blob_001." in output
    assert output.index("data summary") < output.index("mask VAE reconstruction")


def test_estimating_does_not_change_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from latentfm_core.training import estimate

    data = blobs(tmp_path)
    assert trained(tmp_path, data) == 0
    with_estimate = (tmp_path / "m" / "model.safetensors").read_bytes()
    monkeypatch.setattr(estimate, "work_left", lambda *_: (1.0, 1))
    other = tmp_path / "other"
    other.mkdir()
    assert trained(other, data) == 0
    assert (other / "m" / "model.safetensors").read_bytes() == with_estimate


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda mask, _: 255 - mask, "mostly foreground"),
        (lambda mask, n: mask if n % 4 else 255 - mask, "masks are mostly foreground and reach"),
        (lambda mask, number: mask * 0 + 255 * (number > 2), "masks are empty"),
        (lambda mask, number: mask * 0 + 255 * (number > 2), "masks are full"),
    ],
)
def test_implausible_data_cause_warnings(
    tmp_path: Path, printed: Printed, change: Change, said: str
) -> None:
    output = printed(trained, tmp_path, blobs(tmp_path, change), "--quiet", "--dry-run")
    assert said in output
    assert "data summary" not in output, "warnings alone are left by --quiet"


def large_objects(mask: np.ndarray, _: int) -> np.ndarray:
    """Return a mask of three quarters of the image that reaches no corner."""
    return np.pad(np.full_like(mask[4:-4, 4:-4], 255), 4)


@pytest.mark.parametrize(("count", "warned"), [(12, False), (20, True)])
def test_a_few_large_objects_do_not_look_inverted(
    tmp_path: Path, printed: Printed, count: int, warned: bool
) -> None:
    output = printed(trained, tmp_path, blobs(tmp_path, large_objects, count), "--dry-run")
    assert ("The masks are mostly foreground (77% of the pixels; 0%" in output) == warned
    assert "of the validation part are mostly foreground" not in output


def test_groups_are_counted_and_missing_ones_refused(
    tmp_path: Path, printed: Printed, refused: Printed
) -> None:
    data, file = blobs(tmp_path), tmp_path / "groups.csv"

    def grouped(call: Printed, groups: Sequence[object]) -> str:
        lines = [f"sub/blob_{number:03d}.png,{group}\n" for number, group in enumerate(groups)]
        file.write_text("image,patient\n" + "".join(lines))
        words = ("--group-file", str(file), "--group-column", "patient", "--dry-run")
        return call(trained, tmp_path, data, *words)

    assert rows(grouped(printed, "abbcccdddddd"))["groups"] == "4 (1 to 6 images)"
    output = grouped(printed, "aaabbbcccddd")
    assert rows(output)["groups"] == "4 (3 images each)"
    assert "its own group" not in output
    output = grouped(printed, range(12))
    assert rows(output)["groups"] == "12 (1 image each)"
    assert "Each of the 12 images is its own group: the column patient keeps no images" in output
    for missing in ("NaN", "none", "N/A", ""):
        output = grouped(refused, [str(n // 2) if n % 3 else missing for n in range(12)])
        assert "has no patient for 4 images: blob_000, blob_003" in output
        assert f"The entry {missing or 'empty'} means that the patient is missing" in output


def test_a_class_missing_from_all_masks_causes_a_warning(tmp_path: Path, printed: Printed) -> None:
    data = blobs(tmp_path, lambda mask, _: mask // 255)
    classes = ["--set", 'model.classes=["disc","cup","rim"]']
    output = printed(trained, tmp_path, data, *classes, "--dry-run")
    assert "No mask has a pixel of the classes cup, rim" in output
    assert "cup 0.0% of the pixels" in rows(output)["classes"]


@pytest.mark.parametrize("prompts", [False, True])
def test_copies_across_parts_and_extreme_sizes_are_reported(
    tmp_path: Path, printed: Printed, prompts: bool
) -> None:
    data = blobs(tmp_path)
    images, masks = data
    split = {
        "train": [f"blob_{n:03d}" for n in range(8)],
        "val": ["blob_008"],
        "test": ["blob_009"],
    }
    (images / "blob_009.png").write_bytes((images / "blob_003.png").read_bytes())
    Image.open(images / "blob_004.png").save(images / "blob_008.bmp")  # other bytes, same pixels
    (images / "blob_008.png").unlink()
    for folder, mode in ((images, Image.Resampling.BILINEAR), (masks, Image.Resampling.NEAREST)):
        large = Image.open(folder / "blob_000.png").resize((512, 512), mode)
        large.save(folder / "blob_000.png")
    (tmp_path / "split.json").write_text(json.dumps(split))
    more = ["--split", str(tmp_path / "split.json"), "--dry-run"]
    more += ["--set", f"model.prompts={str(prompts).lower()}"]
    output = printed(trained, tmp_path, data, *more)
    assert "2 images are in two parts" in output
    assert "test: blob_009 = train: blob_003" in output
    assert "train: blob_004 = val: blob_008" in output
    assert "differ strongly in size: from 64 x 64 to 512 x 512" in output


def test_a_colon_in_a_name_does_not_start_a_part() -> None:
    (finding,) = copy_findings([("1: 30 h", "2: 30 h")])
    assert "occurs more than once" in finding.text


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
def test_evaluation_and_calibration_summarise_their_data(
    tmp_path: Path, tiny_model_folder: Path, printed: Printed, command: str
) -> None:
    data = blobs(tmp_path, lambda mask, number: mask * (number != 3), count=6)
    model = copy_model(tiny_model_folder, tmp_path / "model")
    run = evaluate if command == "evaluate" else calibrate
    out = ["--out", str(tmp_path / "out")] if command == "evaluate" else ["--allow-few"]
    output = printed(run, [*options(data), "--model", str(model), *SAMPLING, *out])
    found = rows(output)
    assert found["images"] == "6"
    assert found["empty masks"] == "1 of 6: blob_003"
    assert found["stages"].startswith("3 samples of 2 euler steps per image")
    assert found["expected"].startswith("about ")
    assert "warning: 1 of 6 masks is empty: blob_003." in output


@pytest.mark.parametrize(
    ("command", "more", "code"),
    [
        ("evaluate", [], 0),
        ("evaluate", ["--mask-threshold", "1"], 2),
        ("calibrate", [], 2),
    ],
)
def test_references_without_foreground(
    tmp_path: Path,
    tiny_model_folder: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    more: list[str],
    code: int,
) -> None:
    """A set of healthy images may be evaluated; nothing can be fitted to one."""
    data = blobs(tmp_path, lambda mask, _: mask * 0, count=4)
    model = copy_model(tiny_model_folder, tmp_path / "model")
    card = (model / "model.json").read_bytes()
    run = evaluate if command == "evaluate" else calibrate
    out = ["--out", str(tmp_path / "out")] if command == "evaluate" else ["--allow-few"]
    assert run([*options(data), "--model", str(model), *SAMPLING, *out, *more]) == code
    assert "Every mask is empty (4" in capsys.readouterr().err
    assert (model / "model.json").read_bytes() == card


def test_a_data_set_that_cannot_fit_is_refused_before_it_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "total_memory", lambda: 100_000.0)
    data = blobs(tmp_path)
    assert trained(tmp_path, data) == 2
    assert "images of 64 x 64 pixels need 0.0 GB of memory" in capsys.readouterr().err
    assert trained(tmp_path, data, *PROMPTS) == 2
    assert "images of up to 512 x 512 pixels need 0.0 GB of memory" in capsys.readouterr().err


# --- advice is followed -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "suffix", "threshold"),
    [
        ((0, 1, 2, 3), ".png", "0.5"),
        ((0, 1, 255), ".png", "0.5"),
        ((0, 17, 40, 200), ".tif", "0.5"),
        ((0, 300, 40000), ".tif", "0.5"),
        ((1, 2), ".png", "1.5"),
        ((0, 255), ".jpg", None),
    ],
)
def test_the_suggested_threshold_keeps_every_object(
    tmp_path: Path,
    tiny_model_folder: Path,
    capsys: pytest.CaptureFixture[str],
    refused: Printed,
    levels: tuple[int, ...],
    suffix: str,
    threshold: str | None,
) -> None:
    images, masks = (tmp_path / name for name in ("i", "m"))
    images.mkdir()
    masks.mkdir()
    drawn = np.zeros((64, 64), np.uint16) + levels[0]
    for number, level in enumerate(levels[1:]):
        drawn[10 : 20 + 8 * number, 5 + 18 * number : 18 + 18 * number] = level
    picture = np.where(drawn > levels[0], 60, 200).astype(np.uint8)
    picture[0, 0] = 0
    Image.fromarray(picture).save(images / "a.png")
    small = drawn if max(levels) > 255 else drawn.astype(np.uint8)
    Image.fromarray(small).save(masks / f"a{suffix}")
    command = [*options((images, masks)), "--out", str(tmp_path / "out")]
    command += ["--model", str(tiny_model_folder), *SAMPLING]
    output = refused(evaluate, command)
    advised = re.findall(r"--mask-threshold ([\d.]*\d)", output)[0]
    if threshold is not None:
        assert advised == threshold
    assert evaluate([*command, "--mask-threshold", advised]) == 0
    share = float(np.mean(drawn > levels[0]))
    assert rows(capsys.readouterr().err)["classes"] == f"object {share:.1%} of the pixels"


@pytest.mark.parametrize("side", [80, 96, 128])
def test_a_smoothly_resized_mask_is_not_a_label_image(tmp_path: Path, side: int) -> None:
    drawn = np.zeros((64, 64), np.uint8)
    drawn[disk((30, 30), 15)] = 255
    soft = Image.fromarray(drawn).resize((side, side), Image.Resampling.BILINEAR)
    soft.save(tmp_path / "m.png")
    with pytest.raises(ImageError) as raised:
        read_mask(tmp_path / "m.png")
    assert "for example --mask-threshold 127.5" in str(raised.value)
    assert "to ignore" not in str(raised.value)


def test_thin_labels_are_label_images(tmp_path: Path) -> None:
    drawn = np.zeros((64, 64), np.uint8)
    drawn[10:12], drawn[20:23, :50], drawn[:, 40] = 128, 255, 128
    Image.fromarray(drawn).save(tmp_path / "m.png")
    with pytest.raises(ImageError, match=r"numbers.*--mask-threshold 0.5"):
        read_mask(tmp_path / "m.png")


def test_a_stray_pixel_and_a_class_of_borders_are_numbers(tmp_path: Path) -> None:
    stray = np.zeros((64, 64), np.uint8)
    stray[disk((30, 30), 20)] = 20
    stray[10, 30] = 12
    borders = np.zeros((64, 64), np.uint8)
    borders[disk((30, 30), 20)], borders[disk((30, 30), 19)] = 128, 255
    walls = np.where(borders == 255, 10, np.where(borders == 128, 9, 0))
    for drawn in (stray, borders, walls.astype(np.uint8)):
        Image.fromarray(drawn).save(tmp_path / "m.png")
        np.testing.assert_array_equal(read_annotation(tmp_path / "m.png")[0], drawn)


def test_a_mask_channel_does_not_affect_colour_images(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, masks = write_blobs(tmp_path / "data", 4)
    for path in masks.iterdir():
        drawn = np.array(Image.open(path))
        stack = np.stack([drawn * 0, drawn])
        tifffile.imwrite(path.with_suffix(".tif"), stack, metadata={"axes": "CYX"})
        path.unlink()
    words = ["--images", str(images), "--masks", str(masks), "--out", str(tmp_path / "out")]
    words += ["--model", str(tiny_model_folder), *SAMPLING, "--overwrite"]
    assert evaluate(words) == 2
    assert "--mask-channel 1" in capsys.readouterr().err
    scores = {}
    for option in ("--mask-channel", "--channel"):
        assert evaluate([*words, option, "2"]) == 0
        channel = rows(capsys.readouterr().err)["channel"]
        assert ("2 of every image" in channel) == (option == "--channel")
        assert "2 of every mask" in channel
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        scores[option] = summary["metrics"]["dice"]
    assert scores["--mask-channel"] > 0.9, "colours, as in training"
    assert scores["--mask-channel"] != scores["--channel"], "their second channel"
    pair = find_pairs(images, masks)[0]
    read = read_binary(pair, limits=ReadingConfig(mask_channel=2, channel=1))
    assert read.image.pixels.ndim == 2
    assert read.masks.any()


def test_a_model_trained_on_one_channel_asks_for_it(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = copy_model(tiny_model_folder, tmp_path / "model")
    card = json.loads((model / "model.json").read_text())
    card["config"]["data"]["reading"]["channel"] = 2
    (model / "model.json").write_text(json.dumps(card))
    words = [*named(blobs(tmp_path, count=4)), "--model", str(model), *SAMPLING, "--out"]
    assert evaluate([*words, str(tmp_path / "1")]) == 0
    assert "trained on channel 2 of files with several. Add --channel 2" in capsys.readouterr().err
    assert evaluate([*words, str(tmp_path / "2"), "--channel", "2"]) == 0
    assert "trained on channel" not in capsys.readouterr().err


def test_sizes_are_ordered_by_their_pixels() -> None:
    said = size_text([(322, 384), (352, 384), (233, 384), (384, 300), (318, 384)])
    assert said == "233 x 384 to 352 x 384 pixels (rows x columns), median 318 x 384"
    assert size_text([(20, 30), (20, 30)]) == "20 x 30 pixels (rows x columns)"
    assert size_text([(30, 20), (20, 30)]).startswith("20 x 30 to 30 x 20 pixels")
    assert size_text([]) == "unknown"


# --- how the files store their pixels -----------------------------------------------------------


def coded(folder: Path, *foregrounds: object) -> Folders:
    """Write images, and masks whose foreground is each value or colour in turn."""
    data = blobs(folder)
    for number, path in enumerate(sorted(data[1].iterdir())):
        drawn = np.array(Image.open(path)) > 0
        foreground = foregrounds[number % len(foregrounds)]
        picture = Image.fromarray(drawn.astype(np.uint8))
        if foreground is True:
            picture = Image.fromarray(drawn)
        elif isinstance(foreground, tuple):
            picture.putpalette([0, 0, 0, *foreground])
        else:
            picture = Image.fromarray((drawn * foreground).astype(np.asarray(foreground).dtype))
        picture.save(path)
    return data


@pytest.mark.parametrize(
    ("foregrounds", "said"),
    [
        ((np.uint8(1), np.uint8(255)), r"1 in \d \(blob_0"),
        ((np.uint8(1), np.uint16(65535)), r"white in \d \(blob_0"),
        ((np.uint8(2), np.uint8(1), np.uint8(255)), r"2 in \d \(blob_0"),
        ((np.uint8(128), np.uint8(255)), r"128 in \d \(blob_0"),
        (((128, 0, 0), (0, 128, 0)), r"\(0, 128, 0\) in \d \(blob_0"),
        (((128, 0, 0), np.uint8(255)), r"\(128, 0, 0\) in \d \(blob_0"),
        ((np.uint8(255), True, np.uint16(65535), np.uint16(255)), ""),
        ((np.uint8(2), np.uint8(2)), ""),
        ((True, (255, 255, 255)), ""),
    ],
)
def test_masks_that_mark_their_foreground_differently(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], foregrounds: tuple[object, ...], said: str
) -> None:
    data = coded(tmp_path, *foregrounds)
    usual = all(isinstance(one, np.integer) and int(one) in (1, 255, 65535) for one in foregrounds)
    stops = bool(said) and not usual
    assert trained(tmp_path, data, "--dry-run") == (2 if stops else 0)
    output = capsys.readouterr().err
    assert ("do not mark their foreground in the same way" in output) == bool(said)
    assert re.search(said, output)
    assert ("All of these values are read as foreground" in output) == (bool(said) and usual)
    if stops:
        advised = re.findall(r"--mask-threshold ([\d.]*\d)", output)[0]
        assert trained(tmp_path, data, "--dry-run", "--mask-threshold", advised) == 0


def test_differing_masks_are_named_from_the_cache_and_by_other_commands(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = coded(tmp_path, np.uint8(1), np.uint8(2))
    for _ in range(2):
        assert trained(tmp_path, data, "--dry-run", "--cache", str(tmp_path / "cache")) == 2
        assert re.search(r"1 in \d \(blob_0", capsys.readouterr().err)
    model = copy_model(tiny_model_folder, tmp_path / "model")
    words = [*named(data), "--model", str(model), *SAMPLING]
    assert evaluate([*words, "--out", str(tmp_path / "out")]) == 2
    assert "1 in 6 (blob_000" in capsys.readouterr().err
    assert calibrate([*words, "--allow-few"]) == 2
    assert "2 in 6 (blob_001" in capsys.readouterr().err


def test_masks_to_which_a_threshold_does_not_apply_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = coded(tmp_path, np.uint8(1), np.uint8(200))
    assert trained(tmp_path, data, "--dry-run", "--mask-threshold", "100") == 0
    output = capsys.readouterr().err
    assert re.search(r"levels above the threshold in \d \(blob_0", output)
    assert re.search(r"1 in \d \(blob_0", output)


@pytest.mark.parametrize(
    ("orientation", "height", "masks_too"),
    [(1, 64, False), (3, 64, False), (3, 64, True), (2, 48, False), (6, 64, False), (6, 48, False)],
)
def test_orientations_that_masks_lack_are_reported(
    tmp_path: Path,
    tiny_model_folder: Path,
    capsys: pytest.CaptureFixture[str],
    orientation: int,
    height: int,
    masks_too: bool,
) -> None:
    data = blobs(tmp_path, count=4)
    for folder in data:
        path = sorted(folder.iterdir())[0]
        pixels = np.array(Image.open(path))[:height]
        exif = Image.Exif()
        if folder == data[0] or masks_too:
            exif[274] = orientation
        elif orientation > 4:
            pixels = np.rot90(pixels, -1)
        Image.fromarray(pixels).save(path, exif=exif)
    words = [*named(data), "--model", str(tiny_model_folder), *SAMPLING]
    assert evaluate([*words, "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().err
    said = {1: None, 2: "mirrored left", 3: "rotated by 180", 6: "rotated by 90"}[orientation]
    assert rows(output).get("orientation", "").startswith(f"1 {said}") == bool(said)
    sizes_tell = orientation == 6 and height == 48
    warned = bool(said) and not masks_too and not sizes_tell
    assert (f"warning: 1 image was {said}" in output) == warned
    assert ("blob_000. This is right if" in output) == warned


@pytest.mark.parametrize("how", ["turned on export", "drawn as read", "older name", "other", None])
def test_masks_of_the_plugin_fit_photographs_with_an_orientation(
    tmp_path: Path,
    tiny_model_folder: Path,
    capsys: pytest.CaptureFixture[str],
    how: str | None,
) -> None:
    """Their provenance records the orientation."""
    data = blobs(tmp_path, count=4)
    image, mask = (sorted(folder.iterdir())[0] for folder in data)
    exif = Image.Exif()
    exif[274] = 3
    Image.open(image).save(image, exif=exif)
    labels = np.array(Image.open(mask)) // 255
    facts = {"orientation": 1 if how == "drawn as read" else 8 if how == "other" else 3}
    if how == "drawn as read":
        facts["image_signature"] = image_signature(read_image(image).pixels)
    sidecar = AnnotationSidecar(image=image.name, shape=labels.shape, axes="YX", **facts)
    _, beside = export_annotation(mask, labels, sidecar)
    if how == "older name":
        beside.rename(mask.with_suffix(".json"))
    if how is None:
        beside.unlink()
    words = [*named(data), "--model", str(tiny_model_folder), *SAMPLING]
    words += ["--mask-threshold", "0.5", "--out", str(tmp_path / "out")]
    assert evaluate(words) == 0
    warned = "1 image was rotated by 180" in capsys.readouterr().err
    assert warned == (how in ("other", None))


def soft(folder: Path, *kinds: type) -> Folders:
    """Write images, and smoothed masks of each data type in turn, over its whole range."""
    data = blobs(folder)
    for number, path in enumerate(sorted(data[1].iterdir())):
        mask = ndimage.gaussian_filter((np.array(Image.open(path)) > 0).astype(np.float32), 0.7)
        kind = kinds[number % len(kinds)]
        full = 1 if kind is np.float32 else np.iinfo(kind).max
        tifffile.imwrite(path.with_suffix(".tif"), (mask * full).astype(kind))
        path.unlink()
    return data


@pytest.mark.parametrize(
    ("kinds", "threshold", "said"),
    [
        ((np.uint8, np.uint16), "127.5", "0 to 255 in blob_"),
        ((np.uint8, np.uint16), "32767", "0 to 65535 in blob_"),
        ((np.uint8, np.float32), "0.5", "0 to 1 in blob_"),
        ((np.uint16,), "127.5", r"are its ends, set 32767\.5"),
        ((np.uint8,), "0.5", r"are its ends, set 127\.5"),
        ((np.uint8,), "127.5", None),
        ((np.uint8,), "60", None),
    ],
)
def test_a_threshold_that_does_not_fit_all_masks(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kinds: tuple[type, ...],
    threshold: str,
    said: str | None,
) -> None:
    data = soft(tmp_path, *kinds)
    stops = len(kinds) > 1
    assert trained(tmp_path, data, "--dry-run", "--mask-threshold", threshold) == 2 * stops
    output = capsys.readouterr().err
    assert (f"threshold {threshold} does not fit the grey levels" in output) == (said is not None)
    assert said is None or re.search(said, output)
    if said and not stops:
        advised = re.findall(r"set ([\d.]*\d)\.", output)[0]
        assert trained(tmp_path, data, "--dry-run", "--mask-threshold", advised) == 0
        assert "does not fit" not in capsys.readouterr().err


def test_a_threshold_applies_to_labels_and_black_and_white_masks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = blobs(tmp_path)
    for number, path in enumerate(sorted(data[1].iterdir())):
        mask = (np.array(Image.open(path)) > 0).astype(np.uint16)
        mask[2:9, 2:9] = 1
        mask[2:9, 12:19] = 40
        Image.fromarray(mask * (1, 900, 65535)[number % 3]).save(path)
    assert trained(tmp_path, data, "--dry-run", "--mask-threshold", "0.5") == 0
    assert "does not fit" not in capsys.readouterr().err


def test_smoothed_label_images_are_refused_with_and_without_prompts(
    tmp_path: Path, refused: Printed
) -> None:
    images, masks = soft(tmp_path, np.uint8)
    config = tmp_path / "sets.toml"
    entry = f'name = "cells"\nimages = "{images}"\nmasks = "{masks}"\nkind = "instances"\n'
    for prompts in ("true", "false"):
        config.write_text(f"{SMALL_NETWORK}prompts = {prompts}\n[[data.sets]]\n{entry}")
        words = ["--config", str(config), "--out", str(tmp_path / "m"), "--dry-run"]
        assert "its values are grey levels" in refused(train, words)


def test_a_hint_is_logged_once_for_many_masks(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = blobs(tmp_path)
    for number, path in enumerate(sorted(data[1].iterdir())):
        if number % 2:
            Image.open(path).resize((32, 32)).resize((64, 64), Image.Resampling.BICUBIC).save(path)
    evaluation = [*named(data), "--model", str(tiny_model_folder), *SAMPLING]
    for run in (
        lambda *more: trained(tmp_path, data, "--dry-run", *more),
        lambda *more: evaluate([*evaluation, "--out", str(tmp_path / "out"), *more]),
    ):
        assert run() == 2
        output = capsys.readouterr().err
        assert output.count("the mask is not binary") < 3
        assert re.search(r"\d files in .* and \d more\)(, for example)?: the mask is not", output)
        assert output.count("A mask needs 0 and one other value") == 1
        assert run("--skip-bad") == 0
        output = capsys.readouterr().err
        assert output.count("A mask needs 0 and one other value") in (1, 2), "in both parts"


def test_missing_masks_lead_to_the_setting_that_skips_their_images(
    tmp_path: Path, refused: Printed, printed: Printed
) -> None:
    data = blobs(tmp_path)
    (data[1] / "blob_003.png").unlink()
    said = refused(trained, tmp_path, data, "--dry-run", "--skip-bad")
    assert "1 image has no mask: blob_003.png" in said
    (advised,) = re.findall(r"--set (data\S+=true)", said)
    said = printed(trained, tmp_path, data, "--dry-run", "--set", advised)
    assert "1 image without a mask is skipped: blob_003.png" in said


# --- objects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["instances", "masks"])
@pytest.mark.parametrize("prompts", [False, True])
def test_objects_are_counted_as_they_are_numbered_and_before_images_are_reduced(
    tmp_path: Path, printed: Printed, refused: Printed, kind: str, prompts: bool
) -> None:
    images, masks = blobs(tmp_path)
    for folder in (images, masks):
        for path in folder.iterdir():
            Image.open(path).resize((256, 256), Image.Resampling.NEAREST).save(path)
    drawn = np.zeros((256, 256), np.uint8)
    drawn[10:50, 10:50], drawn[10:50, 50:90] = 1, 2  # touch along a side
    drawn[100:140, 10:50], drawn[140:180, 50:90] = 3, 4  # touch at a corner
    drawn[200, 10], drawn[200, 12] = 5, 6  # one pixel each
    for path in masks.iterdir():
        Image.fromarray(drawn if kind == "instances" else (drawn > 0).astype(np.uint8)).save(path)
    if kind == "instances":
        words = ["--images", str(images), "--masks", str(masks), "--out", str(tmp_path / "m")]
        assert 'in [[data.sets]] with kind = "instances"' in refused(train, words)
    config = tmp_path / "sets.toml"
    entry = f'name = "cells"\nimages = "{images}"\nmasks = "{masks}"\nkind = "{kind}"\n'
    model = f"{SMALL_NETWORK}prompts = {str(prompts).lower()}\n"
    data = "[data]\nsize = 64\nresolution = 64\nval_fraction = 0.2\n"
    config.write_text(f"{model}{data}[[data.sets]]\n{entry}")
    words = ["--config", str(config), "--out", str(tmp_path / "m"), "--dry-run"]
    found = rows(printed(train, words))
    assert found["objects"].startswith(f"{6 if kind == 'instances' else 4}.0 per mask")


def test_an_orientation_that_only_masks_have_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = blobs(tmp_path)
    for path in data[1].iterdir():
        exif = Image.Exif()
        exif[274] = 3
        Image.open(path).save(path, exif=exif)
    assert trained(tmp_path, data, "--dry-run") == 0
    assert re.search(r"warning: \d+ masks were rotated as the", capsys.readouterr().err)


def labels_of_nuclei(seed: int) -> np.ndarray:
    """Return discs of the classes 1 to 4, some of which touch."""
    drawn = np.zeros((96, 96), np.uint8)
    rng = np.random.default_rng(seed)
    for number in range(12):
        drawn[disk(rng.uniform(12, 84, 2), rng.uniform(6, 10))] = number % 4 + 1
    return drawn


def shrunk(drawn: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(drawn).resize((64, 64), Image.Resampling.BILINEAR))


def border(drawn: np.ndarray) -> np.ndarray:
    """Return objects of class 2 with a border of class 1."""
    return np.where(binary_erosion(drawn > 0), 2, drawn > 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "count", "message", "stops"),
    [
        (shrunk, 4, "numbers in 4 masks have rims of other numbers.*set --keep-numbers", True),
        (shrunk, 2, "numbers in 2 masks have rims.*nearest-neighbour", False),
        (border, 4, "numbers in 4 masks have rims.*drawn as a class", False),
        (lambda drawn: shrunk(drawn + 1), 4, "numbers in 4 masks.*set --keep-numbers", True),
        # Without a background three values may be a trimap, whose border lies between both.
        (lambda drawn: border(drawn) + 1, 4, "numbers in 4 masks.*drawn as a class", False),
        (lambda drawn: drawn, 4, "", False),
        (lambda drawn: drawn[::2, ::2], 4, "", False),
    ],
)
def test_rims_of_smoothed_labels_are_found_in_a_folder(
    tmp_path: Path, change: Any, count: int, message: str, stops: bool
) -> None:
    pairs = []
    for seed in range(4):
        mask = labels_of_nuclei(seed)
        mask = change(mask) if seed < count else mask
        image = tmp_path / f"{seed}.png"
        Image.fromarray(np.indices(mask.shape).sum(0).astype(np.uint8)).save(image)
        Image.fromarray(mask).save(tmp_path / f"{seed}_mask.png")
        pairs.append(Pair(str(seed), image, (tmp_path / f"{seed}_mask.png",)))
    stored = [read_labelled(pair, 5).stored for pair in pairs]
    found = rim_findings(stored)
    assert [(bool(re.search(message, each.text)), each.stops) for each in found] == (
        [(True, stops)] if message else []
    )
    keep = ReadingConfig(keep_numbers=True)
    assert not rim_findings([read_instances(pair, keep).stored for pair in pairs])


def test_black_and_white_masks_are_not_numbered_objects(tmp_path: Path) -> None:
    drawn = labels_of_nuclei(0)
    Image.fromarray(drawn).save(tmp_path / "image.png")
    found = {}
    for name, mask in {"numbered": drawn, "white": (drawn > 0) * np.uint8(255)}.items():
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
        pair = Pair(name, tmp_path / "image.png", (tmp_path / f"{name}.png",))
        found[name] = read_instances(pair).stored
    assert not number_findings([found["numbered"]])
    assert not number_findings([*found.values()])
    (one,) = number_findings([found["white"]], " of the set a")
    assert re.match(
        "1 of 1 mask of the set a with numbered objects .* several pieces: white", one.text
    )
    assert not one.stops
