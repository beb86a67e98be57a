"""The public names of `latentfm_core` exist and are imported on first use."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import latentfm_core
from latentfm_core.adaptation.views import training_image
from latentfm_core.annotation.labelled import LabelledImage
from latentfm_core.correction.strokes import check_strokes
from latentfm_core.errors import ImageError
from latentfm_core.evaluation.evaluate import Case
from latentfm_core.images.large import PixelField, large_image
from latentfm_core.images.read import to_rgb
from latentfm_core.images.tiff_stack import TiffStack
from latentfm_core.inference.following import follow_object
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.measures.objects import measure_objects
from latentfm_core.metrics.classes import class_dice
from latentfm_core.metrics.distribution import ged
from latentfm_core.metrics.overlap import dice
from tests.helpers.plugin_fixtures import disc_image

LOADED = """
import sys
import latentfm_core
print("torch" in sys.modules, "numpy" in sys.modules)
latentfm_core.SamplingConfig, latentfm_core.LatentFMError, latentfm_core.__version__
latentfm_core.read_image, latentfm_core.open_large
print("torch" in sys.modules)
latentfm_core.Segmenter
print("torch" in sys.modules)
"""


@pytest.mark.parametrize("name", latentfm_core.__all__)
def test_public_names_are_available(name: str) -> None:
    assert getattr(latentfm_core, name)
    assert name in dir(latentfm_core)


def test_public_names_are_those_of_their_modules() -> None:
    assert latentfm_core.Segmenter is Segmenter
    assert latentfm_core.follow_object is follow_object
    assert latentfm_core.__version__ == version("napari-latentfm")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'segmenter_of_dreams'"):
        latentfm_core.segmenter_of_dreams  # noqa: B018
    with pytest.raises(ImportError):
        from latentfm_core import segmenter_of_dreams  # noqa: F401


def test_torch_is_imported_only_for_names_that_need_it() -> None:
    words = [sys.executable, "-c", LOADED]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False", "False", "True"], done.stderr


def test_files_may_be_given_as_strings(tmp_path: Path) -> None:
    """Paths as text, as in NumPy, tifffile and scikit-image."""
    planes = np.arange(2 * 40 * 50, dtype=np.uint16).reshape(2, 40, 50)
    tifffile.imwrite(tmp_path / "plane.tif", planes[0])
    tifffile.imwrite(tmp_path / "stack.tif", planes, metadata={"axes": "ZYX"})
    plane = latentfm_core.read_image(str(tmp_path / "plane.tif"))
    assert plane.name == "plane"
    np.testing.assert_array_equal(plane.pixels, planes[0])
    with latentfm_core.open_large(str(tmp_path / "plane.tif")) as large:
        assert large.shape == (40, 50)
    with TiffStack(str(tmp_path / "stack.tif")) as stack:
        np.testing.assert_array_equal(stack.read(1).pixels, planes[1])


def test_arrays_with_masked_values_are_refused_everywhere() -> None:
    grey = np.arange(400, dtype=np.uint8).reshape(20, 20)
    masked = np.ma.masked_greater(grey, 99)
    labels = np.ma.masked_equal((grey > 99).astype(np.uint8), 0)
    flags = np.ma.masked_array(grey > 99, grey < 50)
    whole = np.ma.masked_array(grey)
    np.testing.assert_array_equal(to_rgb(whole), to_rgb(grey))
    entries = [
        lambda: latentfm_core.ImageInput(masked),
        lambda: to_rgb(masked),
        lambda: PixelField(large_image([masked], "large")).read(0, 0, 9, 9),
        lambda: check_strokes(labels, (20, 20), 1),
        lambda: measure_objects(labels),
        lambda: LabelledImage("a.png", labels),
        lambda: Case(latentfm_core.ImageInput(grey), flags[np.newaxis]),
        lambda: dice(flags, flags),
        lambda: class_dice(labels, labels),
        lambda: ged(flags[np.newaxis], flags[np.newaxis]),
    ]
    for enter in entries:
        with pytest.raises(ImageError, match=r"masked .* array\.filled\(0\)"):
            enter()


def test_pillow_images_are_read_only_if_their_values_are_levels_or_colours() -> None:
    picture = Image.fromarray(disc_image((20, 30)))
    np.testing.assert_array_equal(to_rgb(picture), to_rgb(np.asarray(picture)))
    for mode in ("P", "CMYK", "YCbCr", "LAB"):
        with pytest.raises(ImageError, match=rf'mode {mode} .* image\.convert\("RGB"\)'):
            to_rgb(picture.convert(mode))


def test_arrays_are_accepted_wherever_images_are(domain_model_folder: Path, tmp_path: Path) -> None:
    segmenter = Segmenter.load(domain_model_folder, "cpu", "fp32")
    settings = latentfm_core.SamplingConfig(n_samples=2, steps=1, device="cpu", precision="fp32")
    pixels = disc_image((48, 64))
    image = latentfm_core.ImageInput(pixels)

    def entries(given: Any, planes: Any, name: str) -> list[Any]:
        large = latentfm_core.segment_large(segmenter, given, tmp_path / name, settings)
        return [
            segmenter.sample(given, settings).probabilities,
            segmenter.domain_score(given),
            segmenter.mean_features(given),
            large.drawn.domain_score,
            latentfm_core.segment_stack(segmenter, planes, settings).summary.sample_masks,
        ]

    by_image = entries(image, [image, image], "a")
    for found, wanted in zip(entries(pixels, np.stack([pixels] * 2), "b"), by_image, strict=True):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(segmenter.mean_features(to_rgb(image)), by_image[2])


@pytest.mark.parametrize("given", ["photo.png", Path("photo.png"), None])
def test_non_images_are_refused_with_advice(segmenter: Segmenter, given: Any) -> None:
    tiling, settings = latentfm_core.TilingConfig(), segmenter.usual()
    entries = [
        lambda: segmenter.sample(given),
        lambda: segmenter.domain_score(given),
        lambda: segmenter.mean_features(given),
        lambda: segmenter.sample_objects(given, []),
        lambda: latentfm_core.segment_stack(segmenter, [given]),
        lambda: Case(given, np.zeros((1, 9, 9), bool)),
    ]
    for enter in entries:
        with pytest.raises(ImageError, match=r"read_image\(path\)"):
            enter()
    with pytest.raises(ImageError, match=r"open_large\(path\)"):
        next(segmenter.sample_tiles(given, settings, tiling, lambda *_: None))
    with pytest.raises(ImageError, match=r"open_large\(path\)"):
        latentfm_core.segment_large(segmenter, given, "out")


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3)])
def test_a_single_image_is_not_a_stack(segmenter: Segmenter, shape: tuple[int, ...]) -> None:
    pixels = np.zeros(shape, np.uint8)
    for planes in (pixels, latentfm_core.ImageInput(pixels)):
        with pytest.raises(ImageError, match="this is one image"):
            latentfm_core.segment_stack(segmenter, planes)


def test_negative_labels_are_refused_everywhere(segmenter: Segmenter) -> None:
    grey = np.arange(400, dtype=np.uint8).reshape(20, 20)
    image = latentfm_core.ImageInput(grey)
    labels = grey.view(np.int8)
    np.testing.assert_array_equal(labels < 0, grey > 127)
    entries = [
        lambda: measure_objects(labels),
        lambda: LabelledImage("a.png", labels),
        lambda: Case(image, labels[np.newaxis]),
        lambda: class_dice(grey > 1, labels),
        lambda: training_image(image, labels),
        lambda: segmenter.reconstruct_mask(labels),
        lambda: check_strokes(labels, (20, 20), 1),
    ]
    for enter in entries:
        with pytest.raises(ImageError, match=r"lowest value is -128|0 or more"):
            enter()


def test_a_folder_is_replaced_only_if_it_contains_maps(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mine.txt").write_text("work of a week")
    settings = latentfm_core.SamplingConfig(n_samples=1, steps=1, device="cpu", precision="fp32")
    pixels = disc_image((48, 64))
    with pytest.raises(latentfm_core.LatentFMError, match="everything in it would be lost"):
        latentfm_core.segment_large(
            segmenter, pixels, tmp_path / "results", settings, overwrite=True
        )
    assert (tmp_path / "results" / "mine.txt").is_file()
    for _ in range(2):
        latentfm_core.segment_large(segmenter, pixels, tmp_path / "a", settings, overwrite=True)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("latentfm_core.data.images", "read_image"),
        ("latentfm_core.data.images", "read_mask"),
        ("latentfm_core.data.pairs", "find_pairs"),
        ("latentfm_core.data.splits", "read_groups"),
        ("napari_latentfm.queue.panel", "QueuePanel"),
        ("napari_latentfm.widgets.review_panel", "ReviewPanel"),
        ("napari_latentfm.widgets.sampling_panel", "SamplingPanel"),
    ],
)
def test_import_paths_of_existing_scripts_remain(module: str, name: str) -> None:
    assert callable(getattr(import_module(module), name))
