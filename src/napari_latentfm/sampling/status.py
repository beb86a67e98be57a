"""Status texts and warnings about results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.names import counted
from latentfm_core.types import is_out_of_domain
from latentfm_core.uncertainty.domain_advice import unlike_advice
from latentfm_core.uncertainty.figures import MaskFigures
from napari_latentfm.annotation.mean_mask import annotation_instead, is_mean_mask_shown
from napari_latentfm.background.image_request import Result
from napari_latentfm.layers.pixels import plane_spacing
from napari_latentfm.layers.planes import Plane
from napari_latentfm.results.stack_review import StackRun
from napari_latentfm.sampling.controls import CALIBRATED, RAW
from napari_latentfm.ui.units import area_text, number

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentfm.results.session import ReviewSession

READY = "ready."
EMPTY = "Annotation: empty."
MEAN_MASK, HIDDEN_MASK = "Mean mask: ", "Mean mask (hidden): "
_UNLIKE = "This image is unlike those that the model was trained on: "
UNLIKE = f"{_UNLIKE}{unlike_advice(prompted=False)}."
POINTED_AT = f"{_UNLIKE}{unlike_advice(prompted=True)}."
"""Warning for an object that the user pointed at: the model did not have to find it."""


def warning(result: Result) -> str:
    """Return a warning if the image, or planes of it, are unlike the training images, else ""."""
    if isinstance(result, StackRun):
        return _stack_warning(result)
    if not result.summary.out_of_domain:
        return ""
    return POINTED_AT if result.samples.prompt else UNLIKE


def _stack_warning(run: StackRun) -> str:
    scores = [score for score in run.stack.domain_score if score is not None]
    unlike = sum(map(is_out_of_domain, scores))
    if not unlike:
        return ""
    if len(scores) == 1:
        return UNLIKE
    return (
        f"{unlike} of {len(scores)} planes are unlike the images that the model was trained on: "
        f"{unlike_advice(prompted=False, several=True)}."
    )


def session_status(session: ReviewSession) -> str:
    """Return a description of what is under review: a plane, or the whole stack.

    Its figures are those of the mask on screen: the mean mask, or the annotation made from it. If
    neither is on screen, they are those of the mean mask, which is called hidden.
    """
    labels, last, stack = annotation_instead(session), session.current, session.stack
    hidden = last is not None and not is_mean_mask_shown(session)
    heading = HIDDEN_MASK if hidden else MEAN_MASK
    if stack is not None:
        return describe_stack(stack.layer, stack.run, labels, heading)
    if last is not None:
        return describe(last.layer, last.plane, last.result, labels, heading)
    return READY


def describe(
    layer: Image,
    plane: Plane,
    result: Result,
    labels: NDArray[Any] | None = None,
    heading: str = MEAN_MASK,
) -> str:
    """Return the status of the result of a plane: its image, a hint at a warning, figures.

    `labels` are those of an annotation that is on screen instead of the mean mask, `heading`
    precedes the figures of the latter.
    """
    if labels is None:
        mask = describe_mask(layer, plane, result, heading)
    else:
        (height, width), unit = plane_spacing(layer, plane)
        area = np.count_nonzero(labels) * height * width
        mask = _annotated(labels, f", {area_text(area, unit)}")
    return f"{layer.name}{plane.label()}: {_hint(result)}{mask} {_sampling(result)}"


def describe_stack(
    layer: Image, run: StackRun, labels: NDArray[Any] | None = None, heading: str = MEAN_MASK
) -> str:
    """Return the status of the result of a stack: its image, a hint at a warning, figures.

    `labels` and `heading` as in `describe`.
    """
    return f"{layer.name}: {_hint(run)}{_planes(run, labels, heading)}{_sampling(run)}"


def _annotated(labels: NDArray[Any], area: str = "") -> str:
    count = np.count_nonzero(labels)
    return f"Annotation: {count / labels.size:.1%} of the image{area}." if count else EMPTY


def _hint(result: Result) -> str:
    """Return a hint at the warning, which the footer shows in full, or ""."""
    return "⚠ Unlike the training images. " if warning(result) else ""


def _sampling(result: Result) -> str:
    samples = result.samples
    return (
        f"{counted(len(samples), 'sample')} in {samples.record.seconds:.2f} s, seed "
        f"{samples.seeds[0]}, {samples.record.model_id}.{_calibration(result)}"
    )


def _calibration(result: Result) -> str:
    """Return whether the confidence is calibrated; a calibration means nothing out of domain."""
    summary = result.summary
    if summary.out_of_domain:
        return ""
    if summary.calibrated and not summary.calibration_fits:
        return f" Confidence: {CALIBRATED} for other numbers of samples or ODE steps."
    return f" Confidence: {CALIBRATED if summary.calibrated else RAW}."


def describe_mask(layer: Image, plane: Plane, result: Result, heading: str = MEAN_MASK) -> str:
    """Return size and expected Dice of the mean mask."""
    spacing, unit = plane_spacing(layer, plane)
    figures = result.figures(spacing)
    size = _size(figures, result.samples.classes, unit, heading)
    return " ".join(filter(None, (size, _dice(figures))))


def foreground(classes: Sequence[str]) -> str:
    """Return the name of the foreground: its class, or "foreground" for several classes."""
    return classes[0] if len(classes) == 1 else "foreground"


def _size(figures: MaskFigures, classes: Sequence[str], unit: str, heading: str) -> str:
    name = foreground(classes)
    if figures.empty:
        return f"No {name}: no pixel reached the threshold, the mean mask is empty."
    if figures.full:
        return f"The mean mask covers {figures.share:.1%} of the image."
    return (
        f"{heading}{name} on {figures.share:.1%} of the image, "
        f"{area_text(figures.area, unit)}, diameter {number(figures.diameter)} {unit}."
    )


def _dice(figures: MaskFigures) -> str:
    expected = figures.expected_dice
    return "" if expected is None else f"Expected Dice: {expected:.2f}."


def _planes(run: StackRun, labels: NDArray[Any] | None, heading: str) -> str:
    """Return number of planes, size of the mask, and the least reliable plane of the mean mask."""
    pixels = run.plane_pixels
    size = f"{heading}{sum(pixels) / run.summary.mean_mask.size:.1%} of the image. "
    if not any(pixels):
        size = "No pixel reached the threshold: the mean mask is empty. "
    stack = run.stack
    blank = f" {len(stack.blank)} are blank." if stack.blank else ""
    # Counted as the sliders of napari do, from 0.
    by_plane = {n: d for n, d in enumerate(stack.expected_dice) if d is not None}
    # The expected Dice of a plane without foreground is not informative.
    shown = {n: d for n, d in by_plane.items() if pixels[n]}
    if labels is not None:
        size, shown = f"{_annotated(labels)} ", {}
    if not shown:
        return f"{len(stack)} planes. {blank.strip()} {size}".replace("  ", " ")
    worst, best = min(shown, key=shown.__getitem__), max(shown.values())
    expected = f"Expected Dice: {shown[worst]:.2f} (plane {worst}) to {best:.2f}. "
    return f"{len(stack)} planes.{blank} {size}{expected}"
