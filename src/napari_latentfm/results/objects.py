"""The result of a run over several objects of one plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_latentfm.background.image_request import Result

if TYPE_CHECKING:
    from latentfm_core.types import Mask, SampleSet


@dataclass(frozen=True)
class ObjectsRun(Result):
    """The complete result of one object, and samples and mask of all.

    Attributes
    ----------
    objects
        Samples and mean mask ``(H, W)`` by label.
    """

    objects: Mapping[int, tuple[SampleSet, Mask]]
