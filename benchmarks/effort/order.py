"""Order in which the images are worked through."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from benchmarks.effort.data import Selection
from latentfm_core.adaptation.session import AdaptationSession
from latentfm_core.bars import is_quiet
from latentfm_core.worklist.item import Item
from latentfm_core.worklist.order import ordered, uncertainty_of

logger = logging.getLogger(__name__)

REMEASURED_AFTER = 5


def by_uncertainty(
    session: AdaptationSession, selection: Selection, pool: Sequence[str], done: Sequence[str]
) -> Iterator[str]:
    """Yield the images of `pool` that are not in `done`, the most uncertain first.

    This is the order *most uncertain first* of a work list. The uncertainty of the remaining
    images is measured at the beginning and after every `REMEASURED_AFTER` images, with the
    model in use at that time.
    """
    left = [name for name in pool if name not in done]
    while left:
        segmenter = session.adapted if session.comparison.used else session.present
        items = {}
        for name in tqdm(left, desc="uncertainty", mininterval=5.0, disable=is_quiet(logger)):
            image, _ = selection.read(name)
            summary = segmenter.summarise(segmenter.sample(image))
            items[name] = Item(uncertainty=uncertainty_of(summary))
        for name in ordered(items, "uncertainty")[:REMEASURED_AFTER]:
            left.remove(name)
            yield name
