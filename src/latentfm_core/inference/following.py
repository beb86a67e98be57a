"""Follow one object through the planes of a stack: the mask of a plane prompts the next.

All planes use the same seeds, so that sample n of one plane continues in the next. The rule and
its constants were chosen on the validation and training sequences of CVC-ClinicDB
(``docs/stacks.md``).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ImageError
from latentfm_core.images.intensity import is_constant
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.inference.stack_result import (
    Planes,
    StackMaps,
    StackResult,
    calibrated_alike,
    check_fits,
    check_planes,
)
from latentfm_core.inference.tracking import is_present, samples_of_object
from latentfm_core.progress import finish, follow
from latentfm_core.prompts import Prompt, group_of, recorded_group
from latentfm_core.types import Bool, ImageLike, SampleSet, Summary, as_input

MAX_GAP = 1
"""Planes in a row without the object that are skipped, before following ends."""


@dataclass(frozen=True)
class FollowProgress:
    """ODE steps done in a plane.

    Attributes
    ----------
    plane
        The plane, from 0.
    number, planes
        How many planes were visited, with this one, and how many there are.
    done, total
        ODE steps of the current pass.
    """

    plane: int
    number: int
    planes: int
    done: int
    total: int


@dataclass(frozen=True)
class KnownPlane:
    """A plane that is final.

    Attributes
    ----------
    mask
        ``(H, W)``, the object; may be empty.
    samples
        Its samples, None if there are none.
    """

    mask: Bool
    samples: SampleSet | None = None


@dataclass(frozen=True)
class Followed:
    """An object in the planes of a stack.

    Attributes
    ----------
    stack
        Samples and maps of all planes; those without the object are empty.
    start
        The plane where it was prompted, from 0.
    found
        Planes with samples of the object, ascending.
    missed
        Planes where it was searched and not found, ascending.
    """

    stack: StackResult
    start: int
    found: tuple[int, ...]
    missed: tuple[int, ...]

    @property
    def first(self) -> SampleSet:
        """Samples of the plane where the object was prompted, with the seconds of all planes."""
        samples = self.stack.samples[self.start]
        started = self.stack.first if samples is None else samples
        return replace(
            started, record=replace(started.record, seconds=self.stack.first.record.seconds)
        )


def follow_steps(
    segmenter: Segmenter,
    count: int,
    read: Callable[[int], ImageLike],
    start: int,
    settings: SamplingConfig,
    prompt: Prompt | None = None,
    known: Mapping[int, KnownPlane] = MappingProxyType({}),
    keep_probabilities: bool = True,
) -> Generator[FollowProgress, None, Followed]:
    """Follow an object from one plane in both directions, step by step.

    Yields a `FollowProgress` after each ODE step; closing the generator cancels the job within
    one step. Following in a direction ends after `MAX_GAP` + 1 planes without the object. Planes
    are calibrated alike (`calibrated_alike`).

    Parameters
    ----------
    segmenter
        A model that takes prompts.
    count
        Number of planes.
    read
        Returns plane 0 .. `count` - 1; all have the same ``(H, W)``.
    start
        The plane where the object is prompted, or known.
    settings
        Number of samples, seed and solver, for every plane.
    prompt
        The object in the plane `start`; not used if that plane is known.
    known
        Planes that are not sampled; following continues from their masks.
    keep_probabilities
        Keep the probabilities of the samples, ``4 N S^2`` bytes per plane.

    Raises
    ------
    ImageError
        If nothing is found in the plane `start`, nor, if that is known without samples, in any
        other plane; or a plane or the prompt cannot be used.
    ConfigError
        If the model does not take prompts.
    ResourceError
        If memory runs out, or the results would take more than `MEMORY_SHARE` of it.
    """
    if not 0 <= start < count:
        raise ImageError(f"There is no plane {start}. Choose one from 0 to {count - 1}.")
    drawn = [plane.samples for plane in known.values() if plane.samples is not None]
    groups = {recorded_group(samples.prompt) for samples in drawn}
    groups |= {"box"} if start in known else {"box", group_of(prompt)}
    settings = calibrated_alike(segmenter.card, settings, groups)
    job = _Job(segmenter, count, read, settings, dict(known), keep_probabilities)
    yield from job.begin(start, prompt)
    for planes in (range(start + 1, count), range(start - 1, -1, -1)):
        yield from job.go_through(start, planes)
    return job.result(start)


def follow_object(
    segmenter: Segmenter,
    planes: Planes,
    start: int,
    prompt: Prompt,
    settings: SamplingConfig | None = None,
    on_step: Callable[[FollowProgress], None] | None = None,
) -> Followed:
    """Segment an object in one plane, and follow it in both directions.

    Parameters
    ----------
    segmenter
        A model that takes prompts.
    planes
        Planes of equal ``(H, W)``, or their pixels, such as an array ``(P, H, W)``.
    start
        The plane of the prompt, from 0.
    prompt
        The object.
    settings
        Number of samples, seed and solver, for every plane; None uses those of the model card.
    on_step
        Called after each ODE step; may raise to cancel.

    Raises
    ------
    ImageError, ConfigError, ResourceError
        As `follow_steps` does.
    """
    check_planes(planes)
    # Not resolved: threshold and noise scale are those for the prompts of each plane.
    chosen = settings or segmenter.usual()
    count = len(planes)
    steps = follow_steps(segmenter, count, lambda plane: planes[plane], start, chosen, prompt)
    return finish(steps, on_step)


class _Job:
    """Collects the planes of one object."""

    def __init__(
        self,
        segmenter: Segmenter,
        count: int,
        read: Callable[[int], ImageLike],
        settings: SamplingConfig,
        known: dict[int, KnownPlane],
        keep_probabilities: bool,
    ) -> None:
        self._segmenter, self._count, self._read = segmenter, count, read
        self._settings, self._known, self._keep = settings, known, keep_probabilities
        self._maps = StackMaps(count)
        self._drawn: dict[int, SampleSet] = {}
        self._missed: list[int] = []
        self._visited = 0

    def begin(self, start: int, prompt: Prompt | None) -> Generator[FollowProgress, None, None]:
        """Find the object in the plane where it is prompted."""
        self._visited = 1
        if start not in self._known:
            image = as_input(self._read(start), f"plane {start}")
            steps = self._segmenter.sample_steps(image, self._settings, prompt=prompt)
            samples = yield from follow(steps, self._show(start))
            summary = self._keep_plane(start, samples, image.name)
            self._known[start] = KnownPlane(summary.mean_mask > 0)
        if not self._known[start].mask.any():
            raise ImageError(
                f"Nothing was found in plane {start}, so there is no object to follow. "
                "Draw another box, or add a point."
            )

    def go_through(self, start: int, planes: range) -> Generator[FollowProgress, None, None]:
        """Follow the object from plane `start` through others, until it ends."""
        last, gap = self._known[start].mask, 0
        for plane in planes:
            self._visited += 1
            if plane in self._known:
                mask = self._known[plane].mask
            else:
                mask = yield from self._find(plane, last)
            if mask.any():
                last, gap = mask, 0
            elif gap == MAX_GAP:
                break
            else:
                gap += 1

    def result(self, start: int) -> Followed:
        """Return what was found."""
        for plane, known in self._known.items():
            if known.samples is not None:
                self._keep_plane(plane, known.samples, f"plane {plane}")
        if not self._drawn:
            raise ImageError(
                f"The object of plane {start} was not found on any other plane. Prompt it on one "
                "of them."
            )
        drawn = [self._drawn.get(plane) for plane in range(self._count)]
        stack = replace(self._maps.result(drawn), blank=())
        missed = tuple(sorted(self._missed))
        return Followed(stack, start, tuple(sorted(self._drawn)), missed)

    def _find(self, plane: int, last: Bool) -> Generator[FollowProgress, None, Bool]:
        """Return the mask of the object in a plane, empty if it is not found."""
        image, show = as_input(self._read(plane), f"plane {plane}"), self._show(plane)
        nothing = np.zeros(last.shape, np.bool_)
        if not is_constant(image.pixels):
            steps = samples_of_object(self._segmenter, image, last, self._settings)
            samples = yield from follow(steps, show)
            if samples is not None:
                summary = self._segmenter.summarise(samples, self._settings)
                if is_present(summary, last):
                    self._keep_plane(plane, samples, image.name, summary)
                    return summary.mean_mask > 0
        self._missed.append(plane)
        return nothing

    def _keep_plane(
        self, plane: int, samples: SampleSet, name: str, summary: Summary | None = None
    ) -> Summary:
        maps = summary or self._segmenter.summarise(samples, self._settings)
        if not self._maps.ready:
            check_fits(self._count, samples, maps, self._keep)
        self._maps.write(plane, maps, name)
        if samples.settings.get("calibrated") != maps.calibrated:
            samples = samples.with_settings({**samples.settings, "calibrated": maps.calibrated})
        self._drawn[plane] = samples if self._keep else samples.without_probabilities()
        return maps

    def _show(self, plane: int) -> Callable[[Progress], FollowProgress]:
        number, planes = self._visited, self._count
        return lambda step: FollowProgress(plane, number, planes, step.done, step.total)
