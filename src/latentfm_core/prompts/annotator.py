"""Simulated annotator: prompts from an expert mask, and corrections of predictions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from latentfm_core.measures.size import label_pieces
from latentfm_core.prompts.field import extent
from latentfm_core.prompts.prompt import Prompt
from latentfm_core.types import Bool
from latentfm_core.vocabulary import PromptKind


def largest_object(mask: NDArray[Any], kind: str = "masks") -> Bool | None:
    """Return the largest object of a mask, or None if it is empty.

    Parameters
    ----------
    mask
        ``(H, W)``; with kind ``"instances"`` objects are numbered from 1, else they are the
        connected pieces of the foreground.
    """
    pieces = mask if kind == "instances" else label_pieces(mask)[0]
    sizes = np.bincount(np.asarray(pieces).ravel())
    if len(sizes) < 2:
        return None
    sizes[0] = 0
    return np.asarray(pieces == int(sizes.argmax()))


def first_prompt(target: Bool, kind: PromptKind) -> Prompt | None:
    """Return the prompt of a simulated annotator for an object ``(H, W)``.

    A box is the exact extent of the object, a point its deepest pixel; corrections begin with
    a box. None without a prompt, or if the object is empty.
    """
    if kind == "none":
        return None
    if kind == "point":
        centre = centre_of_largest(target)
        return None if centre is None else Prompt(positive=(_middle(centre),))
    box = extent(target)
    return None if box is None else Prompt(box=box)


def corrected(prompt: Prompt, answer: Bool, target: Bool) -> Prompt:
    """Add a point in the middle of the largest error of a prediction to the prompt.

    Parameters
    ----------
    answer, target
        ``(H, W)`` bool, the prediction and the target.
    """
    pixel = centre_of_largest(answer != target)
    if pixel is None:
        return prompt
    if target[pixel]:
        return replace(prompt, positive=(*prompt.positive, _middle(pixel)))
    return replace(prompt, negative=(*prompt.negative, _middle(pixel)))


def centre_of_largest(
    region: Bool, rng: np.random.Generator | None = None
) -> tuple[int, int] | None:
    """Return the deepest pixel of the largest piece of `region`.

    With `rng` it is any pixel at least half as deep. None if `region` is empty.
    """
    part = largest_object(region)
    box = None if part is None else extent(part)
    if part is None or box is None:
        return None
    top, left, bottom, right = map(int, box)
    inside = np.pad(part[top:bottom, left:right], 1)
    depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
    if rng is None:
        flat_index = int(depth.argmax())
    else:
        deep = np.flatnonzero(depth >= depth.max() / 2)
        flat_index = int(deep[rng.integers(len(deep))])
    row, column = np.unravel_index(flat_index, depth.shape)
    return top + int(row), left + int(column)


def _middle(pixel: tuple[int, int]) -> tuple[float, float]:
    return pixel[0] + 0.5, pixel[1] + 0.5
