"""Accepting the chosen image, in a work list or alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from latentfm_core.errors import LatentFMError
from latentfm_core.names import counted
from napari_latentfm.annotation.acceptance import (
    emptied,
    is_unseen,
    mean_mask_problem,
    newer_by_strokes,
    not_ready,
    take_mean_mask,
    visible_but_not_taken,
)
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.restoring import erase
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.layers.planes import index_slices
from napari_latentfm.prompting.objects import count_objects

if TYPE_CHECKING:
    from napari_latentfm.dock.panel import LatentFMPanel
    from napari_latentfm.results.session import Reviewed

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
NOT_CHOSEN = "{name} is not the chosen image. Choose it in the header, then accept it."
TOGETHER = 0.5
"""Seconds between presses that count as one, such as a double click: the second would accept the
next image unseen, or answer a question that nobody has read."""
GONE = "{name} was removed from the layer list. Double-click it in the tab Folder to open it again."
WHERE = "Autosaved; Export… saves it as a file."


class Accepting:
    """Accepts the chosen image: the open one of the work list, or one alone.

    Every way to accept an image, also `QueuePanel.accept`, calls `prepare` first.
    """

    def __init__(self, panel: LatentFMPanel) -> None:
        self._panel, self._session, self._chosen = panel, panel.session, panel.chosen
        self._queue, self._footer = panel.queue, panel.footer
        self._pressed = -math.inf
        self._question = ""
        self._queue.browsing.prepare = self._prepare_listed

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

    def removed(self) -> str:
        """Return what to do if the open image was removed from the layer list, or ""."""
        opened = self._queue.open_image
        return GONE.format(name=opened.name) if self.in_list and opened.is_removed else ""

    def is_repeated(self) -> bool:
        """Return whether a press belongs to the one before; call it once for each."""
        before, self._pressed = self._pressed, time.monotonic()
        return self._pressed - before < TOGETHER

    def accept(self) -> None:
        """Accept the annotation, or the mean mask if you changed nothing; go to the next image."""
        if self.in_list:
            self._queue.accept()
        elif self.prepare(False):
            self._single(self._accept)

    def accept_empty(self) -> None:
        """Accept this image as empty; go to the next image."""
        if self.in_list:
            self._queue.accept_empty()
        elif self.prepare(True):
            self._single(self._accept_empty)

    def prepare(self, empty: bool) -> bool:
        """Make the chosen image ready to be accepted; return False, and say why, if it is not.

        Outlines of objects are taken, or with `empty` all marks erased. That needs a second call,
        and so does the mean mask of an image unlike the training images, or an image that another
        window has accepted in the meantime.
        """
        self._panel.annotate.note_place()
        self._footer.commit()
        self._chosen.settle()
        problem = not_ready(self._session, self._queue.autosave.recovery, empty=True)
        problem = problem or self.removed()
        if problem := problem or ("" if empty else self._unclear()):
            self._footer.show_message(self._chosen.with_name(problem))
            return False
        if empty:
            return not self._ask(self._elsewhere(self.empty_name), self._erases()) and self._erase()
        return not self._ask(self._elsewhere("Enter or Accept"), self._unseen())

    def _prepare_listed(self, empty: bool) -> bool:
        """Prepare the open image of the list, which must be the chosen one."""
        if not self.in_list:
            self._footer.show_message(NOT_CHOSEN.format(name=self._queue.current))
        return self.in_list and self.prepare(empty)

    def _unclear(self) -> str:
        """Take outlines; return "" if the screen shows what would be accepted, else what to do."""
        panel, problem = self._panel, self._panel.point.unanswered()
        if problem:
            panel.annotate.uncover("Point")
        elif (reviewed := self._session.current) is not None:
            problem = (
                newer_by_strokes(self._session)
                or panel.review.hypotheses.unclear(
                    self.is_touched(reviewed), panel.point.outlines_to_take()
                )
                or visible_but_not_taken(self._session)
            )
        return problem or panel.point.take_pending()

    def _erase(self) -> bool:
        try:
            erase(self._session)
        except LatentFMError as error:
            self._footer.show_message(self._chosen.with_name(str(error)))
            return False
        return True

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
            if self._footer.notice.text == self._question:
                self._footer.clear()  # of the other button
            return False
        question = self._chosen.with_name(text)
        asked = self._footer.notice.text == question
        self._footer.clear()
        if not asked:
            self._question = question
            self._footer.warn(question, asks=True)
        return not asked

    def _erases(self) -> str:
        """Return the question whether what an empty annotation would discard is wrong, or ""."""
        what, none = self._marked(), self.empty_name
        return ERASES.format(what=what, none=none) if what else ""

    def _marked(self) -> str:
        """Return what an empty annotation would discard, or ""."""
        layer, chosen = annotation_of(self._session, create=False), self._chosen.layer
        if layer is not None and (count := int(np.count_nonzero(layer.data))):
            return f"{count:,} pixels are marked" if count > 1 else "1 pixel is marked"
        proposed = [] if chosen is None else self._panel.point.untaken(chosen)
        if count := count_objects((one.number, one.plane.index) for one in proposed):
            return counted(count, "object is outlined", "objects are outlined")
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
        self._footer.show_message(self._chosen.with_name(text) if self._chosen.name else NO_IMAGE)

    def _accept(self, reviewed: Reviewed) -> str:
        if not self.is_touched(reviewed):
            problem = take_mean_mask(self._session, self.empty_name)
            if problem:
                return problem
        layer = annotation_of(self._session, create=False)
        if layer is None or not layer.data.any():
            return emptied(self.empty_name)
        autosaver = self._panel.review.annotation.autosaver
        autosaver.watch()
        autosaver.flush()
        count = int(np.count_nonzero(layer.data))
        planes = int(np.count_nonzero(layer.data.any(axis=reviewed.plane.axes)))
        where = f" on {planes} planes" if planes > 1 else ""
        text = f"accepted, {count:,} pixels{where} in {layer.name!r}."
        return " ".join(filter(None, (text, self._panel.point.left_to_others(), WHERE)))

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
