"""Images of any size: bounded reading, atomic results, and the command."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from latentfm_core.cli.predict import main
from latentfm_core.config import TilingConfig
from latentfm_core.errors import Cancelled, ImageError, OutputError
from latentfm_core.images.canvas import to_canvas
from latentfm_core.images.large import PixelField, large_image
from latentfm_core.images.open_large import open_large
from latentfm_core.images.read import read_image, to_rgb
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.prediction.large import large_steps, resolved_for_tiles, segment_large
from latentfm_core.types import ImageInput
from latentfm_core.uncertainty.summary import DEFAULT_THRESHOLD, REFINED_THRESHOLD
from tests.helpers.commands import Printed
from tests.helpers.fixtures import SIZE, Folders
from tests.helpers.tiling import SETTINGS, picture, segmenter, tiled

__all__ = ["picture", "segmenter"]


def test_a_pyramid_is_read_at_the_coarsest_sufficient_level() -> None:
    fine = np.zeros((400, 600), np.uint8)
    coarse = np.full((100, 150), 255, np.uint8)
    assert PixelField(large_image([fine, coarse]), 0.25).read(0, 0, 50, 50).min() == 1
    assert PixelField(large_image([coarse, fine]), 0.3).read(0, 0, 50, 50).max() == 0


@pytest.mark.parametrize("scale", [1.0, 0.4, 0.05])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_parts_equal_those_of_the_full_image(scale: float, dtype: Any) -> None:
    pixels = (np.random.default_rng(0).random((300, 260, 3)) * 200).astype(dtype)
    field = PixelField(large_image(pixels), scale)
    height, width = field.shape
    whole = field.read(0, 0, height, width)
    half = field.read(height // 3, width // 2, height, width)
    np.testing.assert_allclose(
        half[: height - height // 3, : width - width // 2],
        whole[height // 3 :, width // 2 :],
        atol=1e-6,
    )
    assert half.shape == (height, width, 3)
    np.testing.assert_array_equal(half[-1, -1], whole[-1, -1])
    if scale == 1:
        np.testing.assert_allclose(whole, to_rgb(ImageInput(pixels)), atol=1e-6)


def test_resizing_equals_that_of_the_canvas() -> None:
    pixels = (np.random.default_rng(0).random((256, 256, 3)) * 255).astype(np.uint8)
    canvas, _ = to_canvas(to_rgb(ImageInput(pixels)), 64, "stretch")
    field = PixelField(large_image(pixels), 0.25)
    np.testing.assert_allclose(field.read(0, 0, 64, 64), canvas, atol=1e-5)


class Recording:
    """An array that generates pixels on request and records the requests."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype = shape, np.dtype(np.uint8)
        self.largest = 0

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
        rows, columns = (np.arange(s.start, s.stop) for s in index)
        self.largest = max(self.largest, len(rows) * len(columns))
        grey = (rows[:, None] * 7 + columns * 13) % 251
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def test_at_most_one_tile_is_read_at_once(segmenter: Segmenter) -> None:
    pixels = Recording((200, 100_000, 3))
    steps = segmenter.sample_tiles(
        large_image(pixels), SETTINGS, TilingConfig(), lambda *_: pytest.fail("too early")
    )
    for _ in range(5):
        next(steps)
    steps.close()
    assert 0 < pixels.largest <= SIZE**2


def test_a_read_error_names_rows_and_columns(segmenter: Segmenter) -> None:
    def fail(block: np.ndarray) -> np.ndarray:
        raise OSError("the disk is gone")

    broken = dask.array.zeros((100, 100, 3), dtype=np.uint8, chunks=50).map_blocks(
        fail, dtype=np.uint8
    )
    with pytest.raises(ImageError, match=r"rows 0 to 64.*the disk is gone"):
        tiled(segmenter, broken)
    holes = np.full((100, 100), np.nan, np.float32)
    with pytest.raises(ImageError, match="NaN"):
        tiled(segmenter, holes)


