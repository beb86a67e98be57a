"""An object followed through the planes of a stack by a trained model."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.draw import disk

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ConfigError, ImageError
from latentfm_core.inference.following import (
    FollowProgress,
    KnownPlane,
    follow_object,
    follow_steps,
)
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.inference.stack import summarise_stack
from latentfm_core.inference.tracking import box_after_move, grown
from latentfm_core.metrics.overlap import dice
from latentfm_core.progress import finish
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.field import extent
from latentfm_core.types import ImageInput
from latentfm_core.uncertainty.calibration import Calibration, MonotoneMap
from latentfm_core.vocabulary import PromptGroup
from tests.helpers.prompting import SHAPE, paint

SETTINGS = SamplingConfig(n_samples=4, steps=4, seed=3, device="cpu", precision="fp32")
OTHER = (32.0, 74.0)


def moving_disc(count: int = 5) -> list[NDArray[np.uint8]]:
    """Return labels of a disc 1 that moves slowly, beside a disc 2 that does not."""
    planes = []
    for number in range(count):
        labels = np.zeros(SHAPE, np.uint8)
        labels[disk((26 + 2 * number, 22), 11, shape=SHAPE)] = 1
        labels[disk(OTHER, 10, shape=SHAPE)] = 2
        planes.append(labels)
    return planes


def images_of(planes: list[NDArray[np.uint8]]) -> list[ImageInput]:
    rng = np.random.default_rng(5)
    return [ImageInput(paint(labels, rng), name=f"p{n}") for n, labels in enumerate(planes)]


def box_around(labels: NDArray[np.uint8]) -> Prompt:
    return Prompt(box=extent(labels == 1))


def test_a_box_on_one_plane_finds_the_object_on_all(promptable: Segmenter) -> None:
    planes = moving_disc()
    followed = follow_object(promptable, images_of(planes), 2, box_around(planes[2]), SETTINGS)
    assert followed.found == (0, 1, 2, 3, 4)
    assert followed.missed == ()
    for number, labels in enumerate(planes):
        mask = followed.stack.summary_of(number).mean_mask
        assert dice(mask, labels == 1) > 0.85
        assert dice(mask, labels == 2) < 0.1
    assert followed.stack.summary.sample_masks.shape == (4, 5, *SHAPE)
    assert followed.first.prompt == box_around(planes[2]).to_json()


def test_the_plane_of_the_prompt_equals_a_single_plane(promptable: Segmenter) -> None:
    planes = moving_disc(2)
    images = images_of(planes)
    followed = follow_object(promptable, images, 0, box_around(planes[0]), SETTINGS)
    alone = promptable.sample(images[0], SETTINGS, prompt=box_around(planes[0]))
    drawn = followed.stack.samples[0]
    assert drawn is not None
    np.testing.assert_array_equal(drawn.probabilities, alone.probabilities)
    # The next plane starts from the same noise: sample n of one plane continues in the other.
    after = followed.stack.samples[1]
    assert after is not None
    assert after.seeds == alone.seeds


def test_known_planes_are_unchanged_and_used_as_starts(promptable: Segmenter) -> None:
    planes = moving_disc()
    images = images_of(planes)
    other = planes[2] == 2
    steps = follow_steps(
        promptable,
        5,
        images.__getitem__,
        0,
        SETTINGS,
        box_around(planes[0]),
        {2: KnownPlane(other)},
    )
    visited: list[int] = []
    followed = finish(steps, lambda step: visited.append(step.plane))
    assert set(visited) == {0, 1, 3, 4}
    assert followed.found == (0, 1, 3, 4)
    assert followed.stack.samples[2] is None
    assert dice(followed.stack.summary_of(1).mean_mask, planes[1] == 1) > 0.85
    # After the known plane it is the object of that plane.
    assert dice(followed.stack.summary_of(3).mean_mask, planes[3] == 2) > 0.85


def test_a_known_plane_with_samples_can_be_the_start(promptable: Segmenter) -> None:
    planes = moving_disc(3)
    images = images_of(planes)
    samples = promptable.sample(images[1], SETTINGS, prompt=box_around(planes[1]))
    known = {1: KnownPlane(planes[1] == 1, samples)}
    steps = follow_steps(promptable, 3, images.__getitem__, 1, SETTINGS, known=known)
    visited: list[int] = []
    followed = finish(steps, lambda step: visited.append(step.plane))
    assert set(visited) == {0, 2}
    assert followed.found == (0, 1, 2)
    assert followed.stack.samples[1] is samples


def test_the_fitted_settings_for_boxes_are_the_defaults(promptable: Segmenter) -> None:
    same = MonotoneMap(x=(0, 1), y=(0, 1))
    fitted = Calibration(
        sigma=1, confidence=same, n_images=20, n_samples=2, steps=2, solver="euler",
        threshold=0.7, noise_scale=1.5,
    )  # fmt: skip
    of_boxes = fitted.model_copy(update={"threshold": 0.3, "noise_scale": 0.75})
    card = promptable.card
    few = card.config.sampling.model_copy(update={"n_samples": 2, "steps": 2})
    update = {
        "config": card.config.model_copy(update={"sampling": few}),
        "calibration": fitted,
        "prompt_calibrations": {"box": of_boxes},
    }
    planes = moving_disc(2)
    promptable.card = card.model_copy(update=update)
    try:
        followed = follow_object(promptable, images_of(planes), 0, box_around(planes[0]))
    finally:
        promptable.card = card
    for samples in followed.stack.samples:
        assert samples is not None
        assert (samples.settings["threshold"], samples.settings["noise_scale"]) == (0.3, 0.75)


@pytest.mark.parametrize(
    ("fitted", "calibrated"), [(("box",), False), (("point",), False), (("box", "point"), True)]
)
def test_all_planes_are_calibrated_or_none(
    promptable: Segmenter, fitted: tuple[PromptGroup, ...], calibrated: bool
) -> None:
    """The plane of the point is calibrated differently from the planes with boxes."""
    ignorant = MonotoneMap(x=(0, 1), y=(0.25, 0.25))
    calibration = Calibration(
        sigma=1, confidence=ignorant, n_images=20, n_samples=2, steps=2, solver="euler"
    )
    card, planes = promptable.card, moving_disc(2)
    known = dict.fromkeys(fitted, calibration)
    promptable.card = card.model_copy(update={"prompt_calibrations": known})
    settings = SETTINGS.model_copy(update={"calibrated": True})
    point = Prompt(positive=((26.5, 22.5),))
    try:
        followed = follow_object(promptable, images_of(planes), 0, point, settings)
        again = finish(summarise_stack(promptable, followed.stack.samples, settings))
    finally:
        promptable.card = card
    assert followed.found == (0, 1)
    for stack in (followed.stack, again):
        assert stack.summary.calibrated is calibrated
        assert [bool((x == 0.25).any()) for x in stack.summary.confidence] == [calibrated] * 2
        assert {each and each.settings["calibrated"] for each in stack.samples} == {calibrated}


def test_a_known_object_not_found_on_other_planes_is_reported(promptable: Segmenter) -> None:
    planes = moving_disc(2)
    images = images_of(planes)
    images[1] = ImageInput(np.full((*SHAPE, 3), 90, np.uint8), name="blank")
    known = {0: KnownPlane(planes[0] == 1)}
    with pytest.raises(ImageError, match="not found on any other plane"):
        finish(follow_steps(promptable, 2, images.__getitem__, 0, SETTINGS, known=known))


def test_following_ends_at_constant_planes(promptable: Segmenter) -> None:
    planes = moving_disc(6)
    images = images_of(planes)
    for number in (2, 3):
        images[number] = ImageInput(np.full((*SHAPE, 3), 90, np.uint8), name="blank")
    visited: list[FollowProgress] = []
    followed = follow_object(promptable, images, 0, box_around(planes[0]), SETTINGS, visited.append)
    assert followed.found == (0, 1)
    assert followed.missed == (2, 3)
    assert {step.plane for step in visited} == {0, 1}
    assert not followed.stack.summary_of(2).mean_mask.any()
    assert not followed.stack.summary_of(5).mean_mask.any()


def test_one_plane_without_the_object_is_skipped(promptable: Segmenter) -> None:
    planes = moving_disc(4)
    images = images_of(planes)
    images[1] = ImageInput(np.full((*SHAPE, 3), 90, np.uint8), name="blank")
    followed = follow_object(promptable, images, 0, box_around(planes[0]), SETTINGS)
    assert followed.found == (0, 2, 3)
    assert followed.missed == (1,)


def test_cancelling_ends_within_one_step(promptable: Segmenter) -> None:
    planes = moving_disc()
    steps = follow_steps(
        promptable, 5, images_of(planes).__getitem__, 0, SETTINGS, box_around(planes[0])
    )
    while next(steps).plane != 1:
        pass
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)


def test_wrong_starts_are_refused(promptable: Segmenter, segmenter: Segmenter) -> None:
    planes = moving_disc(2)
    images = images_of(planes)
    with pytest.raises(ImageError, match="no plane 7"):
        follow_object(promptable, images, 7, box_around(planes[0]), SETTINGS)
    nothing = {0: KnownPlane(np.zeros(SHAPE, bool))}
    with pytest.raises(ImageError, match="no object to follow"):
        finish(follow_steps(promptable, 2, images.__getitem__, 0, SETTINGS, known=nothing))
    with pytest.raises(ConfigError, match="does not take prompts"):
        follow_object(segmenter, images, 0, box_around(planes[0]), SETTINGS)


def test_a_moved_object_is_the_nearest_piece_of_similar_area() -> None:
    last = np.zeros((60, 80), bool)
    last[20:30, 20:30] = True
    found = np.zeros_like(last)
    found[22:31, 28:37] = True
    found[40:52, 40:52] = True
    found[26, 24] = True  # too small
    assert box_after_move(found, last) == pytest.approx(grown((22, 28, 31, 37), 1.1))
    far = np.zeros_like(last)
    far[45:55, 60:70] = True
    assert box_after_move(far, last) is None
    assert box_after_move(np.zeros_like(last), last) is None
