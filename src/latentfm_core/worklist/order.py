"""Order and progress of a work list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from latentfm_core.types import Summary
from latentfm_core.uncertainty.figures import agreement_is_uninformative
from latentfm_core.worklist.item import Item

Order = Literal["name", "uncertainty"]


def uncertainty_of(summary: Summary) -> float:
    """Return 1 - the expected Dice of an image, in [0, 1].

    This separates images that need work from those that do not; the mean confidence hardly does,
    since it mostly reflects the length of the contour. For a single sample, which has no
    expected Dice, it is 1 - the mean confidence. Where nothing was found, or all of
    the image, and where the image is unlike the training images, it is 1: the agreement of
    the samples is then meaningless, and the image needs review.
    """
    if agreement_is_uninformative(summary):
        return 1.0
    certainty = summary.expected_dice
    if certainty is None:
        certainty = float(summary.confidence.mean(dtype=np.float64))
    return min(1.0, max(0.0, 1.0 - certainty))


def ordered(items: Mapping[str, Item], by: Order = "name") -> list[str]:
    """Return the names sorted by name, or the most uncertain first and unmeasured ones last."""
    if by == "name":
        return sorted(items)

    def key(name: str) -> tuple[bool, float, str]:
        uncertainty = items[name].uncertainty
        return uncertainty is None, -(uncertainty or 0.0), name

    return sorted(items, key=key)


def step(
    names: Sequence[str],
    items: Mapping[str, Item],
    current: str | None,
    by: int = 1,
    skip_done: bool = False,
) -> str | None:
    """Return the next (`by` 1) or previous (-1) name; None at the end of the list.

    Without a current image it is the first or the last one.
    """
    place = names.index(current) if current in names else (-1 if by > 0 else len(names))
    rest = names[place + 1 :] if by > 0 else names[:place][::-1]
    for name in rest:
        if not skip_done or items[name].state != "completed":
            return name
    return None


@dataclass(frozen=True)
class Tally:
    """Progress of a work list.

    Attributes
    ----------
    seconds_left
        Mean time of the images that are done times those neither done nor flagged; None if no
        time is known.
    """

    total: int
    done: int
    flagged: int
    seconds_left: float | None

    def __str__(self) -> str:
        text = f"{self.done} of {self.total} done, {self.flagged} flagged"
        if not self.seconds_left:
            return text
        if self.seconds_left < 60:
            return f"{text}, less than a minute left"
        return f"{text}, about {round(self.seconds_left / 60)} min left"


def tally(items: Mapping[str, Item]) -> Tally:
    """Count the images of a list."""
    states = [item.state for item in items.values()]
    done, flagged = states.count("completed"), sum(item.flagged for item in items.values())
    times = [i.seconds for i in items.values() if i.state == "completed" and i.seconds > 0]
    left = len(states) - done - states.count("flagged")
    return Tally(len(states), done, flagged, float(np.mean(times)) * left if times else None)
