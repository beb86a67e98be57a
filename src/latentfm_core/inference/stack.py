"""Segment a 3D or time stack plane by plane.

All planes use the same seeds: sample n starts from the same noise in each, so that its outline is
coherent across planes (``docs/benchmarks.md``, "Stacks"). The result for a plane equals that of
the `Segmenter` for the plane alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ImageError, ResourceError
from latentfm_core.images.intensity import is_constant
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.progress import finish, follow
from latentfm_core.types import ImageInput, SampleSet, Summary

MEMORY_SHARE = 0.5
"""Maximum share of the machine's memory for the results of a stack."""

_MAPS = (
    "mean_probability",
    "mean_mask",
    "variance",
    "confidence",
    "sample_masks",
    "class_confidence",
)


@dataclass(frozen=True)
class StackProgress:
    """Progress at `plane` (from 1) of `planes`; ODE steps count over all planes."""

    plane: int
    planes: int
    done: int
    total: int


@dataclass(frozen=True)
class StackResult:
    """Samples and maps of P planes.

    Attributes
    ----------
    samples
        Samples of each plane; None for a blank one. Their probabilities are empty if not kept.
    summary
        Maps of all planes, with an axis of length P before ``(H, W)``, such as
        ``(N, P, H, W)`` sample masks.
    blank
        Constant planes, which have nothing to segment. Their masks are empty and their
        confidence is 1.
    expected_dice
        Of the mean mask of each plane, as in `Summary`; None for a blank one.
    domain_score
        Of each plane, as in `Summary`; None for a blank one.
    """

    samples: tuple[SampleSet | None, ...]
    summary: Summary
    blank: tuple[int, ...] = ()
    expected_dice: tuple[float | None, ...] = ()
    domain_score: tuple[float | None, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def first(self) -> SampleSet:
        """Samples of the first non-blank plane, with the seconds of all planes."""
        drawn = [samples for samples in self.samples if samples is not None]
        seconds = sum(samples.record.seconds for samples in drawn)
        return replace(drawn[0], record=replace(drawn[0].record, seconds=seconds))

    def summary_of(self, plane: int) -> Summary:
        """Return the maps of one plane, as views of those of the stack."""
        maps = self.summary
        there = {name: getattr(maps, name) for name in _MAPS}
        cut: dict[str, Any] = {k: _of_plane(x, plane) for k, x in there.items() if x is not None}
        expected = self.expected_dice[plane] if self.expected_dice else None
        unlike = self.domain_score[plane] if self.domain_score else None
        return replace(maps, expected_dice=expected, domain_score=unlike, **cut)


def stack_steps(
    segmenter: Segmenter,
    count: int,
    read: Callable[[int], ImageInput],
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
    maps = _Maps(count)
    per_plane = 1
    for index in range(count):
        image = read(index)
        if is_constant(image.pixels):
            drawn.append(None)
            yield StackProgress(index + 1, count, (index + 1) * per_plane, count * per_plane)
            continue

        def show(step: Progress, index: int = index) -> StackProgress:
            nonlocal per_plane
            per_plane = step.total
            return StackProgress(index + 1, count, index * per_plane + step.done, count * per_plane)

        samples = yield from follow(segmenter.sample_steps(image, settings), show)
        summary = segmenter.summarise(samples, settings)
        if not maps.ready:
            check_memory(count, samples, summary, keep_probabilities)
        maps.write(index, summary, image.name)
        drawn.append(samples if keep_probabilities else _without_probabilities(samples))
    return _finished(drawn, maps)


def segment_stack(
    segmenter: Segmenter,
    planes: Sequence[ImageInput],
    settings: SamplingConfig | None = None,
    on_step: Callable[[StackProgress], None] | None = None,
) -> StackResult:
    """Segment all planes; `on_step` is called after each ODE step and may raise to cancel.

    Parameters
    ----------
    segmenter
        The model.
    planes
        Planes of equal ``(H, W)``.
    settings
        Number of samples, seed and solver, for every plane; None uses those of the model card.
    on_step
        Called with the progress.

    Returns
    -------
    StackResult
        Maps with an axis for the planes before ``(H, W)``.

    Raises
    ------
    ImageError, ResourceError
        As `stack_steps` does.
    """
    chosen = segmenter.resolved(settings)
    steps = stack_steps(segmenter, len(planes), planes.__getitem__, chosen)
    return finish(steps, on_step)


def summarise_stack(
    segmenter: Segmenter, samples: Sequence[SampleSet | None], settings: SamplingConfig
) -> Generator[StackProgress, None, StackResult]:
    """Summarise the samples of a stack again, such as without calibration, without sampling.

    Yields after each plane.

    Parameters
    ----------
    segmenter
        The model that drew the samples.
    samples
        Samples of each plane; None for a blank one.
    settings
        Threshold and calibration.

    Returns
    -------
    StackResult
        Its samples carry the `settings`.
    """
    count = len(samples)
    used = segmenter.resolved(settings).model_dump(mode="json")
    maps = _Maps(count)
    drawn: list[SampleSet | None] = []
    for index, plane_samples in enumerate(samples):
        if plane_samples is not None:
            maps.write(index, segmenter.summarise(plane_samples, settings), f"plane {index}")
        drawn.append(None if plane_samples is None else plane_samples.with_settings(used))
        yield StackProgress(index + 1, count, index + 1, count)
    return _finished(drawn, maps)


def check_memory(count: int, samples: SampleSet, summary: Summary, keep: bool = True) -> None:
    """Reject a stack whose results would fill the machine's memory.

    Parameters
    ----------
    count
        Number of planes.
    samples, summary
        Results of one plane.
    keep
        Whether the probabilities of all samples are kept.

    Raises
    ------
    ResourceError
        If they take more than `MEMORY_SHARE` of it.
    """
    maps = [getattr(summary, name) for name in _MAPS]
    one = sum(values.nbytes for values in maps if values is not None)
    needed = count * (one + (samples.probabilities.nbytes if keep else 0))
    there = _physical_memory()
    if there is not None and needed > MEMORY_SHARE * there:
        height, width = samples.geometry.shape
        raise ResourceError(
            f"The results of {count} planes of {height} x {width} pixels take "
            f"{needed / 2**30:.1f} GB, more than {MEMORY_SHARE:.0%} of the {there / 2**30:.1f} GB "
            "of this machine. Draw fewer samples, or crop or split the stack."
        )


def _physical_memory() -> int | None:
    """Return the memory of this machine in bytes; None if unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        # Windows has no sysconf, but does not overcommit: the allocation itself fails.
        return None


class _Maps:
    """Arrays of a whole stack, allocated at the first plane and filled plane by plane."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._arrays: dict[str, NDArray[Any]] = {}
        self._calibrated = False
        self.expected_dice: list[float | None] = [None] * count
        self.domain_score: list[float | None] = [None] * count

    @property
    def ready(self) -> bool:
        return bool(self._arrays)

    def write(self, plane: int, summary: Summary, name: str) -> None:
        for key in _MAPS:
            values: NDArray[Any] | None = getattr(summary, key)
            if values is None:
                continue
            if key not in self._arrays:
                self._arrays[key] = self._empty(key, values)
            target = _of_plane(self._arrays[key], plane)
            if target.shape != values.shape:
                raise ImageError(
                    f"{name} has {values.shape[-2]} x {values.shape[-1]} pixels, earlier planes "
                    f"have {target.shape[-2]} x {target.shape[-1]}. Save all at one size."
                )
            target[...] = values
        self._calibrated = summary.calibrated
        self.expected_dice[plane] = summary.expected_dice
        self.domain_score[plane] = summary.domain_score

    def summary(self) -> Summary:
        # Values that are one number per image do not apply to a stack.
        return Summary(
            calibrated=self._calibrated, expected_dice=None, domain_score=None, **self._arrays
        )

    def _empty(self, key: str, values: NDArray[Any]) -> NDArray[Any]:
        shape = (*values.shape[:-2], self._count, *values.shape[-2:])
        # Values of blank planes: nothing found, with certainty.
        sure = key in ("confidence", "class_confidence")
        array = np.ones(shape, values.dtype) if sure else np.zeros(shape, values.dtype)
        if key == "mean_probability" and values.ndim == 3:
            array[0] = 1
        return array


def _of_plane(values: NDArray[Any], plane: int) -> NDArray[Any]:
    """Return the view ``(..., H, W)`` of one plane of ``(..., P, H, W)``."""
    return values[..., plane, :, :]


def _finished(drawn: Sequence[SampleSet | None], maps: _Maps) -> StackResult:
    if not maps.ready:
        raise ImageError(
            "Every plane of the stack is constant. There is nothing to segment; "
            "check how the stack was exported."
        )
    blank = tuple(index for index, samples in enumerate(drawn) if samples is None)
    expected, unlike = tuple(maps.expected_dice), tuple(maps.domain_score)
    return StackResult(tuple(drawn), maps.summary(), blank, expected, unlike)


def _without_probabilities(samples: SampleSet) -> SampleSet:
    return replace(samples, probabilities=samples.probabilities[..., :0, :0].copy())
