"""Report on an image after another one is opened: its state, and objects that were not taken."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from latentfm_core.names import counted
from latentfm_core.worklist.order import tally
from napari_latentfm.background.signals import listen
from napari_latentfm.dock.kept_marks import KeptMarks
from napari_latentfm.prompting.objects import count_objects
from napari_latentfm.worklist.browsing import ALL_DONE

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentfm.dock.panel import LatentFMPanel
    from napari_latentfm.prompting.objects import PromptObject

LEFT = "{name}: {count} not taken. The marks are restored when you open the image again."
DONE = "{name} is done, {done} of {count}."
RETURNS = " Page Up returns to it."
DONE_EMPTY = f"{{name}} is done (empty), {{done}} of {{count}}.{RETURNS}"


class LeftImage(QObject):
    """Reports the state of an image after the next one is open; keeps marks of untaken objects.

    The marks are kept here until the window is closed, and by `KeptMarks` after that.
    """

    def __init__(self, panel: LatentFMPanel) -> None:
        super().__init__(panel)
        self._panel, self._queue = panel, panel.queue
        self.marks = KeptMarks(panel)
        self._open: tuple[str, str, str] | None = None
        self._kept: dict[tuple[str, str], list[PromptObject]] = {}
        self._note = ""
        self._queue.listed.connect(self._on_listed)
        self._queue.completed.connect(self._on_completed)
        self._queue.browsing.ended.connect(self._on_ended)
        self._queue.shown.connect(self._on_shown)
        self._queue.settled.connect(self._on_settled)
        listen(self, panel.session.closed, self._on_closed)

    def _on_listed(self) -> None:
        """Note which layer shows which image of the list."""
        work, name, layer = self._queue.work, self._queue.current, self._queue.open_image.layer
        if work is not None and name is not None and layer is not None:
            self._open = str(layer.unique_id), str(work.folder), name

    def _on_completed(self, name: str, _file: Path) -> None:
        if self._queue.work is not None:
            items = self._queue.work.items()
            counts = tally(items)
            text = DONE_EMPTY if items[name].empty else DONE
            done = text.format(name=name, done=counts.done, count=counts.total)
            self._note = f"{done} {self._panel.point.left_to_others()}".strip()

    def _on_closed(self, layer: Image) -> None:
        if self._open is None or self._open[0] != str(layer.unique_id):
            return
        _, folder, name = self._open
        left = self._panel.point.untaken(layer)
        self.marks.save(layer)
        if left:
            self._kept[folder, name] = left
            count = count_objects((one.number, one.plane.index) for one in left)
            were = counted(count, "object was", "objects were")
            left_text = LEFT.format(name=name, count=were)
            self._note = f"{self._note} {left_text}".strip()

    def _on_shown(self, name: str) -> None:
        work, layer = self._queue.work, self._queue.open_image.layer
        if work is not None and layer is not None:
            left = self._kept.pop((str(work.folder), name), [])
            self._panel.point.bring_back(layer, left)
            if not left:
                self.marks.find(layer, partial(self._panel.point.restore, layer))

    def _on_ended(self, text: str) -> None:
        """Report an accepted image that stays open, since it is the last one."""
        note, self._note = self._note.removesuffix(RETURNS), ""
        self._panel.footer.show_message(text if ALL_DONE in text else f"{note} {text}".strip())

    def _on_settled(self, _ending: str) -> None:
        note, self._note = self._note, ""
        if note:
            self._panel.footer.show_message(note)
