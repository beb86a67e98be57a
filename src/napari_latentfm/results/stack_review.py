"""Review of a stack: the plane on screen is the one under review."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from napari.layers import Image
from psygnal import Signal

from napari_latentfm.background.image_request import Result
from napari_latentfm.layers.stacks import PlaneStack, number_on_screen
from napari_latentfm.results.session import Reviewed

if TYPE_CHECKING:
    import napari

    from latentfm_core.inference.stack import StackResult
    from latentfm_core.types import SampleSet

SAME_DRAW = ("n_samples", "seed", "steps", "solver", "distilled", "calibrated", "precision")
"""Settings that all planes of a followed object share; others are fitted for a kind of prompt."""
SAME_SETTINGS = (*SAME_DRAW, "noise_scale", "threshold")
"""A plane that was sampled again with the same values of these belongs to its stack."""


@dataclass(frozen=True)
class StackRun(Result):
    """The result of a run over a stack.

    `samples` are those of its first plane, with the seconds of all, and `summary` has an axis
    for the planes before ``(H, W)``.
    """

    stack: StackResult
    _pixels: list[int] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def plane_pixels(self) -> list[int]:
        """Pixels of the mean mask on each plane, counted at the first call.

        A job counts them in its worker thread: that takes long for a large stack.
        """
        if not self._pixels:
            self._pixels.extend(int(np.count_nonzero(each)) for each in self.summary.mean_mask)
        return self._pixels

    def with_plane(self, number: int, result: Result) -> Self:
        """Return the result with a new one of a plane, whose maps are written into its arrays."""
        pixels = self.plane_pixels.copy()
        pixels[number] = int(np.count_nonzero(result.summary.mean_mask))
        stack = self.stack.with_plane(number, result.samples, result.summary)
        run = replace(self, stack=stack)
        run._pixels.extend(pixels)
        return run


class StackReview:
    """The results of all planes of a stack, one of which is under review.

    Parameters
    ----------
    viewer
        Whose slider chooses the plane.
    label
        Label of the object that was followed through the planes; None for the model's classes.

    Attributes
    ----------
    moved
        Emitted in the GUI thread with the plane to review when the slider goes to another one:
        None if there are no samples of it.
    """

    moved = Signal(object)

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        layer: Image,
        planes: PlaneStack,
        model: str | Path,
        run: StackRun,
        label: int | None = None,
    ) -> None:
        self.layer, self.planes = layer, planes
        self.model, self.label = model, label
        self._dims, self._run = viewer.dims, run
        self._renewed: dict[int, Result] = {}
        self._number = 0

    def begin(self) -> None:
        """Follow the slider, from where it is now."""
        number = number_on_screen(self.layer, self._dims, self.planes)
        self._number = self._number if number is None else number
        self._dims.events.current_step.connect(self._on_step)

    @property
    def current(self) -> Reviewed | None:
        """The plane that the slider showed last; None for a blank one."""
        return self.at(self._number)

    @property
    def run(self) -> StackRun:
        """The result of all planes, with the new samples of planes that were sampled again."""
        return self._run

    def samples_of(self, number: int) -> SampleSet | None:
        """Return the samples of one plane; None for a blank one."""
        return self._run.stack.samples[number]

    def at(self, number: int) -> Reviewed | None:
        """Return one plane and its result; None for a blank one."""
        stack = self._run.stack
        result = self._renewed.get(number)
        if result is None:
            samples = stack.samples[number]
            if samples is None:
                return None
            result = Result(samples, stack.summary_of(number), self._run.device)
        return Reviewed(self.layer, self.planes.at(number), self.model, result, self.label)

    def number_of(self, reviewed: Reviewed) -> int | None:
        """Return which plane a new result belongs to; None if it is not of this stack.

        It belongs if its settings are those of the others, with or without strokes, and it is of
        the same object.
        """
        if reviewed.layer is not self.layer or reviewed.label != self.label:
            return None
        names = SAME_SETTINGS if self.label is None else SAME_DRAW
        old, new = self._run.samples, reviewed.result.samples
        same = old.model_hash == new.model_hash and all(
            old.settings.get(name) == new.settings.get(name) for name in names
        )
        return self.planes.number_of(reviewed.plane) if same else None

    def renew(self, number: int, result: Result) -> None:
        """Replace the result of one plane, and review it if it is on screen."""
        self._renewed[number] = result
        self._run = self._run.with_plane(number, result)
        if number == self._number:
            self.moved.emit(self.current)

    def release(self) -> None:
        """Stop following the slider."""
        self._dims.events.current_step.disconnect(self._on_step)

    def _on_step(self, _event: Any = None) -> None:
        number = number_on_screen(self.layer, self._dims, self.planes)
        if number is not None and number != self._number:
            self._number = number
            self.moved.emit(self.current)
