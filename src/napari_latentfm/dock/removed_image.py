"""Clean up after an image that the user removed from the layer list."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QObject

from napari_latentfm.background.signals import listen, pause_timer
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.layers.edits import is_edited, is_result
from napari_latentfm.layers.stacking import is_own, source_of
from napari_latentfm.layers.update import detach

if TYPE_CHECKING:
    from napari_latentfm.dock.panel import LatentFMPanel

PAUSE_MS = 50
"""Milliseconds between a removal and the clean-up; more layers may be removed with the image."""
REMOVED = "{name} was removed from the layer list, with its results and marks."
STAYS = " {kept} stays there, since it holds your work."
AGAIN = " Double-click the image in the tab Folder to open it again."
STAY = " {kept} stay there, since they hold your work."


class RemovedImage(QObject):
    """Removes results, marks and outlines of a removed image; painted masks become user layers.

    Marks are saved, and offered when the image is opened again, as its autosaved annotation is.
    """

    def __init__(self, panel: LatentFMPanel) -> None:
        super().__init__(panel)
        self._panel, self._layers = panel, panel.session.viewer.layers
        self._closed: set[str] = set()
        self._removed: list[Image] = []
        self._timer = pause_timer(self, PAUSE_MS, self._clear)
        listen(self, panel.session.closed, self._on_closed)
        listen(self, self._layers.events.removed, self._on_removed)

    def _on_closed(self, layer: Image) -> None:
        """Note an image that the work list closes, and whose layers it removes."""
        self._closed.add(str(layer.unique_id))

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        closed = str(layer.unique_id) in self._closed
        if isinstance(layer, Image) and not is_result(layer) and not closed:
            self._removed.append(layer)
            self._timer.start()

    def _clear(self) -> None:
        if self._panel.sampling.running:
            self._timer.start()  # the run is being cancelled, and undoes its own layers
            return
        removed, self._removed = self._removed, []
        for image in removed:
            key = str(image.unique_id)
            own = [each for each in self._layers if source_of(each) == key]
            if own and image not in self._layers:
                self._panel.footer.show_message(self._clear_one(image, key, own))

    def _clear_one(self, image: Image, key: str, own: list[Layer]) -> str:
        painted = [layer for layer in own if not is_own(layer, key) and _is_painted(layer)]
        with getattr(self._layers, "batched_update", nullcontext)():
            for layer in own:
                if layer not in painted:
                    self._layers.remove(layer)
        for layer in painted:
            if isinstance(layer, Labels) and not is_result(layer):
                record_of(layer).source_id = ""
            else:
                detach(layer)
        kept = ", ".join(repr(layer.name) for layer in painted)
        stay = (STAY if len(painted) > 1 else STAYS) if painted else ""
        again = AGAIN if self._panel.accepting.removed() else ""
        return f"{REMOVED.format(name=image.name)}{stay.format(kept=kept)}{again}"


def _is_painted(layer: Any) -> bool:
    """Return whether a result was edited, or an annotation has labels."""
    return is_edited(layer) if is_result(layer) else bool(layer.data.any())
