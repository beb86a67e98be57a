"""Results of images that were under review, so that they can be reviewed again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_latentfm.layers.crop import KEY as FIELD_KEY
from napari_latentfm.results.session import Reviewed
from napari_latentfm.results.stack_review import StackReview, StackRun

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentfm.results.session import ReviewSession

MAX_BYTES = 2**29
"""Maximum size of kept results; those reviewed longest ago are dropped first."""


class KeptReviews:
    """The last result of each image of a viewer."""

    def __init__(self, session: ReviewSession) -> None:
        self._session = session
        self._kept: dict[str, StackReview | Reviewed] = {}
        self._last = ""
        self.remember()

    @property
    def layer(self) -> Image | None:
        """The layer under review, or None."""
        session = self._session
        under = session.current if session.stack is None else session.stack
        return None if under is None else under.layer

    def fits(self, chosen: Image | None) -> bool:
        """Return whether what is under review belongs to an image; nothing fits every image."""
        return self.layer is None or (chosen is not None and _belongs(self.layer, chosen))

    def remember(self) -> None:
        """Keep what is under review now; if that is nothing, forget what was before."""
        layer, session = self.layer, self._session
        if layer is None:
            self._kept.pop(self._last, None)
            self._last = ""
            return
        self._last = _key(layer)
        self._kept.pop(self._last, None)
        kept = session.stack or session.current
        if kept is not None:
            self._kept[self._last] = kept
        self._shrink()

    def show(self, chosen: Image | None) -> None:
        """Put the last result of an image, or of a crop of it, under review, or else nothing."""
        self._last = ""
        found, session = self._find(chosen), self._session
        if found is None and self.layer is None:
            return
        if found is None or isinstance(found, Reviewed):
            session.show(found)
        else:
            session.follow(found)

    def _find(self, chosen: Image | None) -> StackReview | Reviewed | None:
        if chosen is not None:
            for kept in reversed(self._kept.values()):
                if _belongs(kept.layer, chosen):
                    return kept
        return None

    def forget(self, layer: Image) -> None:
        """Forget the result of an image that was removed."""
        self._kept.pop(_key(layer), None)

    def _shrink(self) -> None:
        total = 0
        for key, kept in reversed(list(self._kept.items())):
            total += _bytes(kept.run if isinstance(kept, StackReview) else kept.result)
            if total > MAX_BYTES and key != self._last:
                del self._kept[key]


def _key(layer: Image) -> str:
    return str(layer.unique_id)


def _belongs(layer: Image, chosen: Image) -> bool:
    """Return whether a layer is an image or a crop of it."""
    return _key(chosen) in (_key(layer), layer.metadata.get(FIELD_KEY, {}).get("source_id"))


def _bytes(result: Any) -> int:
    """Return the size of the arrays of a result, those of a stack by its planes."""
    if isinstance(result, StackRun):
        arrays = [s.probabilities for s in result.stack.samples if s is not None]
        return sum(each.nbytes for each in arrays) + _array_bytes(result.summary)
    return int(result.samples.probabilities.nbytes) + _array_bytes(result.summary)


def _array_bytes(holder: Any) -> int:
    return sum(each.nbytes for each in vars(holder).values() if isinstance(each, np.ndarray))
