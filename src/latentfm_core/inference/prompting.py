"""Validate prompts, and derive a box from a click."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from latentfm_core.config import PromptConfig
from latentfm_core.correction.strokes import FOREGROUND
from latentfm_core.errors import ConfigError, ImageError
from latentfm_core.images.canvas import from_canvas
from latentfm_core.inference.box_alignment import align_to_box
from latentfm_core.model_io.card import ModelCard
from latentfm_core.prompts.field import box_iou, extent, including_marks
from latentfm_core.prompts.prompt import Box, Prompt, check_prompt
from latentfm_core.types import Bool, Float32, Geometry

CONTRADICTED = 0.95
"""Lowest IoU of a box and the box around it and the positive marks: a brush may cross its edge."""


def checked_prompt(
    prompt: Prompt | None, strokes: np.ndarray | None, shape: tuple[int, int], card: ModelCard
) -> Prompt | None:
    """Return the prompt combined with the strokes, or None if there is nothing to condition on.

    Parameters
    ----------
    strokes
        Validated strokes ``(H, W)``. A model without prompts uses them only for guidance.
    shape
        ``(H, W)`` of the image.

    Raises
    ------
    ImageError
        If the prompt does not fit the image, or is not a `Prompt`.
    ConfigError
        If the model does not take prompts.
    """
    if prompt is not None and not isinstance(prompt, Prompt):
        raise ImageError(
            f"A {type(prompt).__name__} is not a prompt. Pass Prompt(box=...), "
            "Prompt(positive=...) or the like."
        )
    if not card.config.model.prompts:
        if prompt is None:
            return None
        raise ConfigError(
            f"The model {card.id} does not take prompts. Choose a model that does, for example "
            "generalist, or omit the prompt."
        )
    if strokes is not None:
        prompt = replace(prompt or Prompt(), strokes=strokes)
    return None if prompt is None else check_prompt(prompt, shape)


def checked_prompts(
    prompts: Sequence[Prompt], shape: tuple[int, int], card: ModelCard
) -> list[Prompt]:
    """Return validated prompts of several objects.

    Raises
    ------
    ImageError
        If one of them is not a prompt or does not fit the image; the message has its index.
    ConfigError
        If the model does not take prompts.
    """
    if isinstance(prompts, Prompt):
        raise ImageError("prompts is a single Prompt, not a list. Pass [prompt].")
    checked: list[Prompt] = []
    for index, prompt in enumerate(prompts):
        try:
            found = checked_prompt(prompt, None, shape, card)
            if found is None:
                raise ImageError("None is not a prompt. Leave it out, or use sample without one.")
        except ImageError as error:
            raise ImageError(f"prompts[{index}]: {error}") from None
        checked.append(found)
    return checked


def wants_second_pass(prompt: Prompt | None, settings: PromptConfig) -> bool:
    """Return whether a first pass must find the extent of the object."""
    if prompt is None or not settings.second_pass:
        return False
    if prompt.box is not None or prompt.mask is not None:
        return False
    painted = prompt.strokes is not None and bool((prompt.strokes >= FOREGROUND).any())
    return bool(prompt.positive) or painted


def with_box(prompt: Prompt, probabilities: Float32, geometry: Geometry) -> Prompt:
    """Return the prompt with the extent of a first result as its box.

    Uses the components of the mean mask that the marks touch, or all of it if they touch none.
    Without any foreground the prompt is returned unchanged.

    Parameters
    ----------
    probabilities
        ``(N, S, S)`` of the first result.
    """
    mean = from_canvas(probabilities.mean(axis=0, dtype=np.float32), geometry)
    box = _extent_of_marked(mean >= 0.5, prompt)
    return prompt if box is None else replace(prompt, box=_with_marks(box, prompt))


def fitted_to_prompt(
    probabilities: Float32, prompt: Prompt | None, geometry: Geometry, settings: PromptConfig
) -> Float32:
    """Return samples ``(N, S, S)``, aligned with the user's box if it is to be trusted.

    The box of a rough mask is as rough as the mask, and positive marks outside a box contradict it.
    """
    if prompt is None or prompt.box is None or prompt.mask is not None:
        return probabilities
    share, marked = settings.box_alignment, including_marks(prompt.box, prompt)
    if not share or box_iou(prompt.box, marked) < CONTRADICTED:
        return probabilities
    return align_to_box(probabilities, prompt.box, geometry, share)


def _with_marks(box: Box, prompt: Prompt) -> Box:
    """Extend a box to positive points, which the first result may have missed."""
    top, left, bottom, right = box
    for row, column in prompt.positive:
        top, bottom = min(top, float(int(row))), max(bottom, float(int(row) + 1))
        left, right = min(left, float(int(column))), max(right, float(int(column) + 1))
    return top, left, bottom, right


def _extent_of_marked(mask: Bool, prompt: Prompt) -> Box | None:
    pieces, _ = ndimage.label(mask)
    marked = {int(pieces[int(row), int(column)]) for row, column in prompt.positive}
    if prompt.strokes is not None:
        marked |= set(np.unique(pieces[prompt.strokes >= FOREGROUND]).tolist())
    marked.discard(0)
    return extent(np.isin(pieces, list(marked)) if marked else mask)
