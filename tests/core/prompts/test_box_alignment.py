"""Samples that are aligned with the box around their object."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from latentfm_core.config import PromptConfig, SamplingConfig
from latentfm_core.inference.box_alignment import align_to_box
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.field import extent
from latentfm_core.types import Bool, Float32, Geometry, ImageInput
from tests.helpers.prompting import two_discs

SETTINGS = SamplingConfig(n_samples=4, steps=4, seed=3, device="cpu", precision="fp32")
AS_DRAWN = PromptConfig(box_alignment=0)
CANVAS = Geometry((100, 150), 64, (10, 0, 43, 64))
"""An image of 100 x 150 on a canvas of 64."""


def ellipse(edges: tuple[float, float, float, float]) -> Float32:
    """Return a smooth ellipse on the canvas with these edges, in pixels of the canvas."""
    top, left, bottom, right = edges
    rows, columns = np.ogrid[:64, :64]
    down = (rows + 0.5 - (top + bottom) / 2) / ((bottom - top) / 2)
    across = (columns + 0.5 - (left + right) / 2) / ((right - left) / 2)
    return np.asarray(1 / (1 + np.exp(12 * (np.hypot(down, across) - 1))), np.float32)


def edges_of(values: Float32 | Bool) -> NDArray[np.float64]:
    box = extent(values >= 0.5)
    assert box is not None
    return np.array(box)


def on_image(edges: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Return edges on the canvas in pixels of the image."""
    top, left, bottom, right = (100 / 43 * value for value in np.subtract(edges, (10, 0, 10, 0)))
    return float(top), float(left), float(bottom), float(right)


def test_an_outline_moves_its_share_of_the_way_to_a_box_that_fits_it() -> None:
    drawn = ellipse((20, 20, 40, 50))[None]
    box = on_image((19, 20, 41, 53))  # gaps of 1, 0, 1 and 3 pixels: 5, 0, 5 and 9 % of the sides
    half = align_to_box(drawn, (box[0], box[1], box[2], box[3]), CANVAS, 1.0)
    np.testing.assert_allclose(edges_of(drawn[0]), (20, 20, 40, 50))
    moved = edges_of(half[0]) - edges_of(drawn[0])
    assert moved[1] == 0
    assert moved[3] in (1, 2), "a mean gap of 4.8 % counts for 40 %"
    shrunk = align_to_box(drawn, on_image((22, 22, 38, 48)), CANVAS, 1.0)
    np.testing.assert_allclose(edges_of(shrunk[0]), (22, 22, 38, 48))
    part = align_to_box(drawn, on_image((24, 20, 40, 50)), CANVAS, 0.5)
    np.testing.assert_allclose(edges_of(part[0]), (22, 20, 40, 50))


@pytest.mark.parametrize(
    "edges", [(16, 14, 44, 56), (41, 10, 52, 30)], ids=["loose", "around another object"]
)
def test_a_box_that_does_not_touch_its_object_changes_nothing(
    edges: tuple[float, float, float, float],
) -> None:
    drawn = np.stack([ellipse((20, 20, 40, 50)), np.zeros((64, 64), np.float32)])
    np.testing.assert_array_equal(align_to_box(drawn, on_image(edges), CANVAS, 1.0), drawn)


def test_a_speck_next_to_the_object_is_ignored() -> None:
    drawn = ellipse((20, 20, 40, 50))
    speck = drawn.copy()
    speck[22:25, 52:55] = 0.9
    for box in ((20, 20, 40, 50), (19, 20, 41, 51)):
        clean, dirty = (
            align_to_box(values[None], on_image(box), CANVAS, 1.0)[0] for values in (drawn, speck)
        )
        inside = np.s_[:, :51]
        np.testing.assert_allclose(dirty[inside], clean[inside], atol=0.02)


def test_an_object_cut_off_by_the_image_stays_at_its_edge() -> None:
    drawn = ellipse((2, -10, 40, 30))[None]
    drawn[:, :10] = 0.9  # the margin of the canvas is not part of the image
    found = align_to_box(
        drawn, (0, 0, on_image((0, 0, 42, 0))[2], on_image((0, 0, 0, 32))[3]), CANVAS, 1.0
    )
    assert (found[0, 10:12, 0:5] >= 0.5).all()
    assert edges_of(found[0, 10:])[2] == 32
    np.testing.assert_array_equal(found[:, :10], drawn[:, :10])


def test_outlines_of_samples_approach_a_tight_box(promptable: Segmenter) -> None:
    gaps: dict[float, list[float]] = {0.0: [], 0.4: []}
    for seed in range(6):
        pixels, labels = two_discs(np.random.default_rng(200 + seed))
        box = extent(labels == 1)
        assert box is not None
        for share, found in gaps.items():
            used = PromptConfig(box_alignment=share)
            samples = promptable.sample(
                ImageInput(pixels), SETTINGS, prompt=Prompt(box=box), prompting=used
            )
            masks = promptable.summarise(samples).sample_masks
            found += [float(np.abs(np.subtract(edges_of(mask), box)).mean()) for mask in masks]
    assert PromptConfig().box_alignment == 0.4
    assert np.mean(gaps[0.4]) < 0.75 * np.mean(gaps[0.0])


def test_corrections_beyond_a_box_outweigh_it(promptable: Segmenter) -> None:
    pixels, labels = two_discs(np.random.default_rng(77))
    image = ImageInput(pixels)
    top, left, bottom, right = extent(labels == 1) or (0, 0, 0, 0)
    half = (top, left, (top + bottom) / 2, right)
    for point, same in (((bottom - 2, (left + right) / 2), True), ((top + 4, left + 8), False)):
        prompt = Prompt(box=half, positive=(point,))
        ours, drawn = (
            promptable.sample(image, SETTINGS, prompt=prompt, prompting=used).probabilities
            for used in (PromptConfig(), AS_DRAWN)
        )
        assert np.array_equal(ours, drawn) == same


def test_several_objects_are_aligned_together(promptable: Segmenter) -> None:
    pixels, labels = two_discs(np.random.default_rng(77))
    prompts = [Prompt(box=extent(labels == number)) for number in (1, 2)]
    together = promptable.sample_objects(ImageInput(pixels), prompts, SETTINGS)
    for prompt, samples in zip(prompts, together, strict=True):
        alone = promptable.sample(ImageInput(pixels), SETTINGS, prompt=prompt)
        np.testing.assert_allclose(samples.probabilities, alone.probabilities, atol=1e-5)
