"""Objects that lose pixels to other labels when they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from latentfm_core.names import counted
from napari_latentfm.layers.planes import plane_index
from napari_latentfm.prompting.objects import listed, on_planes

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_latentfm.prompting.objects import PromptObject

CUT = "{lost:,} of {all:,} pixels in the outline of {objects}{planes} have other labels."
COVER = "tick May cover other labels"
UNTICK = "untick the object that is wrong"
ADVICE = (
    " If that is right, accept again. Otherwise press Ctrl+Z, and {change} in the section Point."
)
LEFT = "Left to neighbouring labels: {lost} of {objects}."
ASK_ABOVE = 0.1
"""Share of an outline with other labels above which it is not accepted unasked. Outlines of objects
that touch overlap by a few pixels along their border."""


@dataclass(frozen=True)
class _Cut:
    """Pixels that an object lost on one plane.

    Attributes
    ----------
    one, lost, all
        The object, and the pixels of its outline: those with other labels, and all of them.
    to
        The labels that they have.
    """

    one: PromptObject
    lost: int
    all: int
    to: frozenset[int]

    @property
    def is_much(self) -> bool:
        return self.lost > ASK_ABOVE * self.all


def cut_by_others(layer: Labels, written: Sequence[PromptObject]) -> tuple[str, str]:
    """Return what objects that were just written lost, to each other or to other labels.

    Returns
    -------
    loss, advice
        The lost pixels, or "", and what to do if an object lost much on a plane, else "".
    """
    every = [_cut_of(layer, one) for one in written]
    cut = [each for each in every if each.lost]
    much = [each for each in cut if each.is_much]
    reported = much or cut
    if not reported:
        return "", ""
    lost = sum(each.lost for each in reported)
    losers = [each.one for each in reported]
    if not much:
        return LEFT.format(lost=counted(lost, "pixel"), objects=listed(losers)), ""
    here, to = {one.number for one in written}, frozenset().union(*(each.to for each in much))
    changes = [COVER] * bool(to - here) + [UNTICK] * bool(to & here)
    pixels, where = sum(each.all for each in much), on_planes(losers)
    loss = CUT.format(lost=lost, all=pixels, objects=listed(losers), planes=where)
    return loss, ADVICE.format(change=" or ".join(changes))


def _cut_of(layer: Labels, one: PromptObject) -> _Cut:
    if one.mask is None:
        return _Cut(one, 0, 0, frozenset())
    labels = layer.data[plane_index(one.plane)][one.mask.whole(one.plane.shape)]
    other = labels[(labels != 0) & (labels != one.number)]
    return _Cut(one, other.size, labels.size, frozenset(map(int, np.unique(other))))
