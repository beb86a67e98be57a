"""Each unusual image gives the correct result or a message, in Python and in the command."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.draw import disk

from latentfm_core.cli.predict import main
from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ImageError
from latentfm_core.images.read import check_pixels, read_image, to_rgb
from latentfm_core.images.tiff_stack import TiffStack
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.types import ImageInput, Summary
from tests.helpers.commands import Printed
from tests.helpers.odd_images import ARRAYS, COLOUR, FILES, GREY, Odd

SETTINGS = SamplingConfig(n_samples=2, steps=2, seed=1, device="cpu", precision="fp32")
OPTIONS = [
    *("--samples", "2", "--steps", "2", "--seed", "1"),
    *("--device", "cpu", "--precision", "fp32", "--format", "tiff"),
]
LOSSLESS = 4e-3
"""Largest difference of a level: half a step of 8 bits, and percentiles between two levels."""
BAD_NAMES_OF_WINDOWS = ("line\nbreak.png",)


def segment(segmenter: Segmenter, image: ImageInput) -> Summary:
    summary = segmenter.summarise(segmenter.sample(image, SETTINGS), SETTINGS)
    maps = (summary.mean_probability, summary.confidence, summary.variance)
    for values in maps:
        assert np.isfinite(values).all()
        assert values.min() >= 0
        assert values.max() <= 1
    return summary


@pytest.fixture(scope="module")
def wanted(segmenter: Segmenter) -> dict[int, np.ndarray]:
    """Return the mean masks of the pictures of the table."""
    pictures = {id(odd.same_as): odd.same_as for odd in (*ARRAYS, *FILES)}
    return {
        key: segment(segmenter, ImageInput(pixels)).mean_mask
        for key, pixels in pictures.items()
        if pixels is not None
    }


def check_levels(odd: Odd, image: ImageInput) -> None:
    """Compare the network's input with that of the plain picture."""
    assert odd.same_as is not None
    seen, picture = to_rgb(image), to_rgb(ImageInput(odd.same_as))
    assert seen.shape == picture.shape
    # JPEG, and YCbCr in whole numbers, lose a little.
    lossy = "jp" in odd.name or odd.name.startswith("ycbcr")
    difference = np.abs(seen - picture)
    assert difference.mean() < 0.02 if lossy else difference.max() <= LOSSLESS


@pytest.mark.parametrize("picture", [GREY, COLOUR], ids=["grey", "colour"])
def test_the_disc_is_found_in_every_odd_image(
    wanted: dict[int, np.ndarray], picture: np.ndarray
) -> None:
    truth = np.zeros(GREY.shape, bool)
    truth[disk((24, 32), 13)] = True
    assert dice(wanted[id(picture)], truth) > 0.85


@pytest.mark.parametrize("odd", ARRAYS, ids=lambda odd: odd.name)
def test_arrays(odd: Odd, segmenter: Segmenter, wanted: dict[int, np.ndarray]) -> None:
    image = ImageInput(odd.make(), name="layer 1")
    before = image.pixels.copy()
    if odd.same_as is None:
        for use in (check_pixels, to_rgb, partial(segmenter.sample, settings=SETTINGS)):
            with pytest.raises(ImageError, match=f"layer 1: .*{odd.refused}"):
                use(image)
    else:
        check_levels(odd, image)
        assert dice(segment(segmenter, image).mean_mask, wanted[id(odd.same_as)]) > 0.95
    np.testing.assert_array_equal(image.pixels, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files of the table: readable ones in ``good``, the others in ``bad``."""
    root = tmp_path_factory.mktemp("odd")
    for kind in ("good", "bad"):
        (root / kind).mkdir()
    for odd in FILES:
        if sys.platform != "win32" or odd.name not in BAD_NAMES_OF_WINDOWS:
            odd.make(place(root, odd))
    return root


def place(root: Path, odd: Odd) -> Path:
    return root / ("bad" if odd.same_as is None else "good") / odd.name


@pytest.mark.parametrize("odd", FILES, ids=lambda odd: repr(odd.name))
def test_files(odd: Odd, folder: Path, segmenter: Segmenter, wanted: dict[int, np.ndarray]) -> None:
    path = place(folder, odd)
    if not path.exists():
        pytest.skip("no such name on this system")
    if odd.same_as is None:
        with pytest.raises(ImageError, match=f"(?s){re.escape(str(path))}: .*{odd.refused}"):
            read_image(path)
        return
    image = read_image(path)
    check_levels(odd, image)
    assert dice(segment(segmenter, image).mean_mask, wanted[id(odd.same_as)]) > 0.95


def test_the_command_equals_the_python_api(
    folder: Path, tmp_path: Path, segmenter: Segmenter, tiny_model_folder: Path
) -> None:
    good = sorted((folder / "good").iterdir())
    words = ["--out", str(tmp_path), "--model", str(tiny_model_folder), "--quiet", *OPTIONS]
    assert main([str(folder / "good"), *words]) == 0
    stems = [path.stem for path in good]
    for path in good:
        name = path.stem
        if stems.count(name) > 1:
            name = f"{name}_{path.suffix[1:]}"
        summary = segment(segmenter, read_image(path))
        mask = tifffile.imread(tmp_path / f"{name}_mean_mask.tif")
        np.testing.assert_array_equal(mask > 0, summary.mean_mask)
        confidence = tifffile.imread(tmp_path / f"{name}_confidence.tif")
        np.testing.assert_array_equal(confidence, summary.confidence)


def test_the_command_lists_every_bad_file_and_writes_nothing(
    folder: Path, tmp_path: Path, tiny_model_folder: Path, refused: Printed
) -> None:
    words = ["--out", str(tmp_path / "out"), "--model", str(tiny_model_folder), *OPTIONS]
    bad = [odd for odd in FILES if odd.same_as is None]
    output = refused(main, [*(str(place(folder, odd)) for odd in bad), *words])
    assert f"{len(bad)} of {len(bad)} inputs cannot be used; nothing was done" in output
    for odd in bad:
        assert f"{odd.name}: " in output
        assert re.search(odd.refused, output), odd.name  # shared advice is given once
    assert "--skip-bad" in output
    assert "bug in" not in output
    assert not (tmp_path / "out").exists()


def test_a_name_that_looks_like_an_option(
    folder: Path, tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "good")
    words = ["--out", str(tmp_path), "--model", str(tiny_model_folder), *OPTIONS]
    assert main([*words, "--", "-dash.png"]) == 0
    assert (tmp_path / "-dash.json").is_file()


def test_a_codec_that_only_pillow_has(tmp_path: Path) -> None:
    path = tmp_path / "zstd.tif"
    try:
        Image.fromarray(COLOUR).save(path, compression="zstd")
    except OSError:
        pytest.skip("this Pillow has no zstd")
    np.testing.assert_array_equal(read_image(path).pixels, COLOUR)


def test_a_stack_of_other_colours_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(COLOUR).convert("CMYK")] * 3
    frames[0].save(tmp_path / "cmyk.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"CMYK.*Save the stack in grey or RGB"):
        TiffStack(tmp_path / "cmyk.tif")
