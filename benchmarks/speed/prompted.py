"""A promptable LatentFM: the first answer for an image, and answers to further prompts.

Image features are cached by the content of the canvas: a prompt that keeps the canvas costs the
prompt encoder, the top-down path, the flow and the decoder; one that moves it costs the image
encoder as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from benchmarks.speed.job import Call, Job, card_at, photo
from latentfm_core.config import ModelConfig, SamplingConfig, preset
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import ModelCard, WeightsInfo
from latentfm_core.model_io.folder import load_model, read_card
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.prompts import Prompt
from latentfm_core.types import ImageInput

FIRST = "promptable, first answer without a prompt"
NEW_PROMPT = "promptable, new prompt (features cached)"
NEW_BOX = "promptable, new box (field encoded)"
ONE_CLICK = "promptable, first click (two passes)"
PROMPTED = (FIRST, NEW_PROMPT, NEW_BOX, ONE_CLICK)

UNTRAINED_SIZE = 192
"""Side of the untrained network, as in ``configs/generalist.toml``."""

Question = tuple[ImageInput, Prompt | None]


def own_size(model: str) -> int:
    """Return the side in pixels of the canvas that a model was trained for.

    Raises
    ------
    ModelFolderError
        If there is no such model.
    """
    return read_card(resolve_model(model)).config.data.size if model else UNTRAINED_SIZE


def prompted(job: Job) -> Call:
    """Return a call that answers the next question of a kind: samples, then all maps.

    Every call has another image or prompt, so that only the cached features are reused.
    """
    segmenter = _segmenter(job)
    settings = SamplingConfig(n_samples=job.samples, steps=job.steps)
    questions = _QUESTIONS[job.name](job.size)

    def call() -> object:
        image, prompt = next(questions)
        return segmenter.summarise(segmenter.sample(image, settings, prompt=prompt))

    return call


def _segmenter(job: Job) -> Segmenter:
    if job.model:
        model, card = load_model(resolve_model(job.model))
        return Segmenter(model, card_at(card, job.size))
    # Random weights cost the same as trained ones.
    config = preset("default")
    network = ModelConfig.model_validate(config.model.model_dump() | {"prompts": True})
    config = config.model_copy(update={"model": network})
    torch.manual_seed(0)
    weights = WeightsInfo(sha256="0" * 64, size_bytes=1, dtype="float32")
    card = ModelCard(id="untrained", config=config, weights=weights)
    return Segmenter(LatentFM(network), card_at(card, job.size))


def _images(size: int) -> Iterator[ImageInput]:
    """Yield images that differ in one pixel, so that none is cached."""
    first = photo(size)
    for number in itertools.count():
        pixels = first.pixels.copy()
        pixels[0, 0] = number % 256, number // 256 % 256, 0
        yield replace(first, pixels=pixels)


def _box(size: int, shift: int = 0) -> tuple[float, float, float, float]:
    low, high = size / 4 + shift, size / 2 + shift
    return low, low, high, high


def _first_answers(size: int) -> Iterator[Question]:
    return ((image, None) for image in _images(size))


def _corrections(size: int) -> Iterator[Question]:
    """Yield one box with a click that moves inside it: the field around it stays the same."""
    image, side = photo(size), size // 4
    for number in itertools.count():
        place = (size / 4 + number % side + 0.5, size / 4 + number // side % side + 0.5)
        yield image, Prompt(_box(size), positive=(place,))


def _boxes(size: int) -> Iterator[Question]:
    """Yield boxes that move: so do their fields."""
    image = photo(size)
    return ((image, Prompt(_box(size, number % (size // 4)))) for number in itertools.count())


def _first_clicks(size: int) -> Iterator[Question]:
    """Yield single clicks on new images: the extent of a first answer becomes a box."""
    place = (3 * size / 8, 3 * size / 8)
    return ((image, Prompt(positive=(place,))) for image in _images(size))


_QUESTIONS: dict[str, Callable[[int], Iterator[Question]]] = {
    FIRST: _first_answers,
    NEW_PROMPT: _corrections,
    NEW_BOX: _boxes,
    ONE_CLICK: _first_clicks,
}