def test_the_maps_on_disk_equal_those_in_memory(
    segmenter: Segmenter, picture: np.ndarray, tmp_path: Path
) -> None:
    lazy = dask.array.from_array(picture, chunks=(50, 70, 3))
    image = large_image(lazy, (0.5, 0.25), "micrometer", "slide")
    result = segment_large(segmenter, image, tmp_path / "slide.zarr", SETTINGS)
    wanted = tiled(segmenter, picture)
    maps = zarr.open_group(str(result.folder), mode="r")
    np.testing.assert_array_equal(maps["mean_probability/0"][:], wanted.mean)
    np.testing.assert_array_equal(maps["confidence/0"][:], wanted.confidence)
    np.testing.assert_array_equal(maps["sample_masks/0"][:], wanted.masks)
    scale = maps["mean_mask"].attrs["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    assert scale == {"type": "scale", "scale": [0.5, 0.25]}
    facts, card = maps.attrs["latentfm"], segmenter.card
    assert (facts["seeds"], facts["model_id"]) == ([3, 4], card.id)
    assert facts["calibration_sha256"] == card.calibration_digest("none")
    with pytest.raises(OutputError, match="already exists"):
        segment_large(segmenter, image, result.folder, SETTINGS)


def test_coarser_levels_cover_the_same_area(segmenter: Segmenter, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"n_samples": 1, "steps": 1, "calibrated": False})
    image = large_image(np.random.default_rng(0).integers(0, 255, (33, 1301), dtype=np.uint8))
    result = segment_large(
        segmenter, image, tmp_path / "wide.zarr", settings, TilingConfig(overlap=0)
    )
    group = zarr.open_group(str(result.folder), mode="r")["mean_probability"]
    fine, coarse = group["0"][:], group["1"][:]
    assert coarse.shape == (17, 651)
    np.testing.assert_allclose(
        coarse[:16, :650], fine[:32, :1300].reshape(16, 2, 650, 2).mean((1, 3)), atol=1e-6
    )
    assert coarse[-1, -1] == fine[-1, -1]


def test_cancelling_leaves_no_files(
    segmenter: Segmenter, picture: np.ndarray, tmp_path: Path
) -> None:
    seen: list[int] = []

    def stop(progress: Progress) -> None:
        seen.append(progress.done)
        if progress.done == 3:
            raise Cancelled("stopped")

    out = tmp_path / "out"
    image = large_image(picture)
    with pytest.raises(Cancelled):
        segment_large(segmenter, image, out / "a.zarr", SETTINGS, on_step=stop)
    assert seen == [1, 2, 3]
    assert list(out.iterdir()) == []
    steps = large_steps(segmenter, image, out / "a.zarr", SETTINGS)
    next(steps)
    assert len(list(out.iterdir())) == 1
    steps.close()
    assert list(out.iterdir()) == []


def test_progress_reaches_its_total(segmenter: Segmenter, picture: np.ndarray) -> None:
    settings = SETTINGS.model_copy(update={"batch_size": 1})
    steps = segmenter.sample_tiles(large_image(picture), settings, TilingConfig(), lambda *_: None)
    seen = list(steps)
    assert [step.done for step in seen] == list(range(1, seen[-1].total + 1))


@pytest.mark.parametrize("kind", ["plain.tif", "tiles.tif", "pyramid.zarr", "image.png"])
def test_files_are_read_exactly(kind: str, picture: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / kind
    if kind == "pyramid.zarr":
        group = zarr.open_group(str(path), mode="w", zarr_format=2)
        axes = [{"name": name} for name in "cyx"]
        group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}, {"path": "1"}]}]
        planes = np.moveaxis(picture, -1, 0)
        group.create_array("0", data=planes)
        group.create_array("1", data=planes[:, ::2, ::2])
    elif kind == "image.png":
        from skimage.io import imsave

        imsave(path, picture, check_contrast=False)
    else:
        options: dict[str, Any] = (
            {} if kind == "plain.tif" else {"tile": (64, 64), "compression": "zlib"}
        )
        tifffile.imwrite(
            path, picture, photometric="rgb", resolution=(1e4, 1e4), resolutionunit=3, **options
        )
    with open_large(path) as image:
        assert image.shape == picture.shape[:2]
        np.testing.assert_array_equal(
            np.asarray(image.levels[0][20:90, 5:77]), picture[20:90, 5:77]
        )
        assert len(image.levels) == (2 if kind == "pyramid.zarr" else 1)
        if kind.endswith("tif"):
            assert image.spacing == (1.0, 1.0)
            assert not isinstance(image.levels[0], np.ndarray) or isinstance(
                image.levels[0], np.memmap
            )


@pytest.mark.parametrize(
    ("axes", "whole", "spacing", "unit"),
    [
        ([("y", "micrometer"), ("x", "micrometer")], None, (0.5, 0.25), "micrometer"),
        ([("y", "micrometer"), ("x", "nanometer")], None, (0.5, 0.00025), "micrometer"),
        ([("y", "micrometer"), ("x", "micrometer")], [2, 2], (1.0, 0.5), "micrometer"),
        ([("y", None), ("x", None)], None, None, "pixel"),
        ([("y", "second"), ("x", "micrometer")], None, None, "pixel"),
        ([("y", "micrometer"), ("x", "micrometer")], [0, 1], None, "pixel"),
    ],
)
def test_the_pixel_size_of_ome_zarr_is_used(
    tmp_path: Path, axes: Any, whole: Any, spacing: Any, unit: str
) -> None:
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    levels = []
    for name, step in (("1", 2), ("0", 1)):  # the finest one last
        group.create_array(name, data=np.arange(24 * 32, dtype=np.uint8).reshape(24, 32)[::step])
        scale = {"type": "scale", "scale": [0.5 * step, 0.25]}
        levels.append({"path": name, "coordinateTransformations": [scale]})
    image = {
        "axes": [{"name": name, **({"unit": unit} if unit else {})} for name, unit in axes],
        "datasets": levels,
        "coordinateTransformations": [{"type": "scale", "scale": whole}] if whole else [],
    }
    group.attrs["multiscales"] = [image]
    with open_large(tmp_path / "a.zarr") as large:
        assert (large.spacing, large.unit) == (pytest.approx(spacing) if spacing else None, unit)


