"""What the panel says of a result in its status line."""

from __future__ import annotations

from napari_latentfm.background.job import Result
from napari_latentfm.results.stack_job import StackRun
from napari_latentfm.sampling.form import CALIBRATED, RAW


def describe(result: Result) -> str:
    """Return samples, size and expected Dice of the mean mask, and kind of the confidence."""
    samples, summary = result.samples, result.summary
    seed = samples.seeds[0]
    head = f"{len(samples)} samples in {samples.seconds:.2f} s, seed {seed}, {samples.model_id}."
    if isinstance(result, StackRun):
        blank = len(result.stack.blank)
        head = f"{len(result.stack)} planes, {head}" + (f" {blank} are blank." if blank else "")
    tail = f"Confidence: {CALIBRATED if summary.calibrated else RAW}."
    tail = " ".join(filter(None, (_expectation(result), tail)))
    if not summary.mean_mask.any():
        return f"{head} No pixel reached the threshold: the mean mask is empty. {tail}"
    return f"{head} Mean mask: {(summary.mean_mask > 0).mean():.1%} of the image. {tail}"


def _expectation(result: Result) -> str:
    """Return how good the mean mask probably is, and which plane of a stack is the worst."""
    if not isinstance(result, StackRun):
        expected = result.summary.expected_dice
        return "" if expected is None else f"Expected Dice: {expected:.2f}."
    by_plane = {n: d for n, d in enumerate(result.stack.expected_dice, 1) if d is not None}
    if not by_plane:
        return ""
    worst, best = min(by_plane, key=by_plane.__getitem__), max(by_plane.values())
    return f"Expected Dice: {by_plane[worst]:.2f} (plane {worst}) to {best:.2f}."
