"""Marks of objects that were not taken, kept when the window is closed or crashes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from latentfm_core.annotation.marks import MarkStore, StoredMarks
from latentfm_core.names import counted
from napari_latentfm.annotation.file_export import signature_of
from napari_latentfm.annotation.recovery import when
from napari_latentfm.annotation.widgets import RecoveryBar
from napari_latentfm.background.signals import listen, pause_timer
from napari_latentfm.background.task_queue import TaskQueue
from napari_latentfm.preferences import data_folder
from napari_latentfm.prompting.mark_records import to_record
from napari_latentfm.prompting.objects import count_objects

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentfm.dock.panel import LatentFMPanel

PAUSE_MS = 500
"""Milliseconds between the last mark and saving."""
QUESTION = "{count} on {name}{planes}, marked {when}, {was} not taken. {recover}"
RECOVER = "Recover draws the outlines again."
RECOVER_STACK = "Recover draws the outlines again, those of each plane when it is on screen."


class KeptMarks(QObject):
    """Saves the marks of untaken objects after a pause, and offers or returns them.

    Attributes
    ----------
    bar
        Offers the marks of an image outside a work list.
    """

    def __init__(self, panel: LatentFMPanel) -> None:
        super().__init__(panel)
        self._panel = panel
        self._store = MarkStore(data_folder() / "marks")
        self._work = work = TaskQueue()
        self._timer = pause_timer(self, PAUSE_MS, self.flush)
        self._marked: Image | None = None
        self._own: set[str] = set()
        self._offered: Image | None = None
        # By the id of the image: they stay in its file, also while another image is chosen.
        self._unanswered: dict[str, StoredMarks] = {}
        self.bar = RecoveryBar()
        self.bar.compare.hide()
        self.bar.recover.setToolTip("Draw the marks and their outlines again.")
        self.bar.discard.setToolTip("Delete the marks permanently.")
        self.bar.chosen.connect(self._answer)
        listen(self, panel.point.marked, self._on_marked)
        # Its objects are forgotten with an image.
        listen(self, panel.session.viewer.layers.events.removing, self.flush)
        # The window is closed: finish what is being saved.
        panel.destroyed.connect(lambda: work.close())

    def flush(self) -> None:
        """Save the marks of the image that was marked last, if they have changed."""
        self._timer.stop()
        image, self._marked = self._marked, None
        if image is not None and image in self._panel.session.viewer.layers:
            self.save(image)

    def save(self, image: Image) -> None:
        """Save the marks of the untaken objects of an image.

        One without objects of this window may have marks of an earlier one, which stay.
        """
        key = str(image.unique_id)
        if self._panel.point.has_objects(image):
            self._own.add(key)
        elif key not in self._own or image not in self._panel.session.viewer.layers:
            return  # the objects of a removed image are forgotten, and their marks stay
        objects = self._panel.point.untaken(image)
        offered = self._unanswered.get(key)
        self._work.submit(partial(_save, self._store, image, objects, offered))

    def find(self, image: Image, found: Callable[[StoredMarks], None]) -> None:
        """Look for marks of an image in a worker thread, and call `found` with them."""
        self._work.submit(
            partial(_find, self._store, image),
            lambda marks: found(marks) if isinstance(marks, StoredMarks) else None,
        )

    def offer(self, image: Image | None) -> None:
        """Look for marks of an image outside a work list, and offer them."""
        if self._offered is not None and self._offered != image:
            self._close()
        if image is None or self._offered is not None:
            return
        if marks := self._unanswered.get(str(image.unique_id)):
            self._ask(image, marks)
        elif not self._panel.point.has_objects(image):
            self.find(image, partial(self._on_found, image))

    def _on_marked(self, image: Image) -> None:
        self._marked = image
        self._timer.start()

    def _on_found(self, image: Image, marks: StoredMarks) -> None:
        panel = self._panel
        if panel.chosen.is_chosen(image) and not panel.point.has_objects(image):
            self._ask(image, marks)

    def _ask(self, image: Image, marks: StoredMarks) -> None:
        self._offered = image
        self._unanswered[str(image.unique_id)] = marks
        count = count_objects((each.number, each.index) for each in marks.objects)
        planes = len({each.index for each in marks.objects})
        text = QUESTION.format(
            count=counted(count, "object"),
            name=image.name,
            planes=f" ({planes} planes)" if planes > 1 else "",
            when=when(marks.created),
            was="was" if count == 1 else "were",
            recover=RECOVER_STACK if planes > 1 else RECOVER,
        )
        self.bar.show_question(text)

    def _answer(self, choice: str) -> None:
        if self._offered is None:
            return
        image, key = self._offered, str(self._offered.unique_id)
        marks = self._unanswered.pop(key)
        self._close()
        self._own.add(key)
        if choice == "recover":
            self._panel.point.restore(image, marks)
        self.save(image)

    def _close(self) -> None:
        self._offered = None
        self.bar.hide()


def _save(store: MarkStore, image: Image, objects: Any, offered: StoredMarks | None) -> None:
    marks = to_record(objects)
    if offered is not None:
        marks = marks.model_copy(update={"objects": (*offered.objects, *marks.objects)})
    store.save(signature_of(image), marks)


def _find(store: MarkStore, image: Image) -> StoredMarks | None:
    # Without any file a large image is not read.
    return store.read(signature_of(image)) if any(store.folder.glob("*.json")) else None