@pytest.fixture
def predict(calibrated_model_folder: Path, tmp_path: Path) -> Any:
    def command(*words: object) -> int:
        options = ["--samples", "2", "--steps", "2", "--seed", "3", "--device", "cpu", "--quiet"]
        options += ["--precision", "fp32", "--model", str(calibrated_model_folder)]
        return main([*map(str, words), "--out", str(tmp_path / "out"), *options])

    return command


def test_the_command_equals_the_python_api(
    predict: Any, segmenter: Segmenter, picture: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, picture, photometric="rgb", tile=(64, 64), compression="zlib")
    words = (path, "--tiled", "--scale", "0.5", "--overlap", "0.25")
    assert predict(*words) == 0
    out = tmp_path / "out"
    assert sorted(item.name for item in out.iterdir()) == ["slide.json", "slide.zarr"]
    wanted = tiled(segmenter, picture, scale=0.5, overlap=0.25)
    maps = zarr.open_group(str(out / "slide.zarr"), mode="r")
    np.testing.assert_array_equal(maps["mean_probability/0"][:], wanted.mean)
    np.testing.assert_array_equal(maps["sample_masks/0"][:], wanted.masks)
    sidecar = json.loads((out / "slide.json").read_text())
    assert sidecar["shape"] == [80, 96]
    assert sidecar["tiling"]["image_shape"] == [160, 192]
    before = (out / "slide.json").read_text()
    assert predict(*words) == 2
    assert predict(*words, "--skip-done") == 0
    assert (out / "slide.json").read_text() == before
    assert predict(*words, "--overwrite") == 0
    tifffile.imwrite(path, 255 - picture, photometric="rgb", tile=(64, 64), compression="zlib")
    os.utime(path, (0, 0))
    assert predict(*words, "--skip-done") == 2


def test_zarr_without_tiled_is_refused_with_the_option(
    predict: Any, picture: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zarr.open_array(tmp_path / "a.zarr", mode="w", shape=(9, 9), dtype="u1")[:] = 1
    assert predict(tmp_path / "a.zarr") == 2
    assert "is a Zarr image. Add --tiled." in capsys.readouterr().err


def test_a_tiled_image_has_the_domain_score_of_the_whole_image(
    domain_model_folder: Path, blob_folders: Folders, tmp_path: Path
) -> None:
    blob = np.array(Image.open(sorted(blob_folders[0].iterdir())[0]).resize((192, 192)))
    noise = np.random.default_rng(0).integers(0, 255, (160, 192, 3), np.uint8)
    for name, pixels in {"blob": blob, "noise": noise}.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric="rgb", tile=(64, 64))
    words = ["--tiled", "--samples", "1", "--steps", "1", "--device", "cpu", "--precision", "fp32"]
    files = [str(tmp_path / f"{name}.tif") for name in ("blob", "noise")]
    out = ["--model", str(domain_model_folder), "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*files, *words, *out]) == 0
    known = Segmenter.load(domain_model_folder, "cpu", "fp32")
    for file, outside in zip(files, (False, True), strict=True):
        sidecar = json.loads((tmp_path / "out" / f"{Path(file).stem}.json").read_text())
        whole = known.domain_score(read_image(Path(file)))
        assert sidecar["domain_score"] == pytest.approx(whole, rel=0.05)
        assert sidecar["out_of_domain"] is outside


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale", "0.5"], "belong to --tiled"),
        (["--tiled", "--stack"], "Choose one of them"),
        (["--tiled", "--format", "png"], "Remove --format"),
        (["--tiled", "--scale", "3"], "scale"),
    ],
)
def test_incompatible_options_are_explained(
    predict: Any, words: list[str], message: str, tmp_path: Path, refused: Printed
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((80, 80), np.uint8))
    assert message in refused(predict, path, *words)
    assert not (tmp_path / "out").exists()


def test_tiles_of_an_uncalibrated_promptable_model_use_the_one_pass_threshold(
    promptable: Segmenter,
) -> None:
    assert promptable.resolved().threshold == REFINED_THRESHOLD
    used = resolved_for_tiles(promptable, None)
    assert (used.refine, used.threshold, used.precision) == (False, DEFAULT_THRESHOLD, "fp32")
