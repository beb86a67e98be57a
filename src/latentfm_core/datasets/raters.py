"""Masks of several raters: how they overlap, and whether they may be something else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.datasets.stored import Agreement, StoredPair
from latentfm_core.names import name_some, shown

MAX_COMPARED = 8
"""For further raters, agreement is not computed."""
MIN_SHARED = 3
"""Minimum images with masks of both raters for a warning about them."""
INSIDE = 0.98
"""Share of a mask that lies in a larger one, above which it counts as inside."""
SMALLER = 0.5
"""Largest mean ratio of sizes of masks inside others: a cautious rater draws not much smaller."""
NEARLY_ALWAYS = 0.9
HARDLY = 0.2
"""Mean Dice below which the masks of two raters hardly overlap."""
_OVERLAP = 0.5
"""Mean share of the smaller mask in the larger one above which they overlap nevertheless."""


def with_raters(stored: StoredPair, raters: Sequence[str], masks: NDArray[Any]) -> StoredPair:
    """Add the names of the raters of masks ``(M, H, W)``, and how they agree, to a pair."""
    found = []
    drawn = [(name, mask > 0) for name, mask in zip(raters, masks, strict=False)][:MAX_COMPARED]
    sizes = {name: int(np.count_nonzero(mask)) for name, mask in drawn}
    for (first, one), (second, other) in combinations(drawn, 2):
        if sizes[first] and sizes[second]:
            shared = int(np.count_nonzero(one & other))
            found.append(Agreement(first, second, (sizes[first], sizes[second]), shared))
    return replace(stored, raters=tuple(raters), agreements=tuple(found))


def raters_text(stored: Iterable[StoredPair]) -> str:
    """Return the number and names of the raters; empty if masks have none."""
    names = list(dict.fromkeys(name for pair in stored for name in pair.raters))
    if not names:
        return ""
    return f"{len(names)} ({name_some(names)}); each subfolder of the masks counts as a rater"


def rater_warnings(stored: Iterable[StoredPair], where: str = "") -> list[str]:
    """Return warnings about subfolders of masks that may not be raters.

    Masks of one folder that in nearly all images lie inside those of another, as two classes do,
    or are equal, as copies are; and masks that hardly overlap.

    Parameters
    ----------
    where
        Name of the folder or set, for example ``" of the set polyps"``.
    """
    by_raters: dict[tuple[str, str], list[Agreement]] = defaultdict(list)
    for pair in stored:
        for agreement in pair.agreements:
            by_raters[agreement.first, agreement.second].append(agreement)
    inside, apart, same = [], [], []
    for (first, second), found in by_raters.items():
        names = shown(first), shown(second)
        count, dice = len(found), fmean(each.dice for each in found)
        if count < MIN_SHARED:
            continue
        for number, (smaller, larger) in enumerate((names, names[::-1])):
            within = sum(_is_inside(each, number) for each in found)
            ratio = fmean(each.sizes[number] / each.sizes[1 - number] for each in found)
            if within >= NEARLY_ALWAYS * count and ratio <= SMALLER:
                inside.append(f"{smaller} inside {larger} in {within} of {count} images")
        equal = sum(each.dice == 1 for each in found)
        if equal >= NEARLY_ALWAYS * count:
            same.append(f"{names[0]} and {names[1]} in {equal} of {count} images")
        # Small masks inside large ones do overlap.
        shared = fmean(each.shared / min(each.sizes) for each in found)
        if dice < HARDLY and shared < _OVERLAP:
            apart.append(f"{names[0]} and {names[1]} (mean Dice {dice:.2f}, {count} images)")
    warnings = []
    if inside:
        warnings.append(
            f"Masks{where} of one subfolder lie inside those of another, as the masks of two "
            f"classes do: {name_some(inside)}. {_ADVICE}"
        )
    if same:
        warnings.append(
            f"The masks{where} of some subfolders are equal, as copies are: {name_some(same)}. "
            f"{_ADVICE}"
        )
    if apart:
        warnings.append(
            f"The masks{where} of some subfolders hardly overlap: {name_some(apart)}. {_ADVICE}"
        )
    return warnings


_ADVICE = (
    "Subfolders count as raters who marked the same objects. If they are classes, write one mask "
    "per image with 1, 2, ... for the classes and name these in training: --set "
    "model.classes=NAME,NAME. If one contains older or other masks, move it out of the folder."
)


def _is_inside(agreement: Agreement, number: int) -> bool:
    """Return whether the mask of the first (0) or second (1) rater lies inside the other."""
    size, other = agreement.sizes[number], agreement.sizes[1 - number]
    return agreement.shared >= INSIDE * size and size < other
