"""Segment a 3D or time stack plane by plane.

All planes use the same seeds: sample n starts from the same noise in each, so that its outline is
coherent across planes (``docs/benchmarks.md``, "Stacks"). The result for a plane equals that of
the `Segmenter` for the plane alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from latentfm_core.config import SamplingConfig
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
from latentfm_core.progress import finish, follow
from latentfm_core.prompts import recorded_group
from latentfm_core.types import ImageLike, SampleSet, as_input

__all__ = ["StackProgress", "StackResult", "segment_stack", "stack_steps", "summarise_stack"]


@dataclass(frozen=True)
class StackProgress:
    """Progress at `plane` (from 0) of `planes`; ODE steps count over all planes."""

    plane: int
    planes: int
    done: int
    total: int


def stack_steps(
    segmenter: Segmenter,
    count: int,
    read: Callable[[int], ImageLike],
    settings: SamplingConfig,
    keep_probabilities: bool = True,
) -> Generator[StackProgress, None, StackResult]:
    """Segment plane after plane with the same seeds.

    Yields a `StackProgress` after each ODE step and returns the result; closing the generator
    cancels the job within one step. Planes are read one at a time, and their maps written into
    arrays of the whole stack.

    Parameters
    ----------
    segmenter
        The model.
    count
        Number of planes.
    read
        Returns plane 0 .. `count` - 1; all have the same ``(H, W)``.
    settings
        Number of samples, seed and solver, for every plane.
    keep_probabilities
        Keep the probabilities for `summarise_stack`, ``4 N S^2`` bytes per plane.

    Raises
    ------
    ImageError
        If a plane cannot be used, sizes differ, or every plane is blank.
    ResourceError
        If memory runs out, or the results would take more than `MEMORY_SHARE` of it.
    """
    drawn: list[SampleSet | None] = []
    maps = StackMaps(count)
    per_plane = 1
    for index in range(count):
        image = as_input(read(index), f"plane {index}")
        if is_constant(image.pixels):
            drawn.append(None)
            yield StackProgress(index, count, (index + 1) * per_plane, count * per_plane)
            continue

        def show(step: Progress, index: int = index) -> StackProgress:
            nonlocal per_plane
            per_plane = step.total
            return StackProgress(index, count, index * per_plane + step.done, count * per_plane)

        samples = yield from follow(segmenter.sample_steps(image, settings), show)
        summary = segmenter.summarise(samples, settings)
        if not maps.ready:
            check_fits(count, samples, summary, keep_probabilities)
        maps.write(index, summary, image.name)
        drawn.append(samples if keep_probabilities else samples.without_probabilities())
    return maps.result(drawn)


def segment_stack(
    segmenter: Segmenter,
    planes: Planes,
    settings: SamplingConfig | None = None,
    on_step: Callable[[StackProgress], None] | None = None,
) -> StackResult:
    """Segment all planes; `on_step` is called after each ODE step and may raise to cancel.

    Parameters
    ----------
    segmenter
        The model.
    planes
        Planes of equal ``(H, W)``, or their pixels, such as an array ``(P, H, W)``.
    settings
        Number of samples, seed and solver, for every plane; None uses those of the model card.
    on_step
        Called with the progress.

    Raises
    ------
    ImageError, ResourceError
        As `stack_steps` does.
    """
    check_planes(planes)
    chosen = segmenter.resolved(settings)
    steps = stack_steps(segmenter, len(planes), lambda plane: planes[plane], chosen)
    return finish(steps, on_step)


def summarise_stack(
    segmenter: Segmenter, samples: Sequence[SampleSet | None], settings: SamplingConfig
) -> Generator[StackProgress, None, StackResult]:
    """Summarise the samples of a stack again, such as without calibration, without sampling.

    Yields after each plane.

    The samples of the result carry the `settings`, resolved for the prompt of their plane.
    Planes are calibrated alike (`calibrated_alike`).

    Parameters
    ----------
    segmenter
        The model that drew the samples.
    samples
        Samples of each plane; None for a blank one.
    settings
        Threshold and calibration. Without a threshold each plane keeps its own.
    """
    count = len(samples)
    groups = [None if each is None else recorded_group(each.prompt) for each in samples]
    settings = calibrated_alike(segmenter.card, settings, filter(None, groups))
    maps = StackMaps(count)
    drawn: list[SampleSet | None] = []
    for index, (plane_samples, group) in enumerate(zip(samples, groups, strict=True)):
        if plane_samples is None or group is None:
            drawn.append(None)
        else:
            own = settings.threshold or plane_samples.settings.get("threshold")
            chosen = settings.model_copy(update={"threshold": own})
            maps.write(index, segmenter.summarise(plane_samples, chosen), f"plane {index}")
            used = segmenter.resolved(chosen, group).model_dump(mode="json")
            drawn.append(plane_samples.with_settings(used))
        yield StackProgress(index, count, index + 1, count)
    return maps.result(drawn)
