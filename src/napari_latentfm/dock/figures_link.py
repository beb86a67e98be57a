"""Update the figures after the mask on screen was edited, hidden or shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_latentfm.background.signals import listen, pause_timer

if TYPE_CHECKING:
    from napari_latentfm.dock.panel import LatentFMPanel

PAUSE_MS = 200
"""Milliseconds after the last edit, since counting the pixels of a large image takes some."""


class FiguresLink(QObject):
    """Updates the description of the result when another or an edited mask is on screen."""

    def __init__(self, panel: LatentFMPanel) -> None:
        super().__init__(panel)
        self._panel = panel
        self._timer = pause_timer(self, PAUSE_MS, self._describe)
        for source in (
            panel.review.hypotheses.view.look.changed,
            panel.review.annotation.autosaver.touched,
            panel.header.channel.found,  # the file is read, and the pixel size known
        ):
            listen(self, source, self._later)
        # The events of all layers; their eyes in the layer list hide them.
        listen(self, panel.session.viewer.layers.events, self._on_layers)

    def _on_layers(self, event: Any) -> None:
        if event.type == "visible":
            self._later()

    def _later(self, _value: object = None) -> None:
        self._timer.start()

    def _describe(self) -> None:
        self._panel.sampling.describe()
        self._panel.queue.describe()
