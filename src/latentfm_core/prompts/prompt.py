"""The prompt for an object, in pixels of the image."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.correction.strokes import check_strokes
from latentfm_core.errors import ImageError
from latentfm_core.types import Bool, reject_masked
from latentfm_core.vocabulary import PromptGroup

Box = tuple[float, float, float, float]
"""``(top, left, bottom, right)`` in pixels; the corners of pixel (i, j) are i and i + 1."""

Point = tuple[float, float]
"""``(row, column)`` in pixels; the centre of pixel (i, j) is ``(i + 0.5, j + 0.5)``."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """Prompt for one object.

    Attributes
    ----------
    positive, negative
        Points in the object and outside it.
    strokes
        ``(H, W)`` integers: 0 is unmarked, 1 is background, 2 is
        the object.
    mask
        ``(H, W)`` bool, a rough outline of the object.
    source
        What the file of prompts says about the object (label, category, ids), as JSON values.
        It has no effect on samples.

    Raises
    ------
    ImageError
        If a part of it has another form, or masked values.
    """

    box: Box | None = None
    positive: tuple[Point, ...] = ()
    negative: tuple[Point, ...] = ()
    strokes: NDArray[Any] | None = None
    mask: Bool | None = None
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("positive", "negative"):
            points = _sequence(getattr(self, name), "Points are a list of (row, column)")
            form = "A point is (row, column) in pixels"
            object.__setattr__(self, name, tuple(_numbers(point, form) for point in points))
        if self.box is not None:
            form = "A box is (top, left, bottom, right) in pixels"
            object.__setattr__(self, "box", _numbers(self.box, form))
        for name in ("strokes", "mask"):
            array = getattr(self, name)
            reject_masked(array, name)
            if array is not None and not isinstance(array, np.ndarray):
                raise ImageError(
                    f"The {name} of a prompt must be an array (H, W), not {type(array).__name__}. "
                    "Convert it with numpy.asarray."
                )

    @property
    def is_empty(self) -> bool:
        """Whether the prompt is empty."""
        marks = self.positive or self.negative
        return not marks and self.box is None and self.strokes is None and self.mask is None

    def to_json(self) -> dict[str, Any]:
        """Return the prompt as JSON values; of strokes and mask number of pixels and digest."""
        values: dict[str, Any] = {}
        if self.box is not None:
            values["box"] = [float(v) for v in self.box]
        for name in ("positive", "negative"):
            points = getattr(self, name)
            if points:
                values[name] = [[float(v) for v in point] for point in points]
        for name, array in (("stroke", self.strokes), ("mask", self.mask)):
            if array is not None:
                values[f"{name}_pixels"] = int(np.count_nonzero(array))
                values[f"{name}_digest"] = _digest(array)
        return values


def _digest(array: NDArray[Any]) -> str:
    """Return a digest of labels and their shape, whatever their type."""
    content = np.ascontiguousarray(array, dtype=np.uint8)
    return hashlib.sha256(f"{array.shape}".encode() + content.tobytes()).hexdigest()


def _sequence(values: Any, form: str) -> tuple[Any, ...]:
    if isinstance(values, str | bytes):
        raise ImageError(f"{form}, not {values!r}.")
    try:
        return tuple(values)
    except TypeError:
        raise ImageError(f"{form}, not {values!r}.") from None


def _numbers(values: Any, form: str) -> tuple[float, ...]:
    """Return numbers of any kind and container as floats; text is not a number."""
    given = _sequence(values, form)
    try:
        if any(isinstance(value, str | bytes) for value in given):
            raise ValueError
        return tuple(float(value) for value in given)
    except (TypeError, ValueError):
        raise ImageError(f"{form}, not {given}.") from None


def group_of(prompt: Prompt | None) -> PromptGroup:
    """Return the kind of prompt that selects the calibration."""
    if prompt is None or prompt.is_empty:
        return "none"
    return "point" if prompt.box is None and prompt.mask is None else "box"


def recorded_group(prompt: Mapping[str, Any]) -> PromptGroup:
    """Return the same for a prompt that `Prompt.to_json` recorded."""
    if not prompt:
        return "none"
    return "box" if "box" in prompt or "mask_pixels" in prompt else "point"


def check_prompt(prompt: Prompt, shape: tuple[int, int]) -> Prompt:
    """Return the prompt with its box clipped to an image of `shape` ``(H, W)``.

    Raises
    ------
    ImageError
        If a part of it does not fit the image, or it is empty.
    """
    if prompt.is_empty:
        raise ImageError("The prompt is empty. Give a box, a point, strokes or a rough mask.")
    box = None if prompt.box is None else _clipped(prompt.box, shape)
    for point in (*prompt.positive, *prompt.negative):
        _check_point(point, shape)
    _reject_contradiction(prompt)
    strokes = prompt.strokes
    if strokes is not None:
        strokes = check_strokes(strokes, shape, 1)
    mask = prompt.mask
    if mask is not None:
        mask = _checked_mask(mask, shape)
    return Prompt(box, prompt.positive, prompt.negative, strokes, mask)


def _clipped(box: Box, shape: tuple[int, int]) -> Box:
    if len(box) != 4 or not all(math.isfinite(value) for value in box):
        raise ImageError(f"A box is (top, left, bottom, right) in pixels, not {box}.")
    top, left, bottom, right = box
    if top >= bottom or left >= right:
        raise ImageError(
            f"The box {box} is empty. Give (top, left, bottom, right) with top < bottom and "
            "left < right."
        )
    # A box of whole pixels may be the extent of a mask.
    if any(value % 1 for value in box):
        reject_fractions(box)
    if max(bottom - top, right - left) < 1:
        raise ImageError(
            f"The box {box} is smaller than a pixel. Give (top, left, bottom, right) in pixels "
            "around the object, or a point in it."
        )
    height, width = shape
    clipped = (max(0.0, top), max(0.0, left), min(float(height), bottom), min(float(width), right))
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise ImageError(
            f"The box {box} is outside the image of {height} x {width} pixels (rows x columns)."
        )
    return clipped


def reject_fractions(box: Box) -> None:
    """Raise `ImageError` for a box that was typed as fractions of the image."""
    if min(box) >= 0 and max(box) <= 1:
        raise ImageError(
            f"The box {box} lies in one pixel. Give pixels, not fractions of the image."
        )


def _check_point(point: Point, shape: tuple[int, int]) -> None:
    inside = len(point) == 2 and all(
        math.isfinite(value) and 0 <= value < side for value, side in zip(point, shape, strict=True)
    )
    if not inside:
        raise ImageError(
            f"The point {point} is outside the image of {shape[0]} x {shape[1]} pixels (rows x "
            "columns). Points are (row, column)."
        )


def _reject_contradiction(prompt: Prompt) -> None:
    inside, outside = (
        {(math.floor(row), math.floor(column)): (row, column) for row, column in points}
        for points in (prompt.positive, prompt.negative)
    )
    both = sorted(inside.keys() & outside.keys())
    if both:
        raise ImageError(
            f"The point {inside[both[0]]} is marked both as inside the object and as outside it. "
            "Remove one of the two points."
        )


def _checked_mask(mask: NDArray[Any], shape: tuple[int, int]) -> Bool:
    if mask.shape != shape:
        raise ImageError(
            f"The rough mask has {mask.shape} pixels, the image {shape}. Draw it on this image."
        )
    if mask.dtype != np.bool_ and not np.isin(mask, (0, 1)).all():
        raise ImageError(
            "The rough mask has values other than 0 and 1, so its outline is unclear. Pass "
            "booleans, for example probabilities > 0.5, or labels == 3."
        )
    found = np.asarray(mask, dtype=np.bool_)
    if not found.any():
        raise ImageError("The rough mask is empty. Draw it, or leave it out.")
    return found
