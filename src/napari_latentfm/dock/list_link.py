"""Connect the work list with the header, the footer and the tabs of the dock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_latentfm.dock.accepting import NO_IMAGE
from napari_latentfm.ui.common import on_click

if TYPE_CHECKING:
    from napari_latentfm.background.job import Update
    from napari_latentfm.dock.accepting import Accepting
    from napari_latentfm.dock.panel import LatentFMPanel


class ListLink(QObject):
    """Shows the progress of the work list in header and footer, and *Annotate* for a new image.

    Parameters
    ----------
    accepting
        Knows whether the chosen image is that of the list.
    """

    def __init__(self, panel: LatentFMPanel, accepting: Accepting) -> None:
        super().__init__(panel)
        self._panel, self._accepting = panel, accepting
        self._queue, self._form = panel.queue, panel.sampling.form
        self._to_annotate = False
        self._learns_from: Path | None = None
        queue = self._queue
        panel.footer.noted.connect(queue.states.note)
        on_click(panel.footer.flag, self._flag)
        # After the form's own slots, which look the name up.
        queue.form.model.changed.connect(self._name_empty)
        queue.status_changed.connect(self._on_status)
        queue.listed.connect(self.show_item)
        queue.shown.connect(self._on_shown)
        queue.settled.connect(self._on_settled)
        queue.sampler.progressed.connect(self._on_progress)
        queue.form.open_asked.connect(self.go_to_annotate)
        queue.form.table.chosen.connect(self.go_to_annotate)
        self._name_empty()

    def go_to_annotate(self, _name: str = "") -> None:
        """Show the tab *Annotate* once the image that is being opened is there."""
        self._panel.annotate.note_place()
        self._to_annotate = True

    def show_item(self) -> None:
        """Show the state of the chosen image in the footer."""
        queue, in_list = self._queue, self._accepting.in_list
        self._panel.footer.offer_accept("" if in_list or self._panel.chosen.name else NO_IMAGE)
        name = queue.current if in_list else None
        item = None if name is None or queue.work is None else queue.work.item(name)
        self._panel.footer.show_item(name, item)

    def _flag(self) -> None:
        self._panel.footer.commit()
        self._queue.states.flag()
        self.show_item()

    def _on_shown(self, _name: str) -> None:
        self._follow_folder()
        self._panel.annotate.return_to_place()
        if self._to_annotate:
            self._to_annotate = False
            self._panel.tabs.setCurrentWidget(self._panel.annotate)
            self._panel.canvas_focus.take()

    def _follow_folder(self) -> None:
        """Learn from the folder that is open, unless the user has chosen another one."""
        images, work = self._panel.learning.form.images, self._queue.work
        if self._panel.learning.running:
            return
        if work is not None and images.path() in (None, self._learns_from):
            images.set_path(work.folder)
            self._learns_from = work.folder

    def _on_settled(self, ending: str) -> None:
        self._panel.session.work.set_running(self._cancel, False)
        if not self._panel.review.strokes.running:
            self._panel.header.settle(ending)

    def _on_progress(self, kind: str, update: Update) -> None:
        if kind == "open":
            self._panel.session.work.set_running(self._cancel, True)
            self._panel.header.follow(update)

    def _cancel(self) -> None:
        self._queue.sampler.stop("open")

    def _on_status(self, text: str) -> None:
        # The header describes the samples, too, but after a prompt only a moment later.
        for described in (self._queue.described, str(self._form.status.value)):
            text = text.replace(described, "")
        self._panel.footer.show_message(text.strip())

    def _name_empty(self, _value: Any = None) -> None:
        self._panel.footer.show_empty_name(self._accepting.empty_name)
