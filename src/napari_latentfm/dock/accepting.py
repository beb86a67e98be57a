"""Accepting the chosen image, in a work list or alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from latentfm_core.errors import LatentFMError
from napari_latentfm.annotation.acceptance import (
    emptied,
    is_unseen,
    mean_mask_problem,
    take_mean_mask,
)
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.restoring import erase
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.layers.planes import index_slices

if TYPE_CHECKING:
    from napari_latentfm.annotation.autosave import Autosaver
    from napari_latentfm.dock.chosen_image import ChosenImage
    from napari_latentfm.dock.footer import Footer
    from napari_latentfm.results.session import Reviewed, ReviewSession
    from napari_latentfm.worklist.panel import QueuePanel

NO_IMAGE = "Nothing to accept yet. Open an image, or a folder of images, first."
NOTHING = "Nothing to accept yet. Run the model on this image first."
UNSEEN = (
    "This image is unlike those that the model was trained on. Check the outline. If it is right, "
    "press Enter or Accept again; nothing is accepted yet."
)
ELSEWHERE = (
    "Another window has accepted this image since it was opened here. Press {button} again to "
    "replace that annotation; nothing is accepted yet."
)
ERASES = (
    "{what} in this image. Press {none} again to discard that and accept the image as empty; "
    "nothing is accepted yet."
)
RUNNING = "A run is still in progress. Wait for it, or cancel it."
TOGETHER = 0.5
"""Seconds between presses that count as one, such as a double click: the second would accept the
next image unseen, or answer a question that nobody has read."""
WHERE = "Autosaved; Export… saves it as a file."


class Accepting:
    """Accepts the chosen image.

    Parameters
    ----------
    queue
        The work list. An image that is not its open one is accepted alone, and the user
        exports it.
    autosaver
        Keeps what was accepted without a work list.
    """

    def __init__(
        self,
        session: ReviewSession,
        chosen: ChosenImage,
        queue: QueuePanel,
        autosaver: Autosaver,
        footer: Footer,
    ) -> None:
        self._session, self._chosen, self._queue = session, chosen, queue
        self._autosaver, self._footer = autosaver, footer
        self._pressed = -math.inf
        self._question = ""

    @property
    def in_list(self) -> bool:
        """Whether the chosen image is the open one of a work list."""
        queue = self._queue
        if queue.work is None or queue.current is None:
            return False
        # While an image of the list is opened, there may be none to choose.
        return self._chosen.layer is None or self._chosen.is_chosen(queue.open_image.layer)

    @property
    def empty_name(self) -> str:
        """Text of the button for an image without foreground."""
        return self._queue.form.empty_name

    def is_repeated(self) -> bool:
        """Return whether a press belongs to the one before; call it once for each."""
        before, self._pressed = self._pressed, time.monotonic()
        return self._pressed - before < TOGETHER

    def accept(self) -> None:
        """Accept the annotation, or the mean mask if you changed nothing; go to the next image.

        The mean mask of an image unlike the training images is accepted only at the second press,
        and so is an image that another window has accepted in the meantime.
        """
        if self._ask(self._elsewhere("Enter or Accept"), self._unseen()):
            return
        if self._footer.notice.text == self._question:
            self._footer.clear()  # of the other button
        if self.in_list:
            self._queue.accept()
        else:
            self._single(self._accept)

    def accept_empty(self, proposed: int = 0) -> None:
        """Accept that there is nothing to mark in this image; go to the next image.

        Marks are erased, but only at the second press.

        Parameters
        ----------
        proposed
            Number of objects that were pointed at and are not in the annotation.
        """
        what, none = self._marked(proposed), self.empty_name
        erases = ERASES.format(what=what, none=none) if what else ""
        if self._ask(self._elsewhere(none), erases):
            return
        try:
            erase(self._session)
        except LatentFMError as error:
            self._footer.say(self._chosen.say(str(error)))
            return
        if self.in_list:
            self._queue.accept_empty()
        else:
            self._single(self._accept_empty)

    def _unseen(self) -> str:
        """Return the question whether a mean mask that nobody has checked is right, or ""."""
        reviewed = self._session.current
        if reviewed is None or not is_unseen(reviewed) or self.is_touched(reviewed):
            return ""
        return "" if mean_mask_problem(self._session, self.empty_name) else UNSEEN

    def _elsewhere(self, button: str) -> str:
        """Return the question whether the annotation of another window is replaced, or ""."""
        is_elsewhere = self.in_list and self._queue.browsing.is_accepted_elsewhere()
        return ELSEWHERE.format(button=button) if is_elsewhere else ""

    def _ask(self, *questions: str) -> bool:
        """Ask to press again if there are questions; return False if that was the press."""
        text = " ".join(filter(None, questions))
        if not text:
            return False
        question = self._chosen.say(text)
        asked = self._footer.notice.text == question
        self._footer.clear()
        if not asked:
            self._question = question
            self._footer.warn(question)
        return not asked

    def _marked(self, proposed: int) -> str:
        """Return what an empty annotation would discard, or ""."""
        layer = annotation_of(self._session, create=False)
        if layer is not None and (count := int(np.count_nonzero(layer.data))):
            return f"{count:,} pixels are marked" if count > 1 else "1 pixel is marked"
        if proposed:
            return f"{proposed} objects are outlined" if proposed > 1 else "1 object is outlined"
        work, name = self._queue.work, self._queue.current
        if not self.in_list or work is None or name is None:
            return ""
        item = work.item(name)
        done = item.state == "completed" and not item.empty
        return "An annotation was accepted" if done else ""

    def _single(self, do: Callable[[Reviewed], str]) -> None:
        reviewed = self._session.current
        try:
            text = NOTHING if reviewed is None else do(reviewed)
        except LatentFMError as error:
            text = str(error)
        self._footer.say(self._chosen.say(text) if self._chosen.name else NO_IMAGE)

    def _accept(self, reviewed: Reviewed) -> str:
        if not self.is_touched(reviewed):
            problem = take_mean_mask(self._session, self.empty_name)
            if problem:
                return problem
        layer = annotation_of(self._session, create=False)
        if layer is None or not layer.data.any():
            return emptied(self.empty_name)
        self._autosaver.watch()
        self._autosaver.flush()
        count = int(np.count_nonzero(layer.data))
        planes = int(np.count_nonzero(layer.data.any(axis=reviewed.plane.axes)))
        where = f" on {planes} planes" if planes > 1 else ""
        return f"accepted, {count:,} pixels{where} in {layer.name!r}. {WHERE}"

    def _accept_empty(self, _reviewed: Reviewed) -> str:
        layer = annotation_of(self._session)
        if layer is None:
            return NOTHING
        return f"{self.empty_name}. The layer {layer.name!r} is empty. Export… saves it as a file."

    def is_touched(self, reviewed: Reviewed) -> bool:
        """Return whether something was painted or taken on the plane on screen."""
        if self.in_list:
            return self._queue.open_image.touched
        layer, index = annotation_of(self._session, create=False), reviewed.plane.index
        if layer is None:
            return False
        return bool(layer.data[index_slices(index)].any()) or index in record_of(layer).proposals
