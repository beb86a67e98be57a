"""Prompted objects by plane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.prompts import Prompt
from latentfm_core.types import Bool, Mask, SampleSet
from napari_latentfm.layers.annotation_record import PlaneIndex
from napari_latentfm.layers.planes import Plane
from napari_latentfm.layers.pyramid import level_zero

if TYPE_CHECKING:
    from napari.layers import Image

HISTORY = 100
"""Largest number of marks that can be undone."""
NAMED = 6
"""Largest number of planes that a message names."""


@dataclass(frozen=True)
class Patch:
    """A mask ``(H, W)``, stored as the part with foreground."""

    top: int
    left: int
    part: Bool

    @classmethod
    def of(cls, mask: Mask) -> Patch:
        """Return the patch of a mask."""
        inside = np.asarray(mask, bool)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not rows.size:
            return cls(0, 0, np.zeros((0, 0), bool))
        top, left = int(rows[0]), int(columns[0])
        return cls(top, left, inside[top : rows[-1] + 1, left : columns[-1] + 1].copy())

    @property
    def pixels(self) -> int:
        """Number of pixels with foreground."""
        return int(np.count_nonzero(self.part))

    def whole(self, shape: tuple[int, int]) -> Bool:
        """Return the mask again."""
        mask = np.zeros(shape, bool)
        self.paint(mask, True)
        return mask

    def paint(self, values: NDArray[Any], label: int) -> None:
        """Set the pixels of the mask in an array ``(H, W)`` to a label."""
        height, width = self.part.shape
        window = values[self.top : self.top + height, self.left : self.left + width]
        window[self.part] = label


@dataclass(eq=False)
class PromptObject:
    """One object on one plane.

    Attributes
    ----------
    number
        Label with which it is written into the annotation. An object that was followed through
        the planes of a stack has the same on each.
    prompt
        All marks, as they were read last.
    visible
        Whether its outline and marks are shown while another object is current.
    closed
        Whether it was taken: the next mark begins another object.
    taken_for
        The prompt that it was taken for last; None if it was not.
    followed
        Whether it was found here by following it from another plane, and not corrected since.
    samples, model, mask
        The last result; None and "" before the first.
    drawn_for
        The prompt that it was drawn for.
    domain_score
        Domain score of the plane; None if unknown.
    history
        Earlier prompts, the oldest first.
    """

    number: int
    plane: Plane
    name: str
    prompt: Prompt = field(default_factory=Prompt)
    visible: bool = True
    closed: bool = False
    taken_for: Prompt | None = None
    followed: bool = False
    samples: SampleSet | None = None
    model: str | Path = ""
    mask: Patch | None = None
    drawn_for: Prompt | None = None
    domain_score: float | None = None
    history: list[Prompt] = field(default_factory=list)

    @property
    def answered(self) -> bool:
        """Whether the result is that of all marks: the run for the last one may be cancelled."""
        return self.samples is not None and self.drawn_for is self.prompt

    @property
    def not_found(self) -> bool:
        """Whether the last result is empty."""
        return self.mask is not None and not self.mask.pixels

    def answer(
        self,
        samples: SampleSet,
        mask: Mask,
        model: str | Path,
        domain_score: float | None = None,
        prompt: Prompt | None = None,
    ) -> None:
        """Keep a result; without `prompt`, one that is only shown again."""
        self.drawn_for = prompt or self.drawn_for
        self.samples, self.mask, self.model = samples, Patch.of(mask), model
        self.domain_score = domain_score

    @property
    def refined(self) -> bool:
        """Whether it has other marks than when it was taken."""
        return self.taken_for is not None and self.taken_for is not self.prompt

    def take(self) -> None:
        """Record that its mask is in the annotation."""
        self.closed, self.taken_for = True, self.prompt

    def reopen(self) -> None:
        """Record that taking it was undone."""
        self.closed, self.taken_for = False, None

    def forget_answer(self) -> None:
        """Discard the result of marks that were removed."""
        self.samples, self.mask = None, None

    def without_arrays(self) -> PromptObject:
        """Return the object without its result, for long-term storage; strokes are copied."""
        small = [each for each in self.history if each.strokes is None and each.mask is None]
        return replace(self, samples=None, mask=None, drawn_for=None, history=small)

    def remember(self) -> None:
        """Add the prompt to the history, for undo."""
        self.history.append(self.prompt)
        del self.history[:-HISTORY]


class ObjectBook:
    """All objects of a viewer, and the current one of each plane."""

    def __init__(self) -> None:
        # By the id of the image: napari hands plugins proxies of its layers, new ones each time.
        self._objects: dict[str, list[PromptObject]] = {}
        self._current: dict[str, dict[PlaneIndex, PromptObject]] = {}

    def forget(self, image: Image) -> bool:
        """Forget all objects of a removed image; return whether there were any."""
        self._current.pop(str(image.unique_id), None)
        return bool(self._objects.pop(str(image.unique_id), None))

    def on(self, image: Image, plane: Plane) -> list[PromptObject]:
        """Return the objects of a plane, by number."""
        return [one for one in self.all(image) if one.plane.index == plane.index]

    def all(self, image: Image) -> list[PromptObject]:
        """Return the objects of all planes of an image, by number.

        Those of an array of another shape, which the image had before, are left out.
        """
        shape = tuple(level_zero(image).shape[: image.ndim])
        every = self._objects.get(str(image.unique_id), [])
        fitting = (one for one in every if one.plane.layer_shape == shape)
        return sorted(fitting, key=lambda one: one.number)

    def find(self, image: Image, number: int, plane: Plane) -> PromptObject | None:
        """Return the object of a number on a plane, or None."""
        return next((one for one in self.on(image, plane) if one.number == number), None)

    def everywhere(self, image: Image, number: int) -> list[PromptObject]:
        """Return the object of a number on all planes that have it."""
        return [one for one in self.all(image) if one.number == number]

    def current(self, image: Image, plane: Plane) -> PromptObject | None:
        """Return the current object, or None: the next mark begins one."""
        one = self._current.get(str(image.unique_id), {}).get(plane.index)
        return one if one is not None and one.plane == plane else None

    def choose(self, image: Image, plane: Plane, chosen: PromptObject | None) -> None:
        """Make an object the current one, or none."""
        places = self._current.setdefault(str(image.unique_id), {})
        places.pop(plane.index, None)
        if chosen is not None:
            places[plane.index] = chosen

    def add(
        self, image: Image, plane: Plane, name: str, above: int, number: int = 0
    ) -> PromptObject:
        """Add an object and make it the current one.

        Parameters
        ----------
        above
            The highest label that something else has.
        number
            Its label; 0: the next one that is free.
        """
        highest = max([above, *(one.number for one in self.all(image))])
        made = PromptObject(number or highest + 1, plane, name)
        self.put(image, made)
        return made

    def put(self, image: Image, one: PromptObject) -> None:
        """Add an object that was made before, and make it the current one."""
        self._objects.setdefault(str(image.unique_id), []).append(one)
        self.choose(image, one.plane, one)

    def remove(self, image: Image, gone: PromptObject) -> None:
        """Forget an object."""
        self._objects[str(image.unique_id)].remove(gone)
        if self.current(image, gone.plane) is gone:
            self.choose(image, gone.plane, None)


def listed(objects: Sequence[PromptObject]) -> str:
    """Return for example "object 2" or "objects 1, 2 and 4"; each number once."""
    numbers = list(dict.fromkeys(str(one.number) for one in objects))
    if len(numbers) == 1:
        return f"object {numbers[0]}"
    return f"objects {', '.join(numbers[:-1])} and {numbers[-1]}"


def count_objects(marked: Iterable[tuple[int, PlaneIndex]]) -> int:
    """Return how many objects are marked, from the number and the plane of each entry.

    One number on several planes is one object, and twice on the same plane it is two.
    """
    most: dict[int, int] = {}
    for (number, _), times in Counter(marked).items():
        most[number] = max(most.get(number, 0), times)
    return sum(most.values())


def on_planes(objects: Iterable[PromptObject]) -> str:
    """Return for example " on planes [1], [4]"; "" for an image with one plane."""
    planes = {tuple(one.plane.fixed.values()): one.plane for one in objects}
    names = [planes[at].label().strip() for at in sorted(planes)]
    if not any(names):
        return ""
    if len(names) > NAMED:
        return f" on {len(names)} planes"
    return f" on plane{'s' * (len(names) > 1)} {', '.join(names)}"
