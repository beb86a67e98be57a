"""``latentfm-predict --stack`` and ``--follow`` on real files."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from latentfm_core.cli.predict import main
from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ImageError
from latentfm_core.images.tiff_stack import TiffStack
from latentfm_core.inference.following import follow_object
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.inference.stack import segment_stack
from latentfm_core.metrics.overlap import dice
from latentfm_core.prompts import Prompt
from latentfm_core.types import ImageInput
from tests.core.inference.test_following import box_around, images_of, moving_disc
from tests.helpers.commands import Printed
from tests.helpers.plugin_fixtures import disc_image

SETTINGS = SamplingConfig(n_samples=2, steps=2, seed=3, device="cpu", precision="fp32")
OPTIONS = ["--samples", "2", "--steps", "2", "--seed", "3", "--device", "cpu"]
OPTIONS += ["--precision", "fp32", "--quiet"]


def volume() -> np.ndarray:
    return np.stack([disc_image((40, 48), radius=9 + 2 * n)[..., 0] for n in range(3)])


def values(shape: tuple[int, ...], dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


@pytest.fixture
def run(tiny_model_folder: Path, tmp_path: Path) -> Any:
    return partial(_run, tiny_model_folder, tmp_path / "out")


@pytest.fixture
def follow(promptable_model_folder: Path, tmp_path: Path) -> Any:
    maps = ["--outputs", "mean_mask,samples"]
    return partial(_run, promptable_model_folder, tmp_path / "out", *maps)


def _run(model: Path, out: Path, *words: object) -> int:
    return main([*map(str, words), "--model", str(model), "--out", str(out), *OPTIONS])


def test_maps_of_a_stack_equal_the_python_api(
    run: Any, tmp_path: Path, segmenter: Segmenter
) -> None:
    path, stack = tmp_path / "scan.ome.tif", volume()
    space = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(path, stack, metadata={"axes": "ZYX", **space}, ome=True)
    assert (
        run(path, "--stack", "--outputs", "mean_mask,samples,variance,confidence,probability") == 0
    )
    whole = segment_stack(segmenter, [ImageInput(plane) for plane in stack], SETTINGS)
    wanted = whole.summary
    out = tmp_path / "out"
    for kind, expected in {
        "mean_mask": wanted.mean_mask * np.uint8(255),
        "samples": wanted.sample_masks * np.uint8(255),
        "variance": wanted.variance,
        "confidence": wanted.confidence,
        "probability": wanted.mean_probability,
    }.items():
        with tifffile.TiffFile(out / f"scan.ome_{kind}.tif") as found:
            np.testing.assert_array_equal(found.asarray(), expected)
            assert found.series[0].axes == ("CZYX" if kind == "samples" else "ZYX")
            pixels = tifffile.xml2dict(found.ome_metadata)["OME"]["Image"]["Pixels"]
            assert [pixels[f"PhysicalSize{axis}"] for axis in "XYZ"] == [0.5, 0.5, 2.0]
    side = json.loads((out / "scan.ome.json").read_text())
    assert side["seeds"] == [3, 4]
    assert side["stack"] == {
        "axes": "ZYX",
        "shape": [3, 40, 48],
        "plane": "YX",
        "depth": 2.0,
        "blank": [],
        "expected_dice": list(whole.expected_dice),
        "domain_score": [None, None, None],
    }
    assert not list(out.glob("*.png"))
    # Complete, so that it is left alone; but not for planes along another axis.
    before = (out / "scan.ome.json").stat().st_mtime_ns
    options = ("--outputs", "mean_mask,samples,variance,confidence,probability", "--skip-done")
    assert run(path, "--stack", *options) == 0
    assert (out / "scan.ome.json").stat().st_mtime_ns == before
    assert run(path, "--stack", "--plane", "ZX", *options) == 2


def test_planes_along_another_axis(run: Any, tmp_path: Path, segmenter: Segmenter) -> None:
    path, stack = tmp_path / "scan.tif", np.moveaxis(volume(), 0, 1)  # discs in z, x
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZYX", "spacing": 3.0})
    assert run(path, "--stack", "--plane", "zx", "--outputs", "mean_mask") == 0
    found = tifffile.imread(tmp_path / "out" / "scan_mean_mask.tif")
    assert found.shape == stack.shape
    for place in range(3):
        samples = segmenter.sample(ImageInput(stack[:, place]), SETTINGS)
        wanted = segmenter.summarise(samples).mean_mask
        np.testing.assert_array_equal(found[:, place], wanted * 255)


@pytest.mark.parametrize("axes", ["YXZ", "YZX", "XYZ"])
def test_a_stack_whose_planes_are_not_the_last_axes(
    run: Any, tmp_path: Path, tiny_model_folder: Path, axes: str
) -> None:
    stack = np.moveaxis(volume(), (0, 1, 2), [axes.index(letter) for letter in "ZYX"])
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", metadata={"axes": axes})
    assert run(path, "--stack", "--outputs", "mean_mask,samples") == 0
    segmenter = Segmenter.load(tiny_model_folder, "cpu", "fp32")
    with tifffile.TiffFile(tmp_path / "out" / "scan_mean_mask.tif") as found:
        assert found.series[0].axes == axes
        masks = np.moveaxis(found.asarray(), axes.index("Z"), 0)
    with tifffile.TiffFile(tmp_path / "out" / "scan_samples.tif") as found:
        assert found.series[0].axes == f"C{axes}"
    for place in range(3):
        plane = np.moveaxis(stack, axes.index("Z"), 0)[place]
        wanted = segmenter.summarise(segmenter.sample(ImageInput(plane), SETTINGS)).mean_mask
        np.testing.assert_array_equal(masks[place], wanted * 255)


def test_a_warning_says_that_the_orientation_of_a_stack_is_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "scan.tif"
    turned = [(274, 3, 1, 3, True)]
    tifffile.imwrite(path, volume(), photometric="minisblack", extratags=turned)
    with TiffStack(path) as stack:
        np.testing.assert_array_equal(stack.read(0).pixels, volume()[0])
    assert "read as stored" in caplog.text


def test_a_stack_needs_the_option_and_an_image_refuses_it(
    run: Any, tmp_path: Path, refused: Printed
) -> None:
    stack, flat, png = (tmp_path / name for name in ("scan.tif", "flat.tif", "flat.png"))
    tifffile.imwrite(stack, volume(), photometric="minisblack", metadata={"axes": "ZYX"})
    tifffile.imwrite(flat, volume()[0])
    Image.fromarray(volume()[0]).save(png)
    for words, message in (
        ([stack], "latentfm-predict --stack"),
        ([flat, "--stack"], "not a stack"),
        ([png, "--stack"], "must be TIFF"),
        ([stack, "--stack", "--plane", "TX"], "the axes are ZYX"),
        ([stack, "--stack", "--format", "png"], "written as TIFF"),
    ):
        assert message in refused(run, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shape", "options", "axes", "planes"),
    [
        ((4, 20, 30), {"photometric": "minisblack", "metadata": {"axes": "ZYX"}}, "ZYX", 4),
        ((4, 20, 30), {"imagej": True, "metadata": {"axes": "TYX"}}, "TYX", 4),
        ((3, 20, 30), {"photometric": "minisblack"}, "ZYX", 3),
        ((4, 20, 30, 3), {"photometric": "rgb"}, "ZYX", 4),
        ((4, 20, 30, 3), {"photometric": "rgb", "compression": "zlib"}, "ZYX", 4),
        ((2, 4, 20, 30), {"ome": True, "metadata": {"axes": "TZYX"}}, "TZYX", 8),
        ((4, 3, 20, 30), {"ome": True, "metadata": {"axes": "ZCYX"}}, "ZYX", 4),
        ((3, 4, 20, 30), {"ome": True, "metadata": {"axes": "CZYX"}}, "ZYX", 4),
        ((4, 3, 20, 30), {"photometric": "rgb", "planarconfig": "separate"}, "ZYX", 4),
    ],
)
def test_stack_files_are_read_plane_by_plane(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any], axes: str, planes: int
) -> None:
    path, array = tmp_path / "a.tif", values(shape)
    tifffile.imwrite(path, array, **options)
    moved = array
    if len(shape) == 4 and shape[-1] != 3 and 3 in shape:
        moved = np.moveaxis(array, shape.index(3), -1)
    flat = moved.reshape(planes, *moved.shape[len(axes) - 2 :])
    with TiffStack(path) as stack:
        assert (stack.axes, len(stack)) == (axes, planes)
        for number in (planes - 1, 0):
            np.testing.assert_array_equal(stack.read(number).pixels, flat[number])


def test_pages_of_other_programs(tmp_path: Path) -> None:
    """Pages written one by one, and a compression that only Pillow reads."""
    array = values((3, 20, 30))
    pages = tmp_path / "pages.tif"
    with tifffile.TiffWriter(pages) as writer:
        for page in array:
            writer.write(page, metadata=None, contiguous=False)
    lzw = tmp_path / "lzw.tif"
    first, *others = (Image.fromarray(page) for page in array)
    first.save(lzw, save_all=True, append_images=others, compression="tiff_lzw")
    for path in (pages, lzw):
        with TiffStack(path) as stack:
            assert len(stack) == 3
            for number, page in enumerate(array):
                np.testing.assert_array_equal(stack.read(number).pixels, page)


def test_files_that_are_not_stacks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values((5, 20, 30)), ome=True, metadata={"axes": "CYX"})
    with pytest.raises(ImageError, match=r"5 channels.*--channel 1"):
        TiffStack(path)
    with pytest.raises(ImageError, match="no such file"):
        TiffStack(tmp_path / "b.tif")


def test_a_box_on_one_plane_segments_the_object_on_all(
    follow: Any, tmp_path: Path, promptable: Segmenter
) -> None:
    planes = moving_disc(3)
    images, path = images_of(planes), tmp_path / "scan.tif"
    pixels = np.stack([image.pixels for image in images])
    tifffile.imwrite(path, pixels, photometric="rgb", metadata={"axes": "TYXS"})
    prompt = box_around(planes[1])
    assert prompt.box is not None
    box = ",".join(str(value) for value in prompt.box)
    assert follow(path, "--stack", "--box", box, "--follow", 1) == 0
    wanted = follow_object(promptable, images, 1, Prompt(box=prompt.box), SETTINGS)
    out = tmp_path / "out"
    found = tifffile.imread(out / "scan_mean_mask.tif")
    np.testing.assert_array_equal(found > 0, wanted.stack.summary.mean_mask)
    assert (
        min(dice(mask > 0, labels == 1) for mask, labels in zip(found, planes, strict=True)) > 0.8
    )
    assert tifffile.imread(out / "scan_samples.tif").shape == (2, 3, 64, 96)
    side = json.loads((out / "scan.json").read_text())
    assert side["following"] == {"start": 1, "found": [0, 1, 2], "missed": []}
    assert side["prompt"] == prompt.to_json()
    assert side["stack"]["shape"] == [3, 64, 96]
    # Complete, so that it is left alone; but not for another start.
    before = (out / "scan.json").stat().st_mtime_ns
    assert follow(path, "--stack", "--box", box, "--follow", 1, "--skip-done") == 0
    assert (out / "scan.json").stat().st_mtime_ns == before
    assert follow(path, "--stack", "--box", box, "--follow", 0, "--skip-done") == 2


def test_wrong_combinations_name_what_is_missing(
    follow: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Printed
) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(
        path, np.zeros((3, 40, 48), np.uint8), photometric="minisblack", metadata={"axes": "ZYX"}
    )
    box = ("--box", "5,5,30,30")
    assert "--follow PLANE" in refused(follow, path, "--stack", *box)
    assert follow(path, "--stack", "--follow", 1) == 2
    assert "--follow needs --stack, and --box or --prompts" in capsys.readouterr().err
    assert "there is no plane 7" in refused(follow, path, "--stack", *box, "--follow", 7)
    assert "is not a plane" in refused(follow, path, "--stack", *box, "--follow", "first")
    several = tmp_path / "several.tif"
    tifffile.imwrite(
        several,
        np.zeros((2, 3, 40, 48), np.uint8),
        photometric="minisblack",
        metadata={"axes": "TZYX"},
    )
    assert "along one axis" in refused(follow, several, "--stack", *box, "--follow", 0)
    said = refused(follow, path, "--stack", "--box", "50,5,90,30", "--follow", 0)
    assert "outside the image of 40 x 48 pixels" in said
    assert "on CPU" not in said, "before the model is loaded"
    planes = np.random.default_rng(0).normal(0, 1, (3, 40, 48)).astype(np.float32)
    planes[2, 5, 5] = np.nan
    tifffile.imwrite(path, planes, photometric="minisblack", metadata={"axes": "ZYX"})
    said = refused(follow, path, "--stack", *box, "--follow", 0)
    assert "1 NaN or infinite values in page 2" in said
    assert "nothing was done" in said, "before any plane is segmented"
