"""Offer to recover an autosaved annotation of the chosen image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_latentfm.background.signals import listen, pause_timer
from napari_latentfm.sampling.controls import WHOLE

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentfm.dock.kept_marks import KeptMarks
    from napari_latentfm.dock.panel import LatentFMPanel

KEPT_MS = 250
"""Milliseconds between choosing an image and looking for its autosaved annotation, because files
that are opened together are chosen one after the other."""


class RecoveryLink(QObject):
    """Looks for an autosaved annotation of a chosen image, and draws the samples that it needs."""

    def __init__(self, panel: LatentFMPanel, marks: KeptMarks) -> None:
        super().__init__(panel)
        self._panel, self._marks = panel, marks
        self._recovery = panel.review.annotation.recovery
        self._timer = pause_timer(self, KEPT_MS, self._look_for_kept)
        listen(self, panel.chosen.settled, self._on_settled)
        listen(self, self._recovery.samples_needed, self._on_samples_needed)

    def _on_settled(self) -> None:
        self._timer.start()

    def _look_for_kept(self) -> None:
        """Offer an autosaved annotation of the chosen image, unless it is in a work list."""
        if not self._panel.accepting.in_list:
            self._recovery.look_at(self._panel.chosen.layer)
            self._marks.offer(self._panel.chosen.layer)

    def _on_samples_needed(self, layer: Image) -> None:
        """Run the model on an image whose annotation is to be recovered."""
        if self._panel.chosen.is_chosen(layer):
            self._panel.sampling.form.field.value = WHOLE
            self._panel.run_model()
