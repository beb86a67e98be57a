"""Reproducibility of samples for one seed: bit-equal cases, and bounds on other differences.

The bounds are those of docs/reliability.md, "Determinism".
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import zarr

from latentfm_core.cli.predict import main
from latentfm_core.config import Precision, SamplingConfig
from latentfm_core.images.large import large_image
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.prediction.large import segment_large
from latentfm_core.types import Float32, ImageInput
from tests.helpers.plugin_fixtures import OpenPanel, disc_image, run

BATCH_BOUND = 2e-5
"""Largest difference of a probability between numbers of samples at once, float32."""
THREAD_BOUNDS: dict[Precision, tuple[float, float]] = {"fp32": (5e-5, 1e-4), "bf16": (0.15, 1e-3)}
"""The same between numbers of threads, and the largest share of sample mask pixels that differ."""
REFINED_SHARE = 1e-3
"""Largest share of sample mask pixels that differ after the second pass, float32."""

BUNDLED = ("isic2018", "cvc_clinicdb")


@pytest.fixture(scope="module")
def image() -> ImageInput:
    return ImageInput(disc_image((200, 260), 50))


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def draw(segmenter: Segmenter, image: ImageInput, **changes: Any) -> Float32:
    """Return the probabilities of a few samples, by default of the first pass.

    The second pass decides by a threshold what it draws again, which makes large differences of
    small ones at single pixels.
    """
    usual = {"n_samples": 4, "steps": 2, "seed": 5, "device": "cpu", "precision": "fp32"}
    usual |= {"refine": False}
    return segmenter.sample(image, SamplingConfig(**{**usual, **changes})).probabilities


def test_single_samples_do_not_depend_on_their_number(
    segmenter: Segmenter, image: ImageInput
) -> None:
    most = draw(segmenter, image, n_samples=16, batch_size=1)
    for count in (1, 4, 7):
        fewer = draw(segmenter, image, n_samples=count, batch_size=1)
        np.testing.assert_array_equal(fewer, most[:count])
    np.testing.assert_array_equal(draw(segmenter, image, batch_size=1, seed=9), most[4:8])


@pytest.mark.parametrize("name", BUNDLED)
def test_batch_size_and_sample_count_change_hardly_anything(name: str, image: ImageInput) -> None:
    segmenter = Segmenter.load(name, "cpu", "fp32")
    most = draw(segmenter, image, n_samples=7, steps=1)
    for batch in (1, 3):
        parts = draw(segmenter, image, n_samples=7, steps=1, batch_size=batch)
        assert np.abs(parts - most).max() <= BATCH_BOUND
        np.testing.assert_array_equal(parts >= 0.5, most >= 0.5)
    for count in (1, 4):
        fewer = draw(segmenter, image, n_samples=count, steps=1)
        assert np.abs(fewer - most[:count]).max() <= BATCH_BOUND


@pytest.mark.parametrize("name", BUNDLED)
def test_refined_masks_hardly_change(name: str, image: ImageInput) -> None:
    segmenter = Segmenter.load(name, "cpu", "fp32")
    options = {"refine": True, "n_samples": 4}
    with threads(1):
        one = draw(segmenter, image, **options) >= 0.5
    with threads(2):
        others = [
            draw(segmenter, image, **options),
            draw(segmenter, image, **options, batch_size=3),
        ]
    for other in others:
        assert ((other >= 0.5) != one).mean() < REFINED_SHARE


def test_the_time_embedding_does_not_depend_on_other_samples(
    segmenter: Segmenter, image: ImageInput
) -> None:
    seen: list[torch.Tensor] = []
    hook = segmenter.model.velocity.time_embedding.register_forward_hook(
        lambda *call: seen.append(call[2][0])
    )
    for count in (1, 2, 3, 16):
        draw(segmenter, image, n_samples=count)
    hook.remove()
    assert len(seen) == 8
    for first, later in zip(seen[:2] * 3, seen[2:], strict=True):
        assert torch.equal(first, later)


@pytest.mark.parametrize(
    ("name", "precision"), [("isic2018", "fp32"), ("cvc_clinicdb", "fp32"), ("isic2018", "bf16")]
)
def test_the_number_of_threads_has_little_effect(
    name: str, precision: Precision, image: ImageInput
) -> None:
    segmenter = Segmenter.load(name, "cpu", precision)
    options = {"precision": precision, "n_samples": 2, "steps": 1 if precision == "bf16" else 2}
    with threads(1):
        one = draw(segmenter, image, **options)
    most, share = THREAD_BOUNDS[precision]
    for count in (2, 3):
        with threads(count):
            more = draw(segmenter, image, **options)
        assert np.abs(more - one).max() <= most
        assert ((more >= 0.5) != (one >= 0.5)).mean() <= share


def test_runs_with_several_threads_are_reproducible_even_in_the_background(
    segmenter: Segmenter, image: ImageInput
) -> None:
    found: list[Float32] = []
    with threads(3):
        first, second = draw(segmenter, image), draw(segmenter, image)
        # As in the panel, whose work runs in a separate thread.
        worker = threading.Thread(target=lambda: found.append(draw(segmenter, image)))
        worker.start()
        worker.join()
    np.testing.assert_array_equal(second, first)
    np.testing.assert_array_equal(found[0], first)


def test_command_panel_and_python_are_bit_identical(
    auto_precision: Precision,
    qtbot: Any,
    docked_panel: OpenPanel,
    calibrated_model_folder: Path,
    tmp_path: Path,
) -> None:
    planes = [disc_image((48, 64), radius) for radius in (12, 15)]
    settings = SamplingConfig(n_samples=3, steps=2, seed=7, device="cpu")
    segmenter = Segmenter.load(calibrated_model_folder, "cpu")
    wanted = segmenter.summarise(segmenter.sample(ImageInput(planes[0]), settings))

    viewer, panel = docked_panel()
    panel.form.model.choose(calibrated_model_folder)
    panel.form.n_samples.value, panel.form.steps.value, panel.form.seed.value = 3, 2, 7
    viewer.add_image(planes[0], rgb=True, name="a")
    assert run(qtbot, panel) == "done", panel.last_error

    tifffile.imwrite(tmp_path / "a.tif", planes[0], photometric="rgb")
    tifffile.imwrite(tmp_path / "stack.tif", np.stack(planes), photometric="rgb")
    words = ["--model", calibrated_model_folder, "--out", tmp_path / "out", "--samples", 3]
    words += ["--steps", 2, "--seed", 7, "--device", "cpu", "--quiet"]
    for extra in (["a.tif"], ["stack.tif", "--stack"], ["a.tif", "--tiled", "--overwrite"]):
        path = str(tmp_path / extra[0])
        assert main([path, *extra[1:], *map(str, words)]) == 0

    for kind, values in (("samples", wanted.sample_masks), ("confidence", wanted.confidence)):
        np.testing.assert_array_equal(viewer.layers[f"a · {kind}"].data, values)
        stored = values * np.uint8(255) if values.dtype == bool else values
        plain = tifffile.imread(tmp_path / "out" / f"a_{kind}.tif")
        np.testing.assert_array_equal(plain, stored)
        stack = tifffile.imread(tmp_path / "out" / f"stack_{kind}.tif")
        np.testing.assert_array_equal(stack[..., 0, :, :], stored)
    large = segment_large(segmenter, large_image(planes[0]), tmp_path / "b.zarr", settings)
    for name in ("sample_masks/0", "confidence/0", "mean_probability/0"):
        of_command = zarr.open_group(str(tmp_path / "out" / "a.zarr"), mode="r")[name][:]
        np.testing.assert_array_equal(
            of_command, zarr.open_group(str(large.folder), mode="r")[name][:]
        )
