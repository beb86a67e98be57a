"""Objects that were followed through a stack, and the review of all their planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latentfm_core.config import SamplingConfig
from napari_latentfm.sampling.stack import StackTarget

if TYPE_CHECKING:
    from napari.layers import Image

    from latentfm_core.types import SampleSet
    from napari_latentfm.layers.stacks import PlaneStack
    from napari_latentfm.prompting.objects import ObjectBook, PromptObject
    from napari_latentfm.results.session import ReviewSession
    from napari_latentfm.results.stack_review import StackReview
    from napari_latentfm.sampling.plane import Place

DRAWN = ("n_samples", "steps", "solver", "seed", "distilled")
"""Settings that all planes share with the samples of the first one."""


class FollowedStacks:
    """Records the planes through which each object was followed.

    Only the last review of an image is kept, whose maps are in the layers. Other objects are
    summarised again from the samples of their planes.
    """

    def __init__(self, session: ReviewSession, book: ObjectBook) -> None:
        self._session, self._book = session, book
        self._planes: dict[tuple[str, int], PlaneStack] = {}
        self._last: dict[str, StackReview] = {}

    def remember(self) -> None:
        """Remember the stack under review, if there is one."""
        stack = self._session.stack
        if stack is not None:
            key = str(stack.layer.unique_id)
            self._last[key] = stack
            if stack.label is not None:
                self._planes[key, stack.label] = stack.planes

    def forget(self, image: Image) -> None:
        """Forget the stacks of an image that was removed."""
        gone = str(image.unique_id)
        self._last.pop(gone, None)
        self._planes = {key: each for key, each in self._planes.items() if key[0] != gone}

    def review_of(self, place: Place, one: PromptObject) -> StackReview | None:
        """Return the review of all planes of an object, if the layers of the stack show it."""
        stack = self._last.get(str(place.layer.unique_id))
        if (
            stack is None
            or stack.label != one.number
            or stack.planes.number_of(place.plane) is None
        ):
            return None
        own = self._samples(place.layer, one, stack.planes)
        same = all(_equal(each, stack.samples_of(number)) for number, each in enumerate(own))
        return stack if same else None

    def without_object(self, place: Place) -> StackReview | None:
        """Return the review of the model's own samples of the stack that a plane belongs to."""
        stack = self._last.get(str(place.layer.unique_id))
        if stack is None or stack.label is not None:
            return None
        return None if stack.planes.number_of(place.plane) is None else stack

    def target(self, place: Place, one: PromptObject) -> tuple[StackTarget, SamplingConfig] | None:
        """Return what shows an object on all planes again; None if it is on this one alone."""
        planes = self._planes.get((str(place.layer.unique_id), one.number))
        if planes is None or one.samples is None or planes.number_of(place.plane) is None:
            return None
        every = self._samples(place.layer, one, planes)
        drawn = tuple(None if each is None else fitting(each, one.samples) for each in every)
        if sum(each is not None for each in drawn) < 2:
            return None
        target = StackTarget(place.layer, planes, one.model, drawn, label=one.number)
        return target, SamplingConfig(**one.samples.settings)

    def _samples(
        self, image: Image, one: PromptObject, planes: PlaneStack
    ) -> list[SampleSet | None]:
        found: list[SampleSet | None] = [None] * len(planes)
        for each in self._book.everywhere(image, one.number):
            number = planes.number_of(each.plane)
            if number is not None:
                found[number] = each.samples
        return found


def fitting(samples: SampleSet | None, start: SampleSet | None) -> SampleSet | None:
    """Return samples if model and settings are those of other samples of the object."""
    if samples is None or start is None or samples.record.model_hash != start.record.model_hash:
        return None
    same = all(samples.settings.get(name) == start.settings.get(name) for name in DRAWN)
    return samples if same else None


def _equal(one: SampleSet | None, other: SampleSet | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.probabilities is other.probabilities
