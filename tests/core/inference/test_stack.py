"""Stacks: planes match single images, and samples are coherent through all planes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ImageError, ResourceError
from latentfm_core.images.axes import to_axes
from latentfm_core.inference import stack_result
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.inference.stack import (
    StackProgress,
    segment_stack,
    stack_steps,
    summarise_stack,
)
from latentfm_core.metrics.overlap import iou
from latentfm_core.types import ImageInput, Summary
from tests.helpers.plugin_fixtures import disc_image

SETTINGS = SamplingConfig(n_samples=3, steps=2, seed=5, device="cpu", batch_size=2)


def growing_disc(count: int = 4) -> list[ImageInput]:
    """Return planes in which a disc grows slowly."""
    return [ImageInput(disc_image((48, 64), radius=12 + n), name=f"p{n}") for n in range(count)]


@pytest.fixture(scope="module")
def segmenter(calibrated_model_folder: Path) -> Segmenter:
    return Segmenter.load(calibrated_model_folder, "cpu")


def assert_equal(found: Summary, wanted: Summary) -> None:
    for entry in fields(Summary):
        np.testing.assert_array_equal(
            getattr(found, entry.name), getattr(wanted, entry.name), err_msg=entry.name
        )


def test_a_plane_of_a_stack_equals_a_single_plane(segmenter: Segmenter) -> None:
    planes = growing_disc()
    result = segment_stack(segmenter, planes, SETTINGS)
    assert len(result) == 4
    assert result.summary.sample_masks.shape == (3, 4, 48, 64)
    for index, plane in enumerate(planes):
        alone = segmenter.sample(plane, SETTINGS)
        drawn = result.samples[index]
        assert drawn is not None
        assert drawn.seeds == alone.seeds
        np.testing.assert_array_equal(drawn.probabilities, alone.probabilities)
        assert_equal(result.summary_of(index), segmenter.summarise(alone, SETTINGS))


def test_shared_seeds_make_a_sample_more_consistent_across_planes(segmenter: Segmenter) -> None:
    settings = SETTINGS.model_copy(update={"n_samples": 8})
    planes = growing_disc()
    shared = segment_stack(segmenter, planes, settings).summary.sample_masks
    apart = np.stack(
        [
            segmenter.summarise(
                segmenter.sample(plane, settings.model_copy(update={"seed": 100 * (n + 1)}))
            ).sample_masks
            for n, plane in enumerate(planes)
        ],
        axis=1,
    )

    def coherence(masks: np.ndarray) -> float:
        pairs = [(a, b) for one in masks for a, b in pairwise(one)]
        return float(np.mean([iou(a, b) for a, b in pairs]))

    assert coherence(shared) > coherence(apart) + 0.01


def test_progress_counts_over_all_planes_and_planes_are_read_one_by_one(
    segmenter: Segmenter,
) -> None:
    planes, read = growing_disc(3), []
    steps = stack_steps(segmenter, 3, lambda n: read.append(n) or planes[n], SETTINGS)
    # Two batches of samples, two steps each.
    first = [next(steps) for _ in range(5)]
    assert first[0] == StackProgress(0, 3, 1, 12)
    assert first[-1] == StackProgress(1, 3, 5, 12)
    assert read == [0, 1]
    steps.close()
    assert read == [0, 1]


def test_a_new_summary_does_not_draw_samples(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = growing_disc(2)
    result = segment_stack(segmenter, planes, SETTINGS)
    assert result.summary.calibrated
    raw = SETTINGS.model_copy(update={"calibrated": False})
    wanted = segment_stack(segmenter, planes, raw)
    monkeypatch.setattr(Segmenter, "sample_steps", None)
    again = _last(summarise_stack(segmenter, result.samples, raw))
    assert_equal(again.summary, wanted.summary)
    assert again.first.settings["calibrated"] is False
    # Without a threshold each plane keeps its own.
    samples = list(result.samples)
    assert samples[1] is not None
    samples[1] = samples[1].with_settings({**samples[1].settings, "threshold": 0.9})
    mixed = _last(summarise_stack(segmenter, samples, raw))
    assert_equal(mixed.summary_of(0), wanted.summary_of(0))
    assert mixed.summary_of(1).mean_mask.sum() < wanted.summary_of(1).mean_mask.sum()
    assert mixed.samples[1] is not None
    assert mixed.samples[1].settings["threshold"] == 0.9


def _last(steps: Iterator[StackProgress]) -> stack_result.StackResult:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def test_blank_planes_are_left_empty_and_the_others_sampled(segmenter: Segmenter) -> None:
    planes = growing_disc(2)
    blank = ImageInput(np.full_like(planes[0].pixels, 7))
    result = segment_stack(segmenter, [blank, *planes, blank], SETTINGS)
    assert result.blank == (0, 3)
    assert not result.summary.sample_masks[:, [0, 3]].any()
    assert (result.summary.confidence[[0, 3]] == 1).all()
    assert_equal(
        result.summary_of(1), segmenter.summarise(segmenter.sample(planes[0], SETTINGS), SETTINGS)
    )
    with pytest.raises(ImageError, match="nothing to segment"):
        segment_stack(segmenter, [blank, blank], SETTINGS)


def test_planes_of_different_sizes_are_refused(segmenter: Segmenter) -> None:
    planes = [ImageInput(disc_image((48, 64))), ImageInput(disc_image((48, 60)), name="odd")]
    with pytest.raises(ImageError, match=r"odd has 48 x 60 pixels.*48 x 64"):
        segment_stack(segmenter, planes, SETTINGS)


def test_a_stack_that_would_fill_the_memory_is_refused_after_its_first_plane(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_result, "total_memory", lambda: float(2**19))
    planes: list[int] = []
    with pytest.raises(ResourceError, match=r"4 planes of 48 x 64 pixels take .* GB"):
        segment_stack(segmenter, growing_disc(), SETTINGS, lambda step: planes.append(step.plane))
    assert set(planes) == {0}


@pytest.mark.parametrize(
    ("along", "plane"), [((0,), (1, 2)), ((1,), (0, 2)), ((2,), (0, 1))], ids=str
)
def test_planes_return_to_their_axes(along: tuple[int], plane: tuple[int, int]) -> None:
    volume = np.random.default_rng(0).random((3, 4, 5))
    cut = np.stack([np.take(volume, place, along[0]) for place in range(volume.shape[along[0]])])
    np.testing.assert_array_equal(to_axes(cut, volume.shape, along, plane), volume)
    two = to_axes(np.stack([cut, -cut]), volume.shape, along, plane)
    np.testing.assert_array_equal(two[1], -volume)


def test_planes_along_two_axes_at_one_index_of_another() -> None:
    movie = np.random.default_rng(0).random((2, 3, 4, 5))
    both = movie.reshape(6, 4, 5)
    np.testing.assert_array_equal(to_axes(both, movie.shape, (0, 1), (2, 3)), movie)
    one = to_axes(movie[1], movie.shape, (1,), (2, 3))
    np.testing.assert_array_equal(one, movie[1:])
