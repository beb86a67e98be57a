"""Judge the curves of a training: too short, overfitting, underfitting, levelled off."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import median

from latentfm_core.report.epochs import Row, best_of, goodness, number, validated
from latentfm_core.vocabulary import UNUSABLE

FEWEST = 4
"""Validations needed for a judgement."""
TOLERANCE = 0.01
"""Minimum relevant change of the validation figure (Dice or GED)."""
LOW = 0.7
"""Dice below which a model that no longer improves counts as underfitted."""
LEARNED = 0.02
"""Minimum relevant relative fall of the training loss."""

UNTRAINED = (
    "Not trained long enough: the best validation Dice is only {dice} (epoch {best}), and the "
    "training loss was still falling at epoch {last}. Whether the model overfits cannot be judged "
    "yet. Train longer: give it more --minutes, or extend the run with --resume --set "
    "training.flow.epochs=.... With few images, start from a bundled model (--init generalist, or "
    "another one that knows such images)."
)
OVERFITTING = (
    "Overfitting: since epoch {best} the validation has become worse ({at_best} to {after}) "
    "while the training loss kept falling. The model has the weights of epoch {best}. Add "
    "more varied images; keep training.augmentation = strong; start from a pretrained model "
    "(--init generalist); or stop earlier (--set training.flow.patience=5)."
)
UNSTABLE = (
    "Unstable: since epoch {best} the validation has become worse ({at_best} to {after}), and "
    "the training loss has not fallen either. Lower the learning rate "
    "(--set training.flow.learning_rate=...) or raise the batch size."
)
SHORT = (
    "Not finished: the validation still improves ({at_last} at epoch {last}). Train longer: extend "
    "the run with --resume --set training.flow.epochs=..., or give it more --minutes."
)
UNDERFITTING = (
    "Underfitting: validation and training loss have levelled off, but Dice is only {dice}. Check "
    "the outlines in the pictures above: do images and masks belong together, are the objects "
    "still visible at data.size? Then try a larger data.size, a higher learning rate, weaker "
    "augmentation (training.augmentation = flips), or start from a pretrained model "
    "(--init generalist)."
)
LEVEL = (
    "Levelled off: the validation has not improved noticeably since epoch {best} ({at_best}). More "
    "epochs alone will gain little; more images, or more varied ones, will help."
)
UNKNOWN = (
    "There is no validation part, so over- and underfitting cannot be judged. Hold out images:"
)
EARLY = (
    "Too early to judge over- or underfitting: {count} of at least {fewest} validations are done. "
    "If the run has ended, it was too short for that: extend it with --resume --set "
    "training.flow.epochs=... (or more --minutes), or start a new one that validates more often "
    "(training.flow.validate_every)."
)


def advice(rows: Sequence[Row]) -> str:
    """Return what the curves of the flow stage show, and what to do; empty without epochs.

    The last quarter of the validations is compared with the best and with the quarter before,
    by medians, since single validations are noisy.

    Parameters
    ----------
    rows
        Epochs of the flow stage in order.
    """
    if not rows:
        return ""
    known = validated(rows)
    if not known:
        return f"{UNKNOWN} data.val_fraction, or a split with a part val."
    if len(known) < FEWEST:
        return EARLY.format(count=len(known), fewest=FEWEST)
    best, last = best_of(known), known[-1]
    scores = [goodness(row) for row in known]
    tail = max(2, len(known) // 4)
    end, before = median(scores[-tail:]), median(scores[-2 * tail : -tail])
    words = {
        "best": f"{number(known[best], 'epoch'):.0f}",
        "last": f"{number(last, 'epoch'):.0f}",
        "at_best": _figure(known[best]),
        "at_last": _figure(last),
        "after": _figure(last).partition(" ")[2],
        "dice": f"{number(known[best], 'val_dice'):.2f}",
    }
    unusable = number(known[best], "val_dice") < UNUSABLE
    if unusable and _learns(rows[len(rows) // 2 :]):
        return UNTRAINED.format(**words)
    slack = max(TOLERANCE, _noise(scores))
    if best < len(known) - tail and scores[best] - end > slack:
        since = [row for row in rows if number(row, "epoch") >= number(known[best], "epoch")]
        if not _learns(since):
            return UNSTABLE.format(**words)
        if not unusable:
            return OVERFITTING.format(**words)
    if end - before > TOLERANCE:
        return SHORT.format(**words)
    if number(known[best], "val_dice") < LOW:
        return UNDERFITTING.format(**words)
    return LEVEL.format(**words)


def _noise(scores: Sequence[float]) -> float:
    """Return the median change from one validation to the next."""
    return median(abs(b - a) for a, b in itertools.pairwise(scores))


def _learns(rows: Sequence[Row]) -> bool:
    """Return whether the training loss falls over these epochs."""
    losses = [number(row, "loss") for row in rows]
    losses = [value for value in losses if math.isfinite(value)]
    if len(losses) < 2:
        return False
    part = max(1, len(losses) // 3)
    first, last = median(losses[:part]), median(losses[-part:])
    return last < first - LEARNED * abs(first)


def _figure(row: Row) -> str:
    if row.get("val_ged"):
        return f"GED {number(row, 'val_ged'):.3f}"
    return f"Dice {number(row, 'val_dice'):.3f}"
