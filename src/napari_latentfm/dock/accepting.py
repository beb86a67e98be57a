"""What the buttons of the foot do: with a work list, or for a single image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from latentfm_core.errors import LatentFMError
from napari_latentfm.annotation.acceptance import emptied, still_marked, take_mean_mask
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.layers.planes import index_slices

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_latentfm.annotation.autosave import Autosaver
    from napari_latentfm.results.session import Reviewed, ReviewSession
    from napari_latentfm.worklist.panel import QueuePanel

NOTHING = "Nothing to accept yet. Run the model on an image first."
WHERE = "Kept automatically; Export… saves it as a file."


class Accepting:
    """Accepts what is under review.

    Parameters
    ----------
    session
        What is under review.
    queue
        The work list; without an open one, images are accepted one at a time and the user
        exports them.
    autosaver
        Keeps what was accepted without a work list.
    say
        Shows a sentence.
    """

    def __init__(
        self,
        session: ReviewSession,
        queue: QueuePanel,
        autosaver: Autosaver,
        say: Callable[[str], None],
    ) -> None:
        self._session, self._queue = session, queue
        self._autosaver, self._say = autosaver, say

    @property
    def in_list(self) -> bool:
        """Whether an image of a work list is open."""
        return self._queue.work is not None and self._queue.current is not None

    @property
    def empty_name(self) -> str:
        """How an image without foreground is called."""
        return self._queue.form.empty_name

    def accept(self) -> None:
        """Accept the annotation, or the mean mask if you changed nothing; go to the next image."""
        if self.in_list:
            self._queue.accept()
        else:
            self._single(self._accept)

    def accept_empty(self) -> None:
        """Accept that there is nothing to mark in this image; go to the next image."""
        if self.in_list:
            self._queue.accept_empty()
        else:
            self._single(self._accept_empty)

    def _single(self, do: Callable[[Reviewed], str]) -> None:
        reviewed = self._session.current
        try:
            text = NOTHING if reviewed is None else do(reviewed)
        except LatentFMError as error:
            text = str(error)
        self._say(text)

    def _accept(self, reviewed: Reviewed) -> str:
        layer = annotation_of(self._session, create=False)
        if layer is None or not _is_touched(layer, reviewed):
            problem = take_mean_mask(self._session, self.empty_name)
            if problem:
                return problem
            layer = annotation_of(self._session)
        if layer is None or not layer.data.any():
            return emptied(self.empty_name)
        self._autosaver.watch()
        self._autosaver.flush()
        count = int(np.count_nonzero(layer.data))
        return f"Accepted: {count:,} pixels in {layer.name!r}. {WHERE}"

    def _accept_empty(self, _reviewed: Reviewed) -> str:
        layer = annotation_of(self._session)
        if layer is None:
            return NOTHING
        marked = still_marked(layer.data, self.empty_name)
        if marked:
            return marked
        return f"{self.empty_name}: the layer {layer.name!r} is empty. Export… saves it as a file."


def _is_touched(layer: Labels, reviewed: Reviewed) -> bool:
    """Tell whether something was painted or taken on the plane on screen."""
    index = reviewed.plane.index
    view = layer.data[index_slices(index)]
    return bool(view.any()) or index in record_of(layer).proposals
