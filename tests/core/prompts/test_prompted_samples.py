"""Samples for boxes, points, strokes, rough masks and several objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.draw import disk

from latentfm_core.config import PromptConfig, SamplingConfig
from latentfm_core.errors import ConfigError, ImageError, ResourceError
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.annotator import corrected, first_prompt
from latentfm_core.prompts.field import extent, field_of
from latentfm_core.types import ImageInput, is_recorded
from tests.helpers.prompting import paint, two_discs

Discs = tuple[ImageInput, NDArray[np.uint8]]
"""An image, and the labels of its discs."""
SETTINGS = SamplingConfig(n_samples=4, steps=4, seed=3, device="cpu", precision="fp32")


@pytest.fixture
def discs() -> Discs:
    image, labels = two_discs(np.random.default_rng(77))
    return ImageInput(image, name="discs"), labels


def answer(promptable: Segmenter, image: ImageInput, prompt: Prompt | None) -> NDArray[np.bool_]:
    samples = promptable.sample(image, SETTINGS, prompt=prompt)
    return np.asarray(promptable.summarise(samples).mean_mask)


def test_the_field_contains_strokes_on_the_object() -> None:
    shape, box = (300, 400), (10.0, 20.0, 50.0, 60.0)
    without = field_of(Prompt(box=box), shape)
    strokes = np.zeros(shape, np.uint8)
    strokes[:8, 5:70] = 2
    strokes[200:210, 300] = 1
    assert field_of(Prompt(box=box, strokes=strokes), shape) == without
    strokes[120:125, 90:110] = 2
    window = field_of(Prompt(box=box, strokes=strokes), shape)
    assert window is not None
    top, left, height, width = window
    assert (top, left) == (0, 0)
    assert top + height >= 125
    assert left + width >= 110


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("kind", ["box", "point"])
def test_a_prompt_chooses_the_object(
    promptable: Segmenter, discs: Discs, kind: str, number: int
) -> None:
    image, labels = discs
    found = answer(promptable, image, first_prompt(labels == number, kind))  # type: ignore[arg-type]
    assert dice(found, labels == number) > 0.9
    assert dice(found, labels == 3 - number) < 0.1


def test_without_a_prompt_all_objects_are_found(promptable: Segmenter, discs: Discs) -> None:
    image, labels = discs
    assert dice(answer(promptable, image, None), labels > 0) > 0.8


@pytest.mark.parametrize("number", [1, 2])
def test_strokes_and_rough_masks_select_the_object(
    promptable: Segmenter, discs: Discs, number: int
) -> None:
    image, labels = discs
    strokes = np.zeros(labels.shape, np.uint8)
    row, column = (int(v) for v in first_prompt(labels == number, "point").positive[0])  # type: ignore[union-attr]
    strokes[row, column - 4 : column + 5] = 2
    samples = promptable.sample(image, SETTINGS, strokes=strokes)
    found = np.asarray(promptable.summarise(samples).mean_mask)
    assert dice(found, labels == number) > 0.85
    assert found[strokes == 2].all()
    rough = np.roll(labels == number, 2, axis=1)
    assert dice(answer(promptable, image, Prompt(mask=rough)), labels == number) > 0.85


def test_a_small_object_in_a_large_image_is_enlarged_and_placed_exactly(
    promptable: Segmenter,
) -> None:
    rng = np.random.default_rng(5)
    labels = np.zeros((700, 900), np.uint8)
    for number, centre in enumerate([(600.5, 850.5), (100.0, 200.0)], start=1):
        labels[disk(centre, 14, shape=labels.shape)] = number
    image = ImageInput(paint(labels, rng), name="large")
    prompt = Prompt(box=extent(labels == 1))
    samples = promptable.sample(image, SETTINGS, prompt=prompt)
    window = samples.geometry.window
    assert window is not None
    top, left, height, width = window
    assert max(height, width) <= 64
    summary = promptable.summarise(samples)
    assert summary.mean_mask.shape == labels.shape
    assert dice(np.asarray(summary.mean_mask), labels == 1) > 0.9
    outside = np.ones(labels.shape, bool)
    outside[top : top + height, left : left + width] = False
    assert not summary.mean_probability[outside].any()
    assert (summary.confidence[outside] == 1).all()


def test_several_objects_in_shared_batches_equal_single_ones(
    promptable: Segmenter, discs: Discs
) -> None:
    image, labels = discs
    prompts = [first_prompt(labels == 2, "box"), first_prompt(labels == 1, "point")]
    together = promptable.sample_objects(image, prompts, SETTINGS)  # type: ignore[arg-type]
    for prompt, samples in zip(prompts, together, strict=True):
        alone = promptable.sample(image, SETTINGS, prompt=prompt)
        assert samples.geometry == alone.geometry
        assert samples.prompt == alone.prompt
        np.testing.assert_allclose(samples.probabilities, alone.probabilities, atol=1e-3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (None, r"prompts\[1\]: None is not a prompt"),
        ((1, 2, 30, 40), r"prompts\[1\]: A tuple is not a prompt"),
        (Prompt(), r"prompts\[1\]: The prompt is empty"),
        (Prompt(box=(900, 900, 950, 950)), r"prompts\[1\]: The box .* is outside the image"),
    ],
)
def test_each_of_several_prompts_is_checked_and_named(
    promptable: Segmenter, discs: Discs, wrong: Any, message: str
) -> None:
    box = Prompt(box=extent(discs[1] == 2))
    with pytest.raises(ImageError, match=message):
        promptable.sample_objects(discs[0], [box, wrong, box], SETTINGS)
    with pytest.raises(ImageError, match="single Prompt"):
        promptable.sample_objects(discs[0], box, SETTINGS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"box": (None, 1, 2, 3)}, r"A box is .* not \(None, 1, 2, 3\)"),
        ({"box": ("1", "2", "3", "4")}, "A box is"),
        ({"box": 5}, "A box is .* not 5"),
        ({"positive": (10, 10)}, "A point is .* not 10"),
        ({"negative": "10,10"}, "Points are a list"),
        ({"mask": [[True]]}, "an array"),
    ],
)
def test_parts_of_a_prompt_are_validated(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Prompt(**parts)


@pytest.mark.parametrize("part", ["mask", "strokes"])
def test_a_recorded_prompt_distinguishes_masks_of_equal_size(part: str) -> None:
    def recorded(labels: NDArray[Any]) -> dict[str, Any]:
        prompts = {"mask": Prompt(mask=labels), "strokes": Prompt(strokes=labels)}
        return prompts[part].to_json()

    first, other = recorded(np.tri(8)), recorded(np.tri(8)[:, ::-1])
    assert is_recorded(first, recorded(np.tri(8, dtype=np.bool_)), (8, 8))
    assert not is_recorded(first, other, (8, 8))
    earlier = {name: value for name, value in first.items() if name.endswith("_pixels")}
    assert is_recorded(earlier, other, (8, 8)), "earlier versions recorded numbers only"
    assert not is_recorded(earlier, recorded(np.eye(8)), (8, 8))


def test_a_prompt_takes_numbers_from_any_container() -> None:
    points: Any = np.array([[10, 12], [14, 16]])
    box: Any = np.array([1, 2, 30, 40], np.uint8)
    assert Prompt(positive=points).positive == ((10.0, 12.0), (14.0, 16.0))
    assert Prompt(box=box, negative=points[:0]).to_json() == {"box": [1.0, 2.0, 30.0, 40.0]}
    assert Prompt(positive=points[:0]).is_empty


def test_masked_arrays_of_strokes_and_rough_masks_are_refused(
    discs: tuple[ImageInput, NDArray[np.uint8]],
) -> None:
    masked = np.ma.masked_less(discs[1], 2)
    for part in ("strokes", "mask"):
        with pytest.raises(ImageError, match=r"values are masked .* array\.filled\(0\)"):
            Prompt(**{part: masked})


def test_out_of_memory_for_several_objects_gives_advice(
    promptable_model_folder: Path, discs: Discs, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = Segmenter.load(promptable_model_folder, "cpu", "fp32")

    def image_features(_: torch.Tensor) -> list[torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(fresh.model, "image_features", image_features)
    box = first_prompt(discs[1] == 2, "box")
    with pytest.raises(ResourceError, match="Close other programs"):
        fresh.sample_objects(discs[0], [box, box], SETTINGS)  # type: ignore[list-item]


def test_a_prompt_after_others_equals_that_of_a_fresh_model(
    promptable: Segmenter, promptable_model_folder: Path, discs: Discs
) -> None:
    image, labels = discs
    box = first_prompt(labels == 2, "box")
    for number in (1, 2):
        promptable.sample(image, SETTINGS, prompt=first_prompt(labels == number, "point"))
    used = promptable.sample(image, SETTINGS, prompt=box)
    fresh = Segmenter.load(promptable_model_folder, "cpu", "fp32")
    again = fresh.sample(image, SETTINGS, prompt=box)
    np.testing.assert_array_equal(used.probabilities, again.probabilities)


def test_corrections_improve_an_inaccurate_box(promptable: Segmenter, discs: Discs) -> None:
    image, labels = discs
    target = np.asarray(labels == 1)
    top, left, bottom, right = extent(target)  # type: ignore[misc]
    prompt = Prompt(box=(top + 14, left + 14, bottom + 14, right + 14))
    before = dice(answer(promptable, image, prompt), target)
    for _ in range(4):
        prompt = corrected(prompt, answer(promptable, image, prompt), target)
    after = dice(answer(promptable, image, prompt), target)
    assert len(prompt.positive) + len(prompt.negative) == 4
    assert after > max(0.8, before)


def test_a_point_without_the_second_pass_sees_the_whole_image(
    promptable: Segmenter, discs: Discs
) -> None:
    image, labels = discs
    prompt = first_prompt(labels == 1, "point")
    once = promptable.sample(
        image, SETTINGS, prompt=prompt, prompting=PromptConfig(second_pass=False)
    )
    twice = promptable.sample(image, SETTINGS, prompt=prompt)
    assert once.geometry.window is None
    assert twice.geometry.window is not None
    assert once.prompt == twice.prompt == prompt.to_json()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Prompt(), "empty"),
        (Prompt(box=(10, 10, 10, 20)), "empty"),
        (Prompt(box=(70, 10, 80, 20)), "outside the image of 64 x 96"),
        (Prompt(box=(float("nan"), 1, 2, 3)), "top, left, bottom, right"),
        (Prompt(positive=((64.0, 3.0),)), "outside the image of 64 x 96"),
        (Prompt(negative=((3.0, -1.0),)), "outside the image"),
        (Prompt(mask=np.ones((5, 5), bool)), "Draw it on this image"),
        (Prompt(mask=np.zeros((64, 96), bool)), "rough mask is empty"),
        (Prompt(mask=np.full((64, 96), 0.3)), "values other than 0 and 1"),
        (Prompt(mask=np.full((64, 96), np.nan)), "values other than 0 and 1"),
        (Prompt(strokes=np.zeros((64, 96), np.uint8)), "no strokes"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(
    promptable: Segmenter, discs: Discs, prompt: Prompt, message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        promptable.sample(discs[0], SETTINGS, prompt=prompt)


def test_a_model_without_prompts_is_reported(segmenter: Segmenter, discs: Discs) -> None:
    with pytest.raises(ConfigError, match="does not take prompts"):
        segmenter.sample(discs[0], SETTINGS, prompt=Prompt(box=(1, 1, 9, 9)))
