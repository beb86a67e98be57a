"""Results of a stack: samples and maps of its planes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ImageError, ResourceError
from latentfm_core.files.memory import total_memory
from latentfm_core.images.decode import MAX_CHANNELS
from latentfm_core.model_io.card import ModelCard
from latentfm_core.names import counted
from latentfm_core.types import ImageInput, ImageLike, SampleSet, Summary
from latentfm_core.vocabulary import PromptGroup

T = TypeVar("T")

MEMORY_SHARE = 0.5
"""Maximum share of the machine's memory for the results of a stack."""

Planes = Sequence[ImageLike] | NDArray[Any]
"""Planes of a stack, such as an array ``(P, H, W)``."""

_MAPS = (
    "mean_probability",
    "mean_mask",
    "variance",
    "confidence",
    "sample_masks",
    "class_confidence",
)


@dataclass(frozen=True)
class StackResult:
    """Samples and maps of P planes.

    Attributes
    ----------
    samples
        Samples of each plane; None for a blank one, and for one that does not contain the object
        that was followed (`latentfm_core.inference.following`). Their probabilities are empty if
        not kept.
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

    def with_plane(self, plane: int, samples: SampleSet, summary: Summary) -> StackResult:
        """Return the stack with other samples of one plane.

        Their maps are written into the arrays of this result, which both share.
        """
        for name in _MAPS:
            values: NDArray[Any] | None = getattr(summary, name)
            if values is not None:
                _of_plane(getattr(self.summary, name), plane)[...] = values
        return replace(
            self,
            samples=_put(self.samples, plane, samples),
            blank=tuple(each for each in self.blank if each != plane),
            expected_dice=_put(self.expected_dice, plane, summary.expected_dice),
            domain_score=_put(self.domain_score, plane, summary.domain_score),
        )


class StackMaps:
    """Arrays of a whole stack, allocated at the first plane and filled plane by plane."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._arrays: dict[str, NDArray[Any]] = {}
        self._calibrated, self._fits = False, True
        self.expected_dice: list[float | None] = [None] * count
        self.domain_score: list[float | None] = [None] * count

    @property
    def ready(self) -> bool:
        """Whether there is a plane."""
        return bool(self._arrays)

    def write(self, plane: int, summary: Summary, name: str) -> None:
        """Set the maps of a plane, which messages call `name`.

        Raises
        ------
        ImageError
            If its size is not that of the earlier planes.
        """
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
                    f"have {target.shape[-2]} x {target.shape[-1]}. Save all at the same size."
                )
            target[...] = values
        self._calibrated = summary.calibrated
        self._fits &= summary.calibration_fits
        self.expected_dice[plane] = summary.expected_dice
        self.domain_score[plane] = summary.domain_score

    def result(self, drawn: Sequence[SampleSet | None]) -> StackResult:
        """Return the result of the stack from these samples of its planes.

        Raises
        ------
        ImageError
            If every plane is blank.
        """
        if not self.ready:
            raise ImageError(
                "Every plane of the stack is constant. There is nothing to segment; "
                "check how the stack was exported."
            )
        blank = tuple(index for index, samples in enumerate(drawn) if samples is None)
        # Values that are one number per image do not apply to a stack.
        summary = Summary(
            calibrated=self._calibrated,
            calibration_fits=self._fits,
            expected_dice=None,
            domain_score=None,
            **self._arrays,
        )
        expected, unlike = tuple(self.expected_dice), tuple(self.domain_score)
        return StackResult(tuple(drawn), summary, blank, expected, unlike)

    def _empty(self, key: str, values: NDArray[Any]) -> NDArray[Any]:
        shape = (*values.shape[:-2], self._count, *values.shape[-2:])
        # Values of blank planes: nothing found, with certainty.
        sure = key in ("confidence", "class_confidence")
        array = np.ones(shape, values.dtype) if sure else np.zeros(shape, values.dtype)
        if key == "mean_probability" and values.ndim == 3:
            array[0] = 1
        return array


def check_planes(planes: Planes) -> None:
    """Reject a single image in place of the planes of a stack, whose rows would be the planes.

    Raises
    ------
    ImageError
        If it is one.
    """
    single = isinstance(planes, ImageInput)
    if isinstance(planes, np.ndarray):
        single = planes.ndim < 3 or (planes.ndim == 3 and planes.shape[2] <= MAX_CHANNELS)
    if single:
        raise ImageError(
            "A stack needs several planes, and this is one image. Pass a list of planes, or an "
            "array (P, H, W) or (P, H, W, C); segment one image with Segmenter.sample."
        )


def calibrated_alike(
    card: ModelCard, settings: SamplingConfig, groups: Iterable[PromptGroup]
) -> SamplingConfig:
    """Return settings with which all planes are calibrated, or none.

    A model may be calibrated for the prompts of some planes only. Their confidences could not be
    compared with those of the others, and a stack says once whether it is calibrated.

    Parameters
    ----------
    card
        Of the model.
    settings
        For all planes.
    groups
        Kinds of prompts of the planes.
    """
    if all(card.calibration_for(group) is not None for group in groups):
        return settings
    return settings.model_copy(update={"calibrated": False})


def check_fits(count: int, samples: SampleSet, summary: Summary, keep: bool = True) -> None:
    """Reject a stack whose results would fill the machine's memory.

    Parameters
    ----------
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
    there = total_memory()
    if needed > MEMORY_SHARE * there:
        height, width = samples.geometry.shape
        raise ResourceError(
            f"The results of {counted(count, 'plane')} of {height} x {width} pixels take "
            f"{needed / 2**30:.1f} GB, more than {MEMORY_SHARE:.0%} of the {there / 2**30:.1f} GB "
            "of this machine. Draw fewer samples, or crop or split the stack."
        )


def _put(values: tuple[T, ...], plane: int, value: T) -> tuple[T, ...]:
    """Return values with a new one for a plane; None stays None."""
    return (*values[:plane], value, *values[plane + 1 :]) if values else values


def _of_plane(values: NDArray[Any], plane: int) -> NDArray[Any]:
    """Return the view ``(..., H, W)`` of one plane of ``(..., P, H, W)``."""
    return values[..., plane, :, :]
