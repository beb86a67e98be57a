"""One image at a time: chosen in the list, in front on the canvas, and under review."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image, Layer
from psygnal import Signal
from qtpy.QtCore import QObject

from napari_latentfm.background.signals import listen, pause_timer
from napari_latentfm.dock.reviews import KeptReviews
from napari_latentfm.layers.crop import KEY as FIELD_KEY
from napari_latentfm.layers.edits import is_result
from napari_latentfm.layers.stacking import bring_forward, source_of

if TYPE_CHECKING:
    from napari_latentfm.results.session import ReviewSession
    from napari_latentfm.sampling.panel import SamplingPanel


class ChosenImage(QObject):
    """Keeps three things the same: the chosen image, the image in front, and the reviewed image.

    The choice in *Image* decides. Another image is chosen there, by opening it, or by selecting
    it or one of its results in the layer list. During a run the choice stays; an image that is
    opened or selected meanwhile is chosen when the run has ended.

    Attributes
    ----------
    changed
        Emitted when another image, or none, was chosen, before it is in front.
    settled
        Emitted when the chosen image is in front and under review.
    """

    changed = Signal()
    settled = Signal()

    def __init__(self, session: ReviewSession, panel: SamplingPanel, parent: QObject) -> None:
        super().__init__(parent)
        self._session, self._panel = session, panel
        self._viewer = session.viewer
        self._reviews = KeptReviews(session)
        self._front = ""
        self._aligning = False
        self._inserted: Layer | None = None
        self._selected: Image | None = None
        # Layers may not be moved or reviewed in the middle of napari's own work on the list.
        self._timer = pause_timer(self, 0, self.settle)
        layers = self._viewer.layers
        listen(self, panel.form.image.changed, self._on_chosen)
        listen(self, panel.finished, self._on_finished)
        listen(self, session.changed, self._on_reviewed)
        listen(self, layers.events.inserted, self._on_inserted)
        listen(self, layers.events.removed, self._on_removed)
        listen(self, layers.selection.events.active, self._on_active)
        self._timer.start()

    @property
    def layer(self) -> Image | None:
        """The chosen image, or None."""
        found: Image | None = self._panel.form.image.value
        return found

    @property
    def name(self) -> str:
        """Name of the chosen image, or ``""``."""
        return "" if self.layer is None else str(self.layer.name)

    def with_name(self, text: str) -> str:
        """Return a message about the chosen image, which begins with its name if there is one."""
        return f"{self.name}: {text}" if self.name else text

    def is_chosen(self, layer: Layer | None) -> bool:
        """Return whether a layer is the chosen image."""
        chosen = self.layer
        return chosen is not None and layer is not None and chosen.unique_id == layer.unique_id

    def settle(self) -> None:
        """Bring the chosen image to the front, and put it under review, at once."""
        self._timer.stop()
        chosen = self.layer
        if self._aligning or self._panel.running or not self._is_there(chosen):
            return
        self._aligning = True
        try:
            self._align(chosen)
        finally:
            self._aligning = False
        self.settled.emit()

    def _align(self, chosen: Image | None) -> None:
        key = "" if chosen is None else str(chosen.unique_id)
        moved, self._front = key != self._front, key
        if not self._reviews.fits(chosen) or (moved and self._reviews.layer is None):
            self._reviews.show(chosen)
        if moved and chosen is not None:
            bring_forward(self._viewer, chosen)
            front = self._reviews.layer
            if front is not None and not self.is_chosen(front):
                # A crop of the chosen image, which lies on it.
                bring_forward(self._viewer, front)
            self._select(chosen)

    def _select(self, chosen: Image) -> None:
        """Select the chosen image in the layer list, unless a layer on it or the user's own is.

        napari's tools would otherwise continue with a hidden layer of another image.
        """
        selection = self._viewer.layers.selection
        active = selection.active
        other = active is None or (isinstance(active, Image) and active != chosen)
        if active is not None and source_of(active):
            other = source_of(active) != str(chosen.unique_id)
        if other:
            selection.active = chosen

    def _is_there(self, chosen: Image | None) -> bool:
        return chosen is None or chosen in self._viewer.layers

    def _on_chosen(self, _value: Any = None) -> None:
        self._selected = None
        self.changed.emit()
        self._timer.start()

    def _on_reviewed(self) -> None:
        self._reviews.remember()
        if not self._aligning:
            self._timer.start()

    def _on_finished(self, _ending: str) -> None:
        selected, self._selected = self._selected, None
        if selected is not None:
            self._choose(selected)
        self._timer.start()

    def _on_inserted(self, event: Any) -> None:
        self._inserted = event.value

    def _on_removed(self, event: Any) -> None:
        if isinstance(event.value, Image):
            self._reviews.forget(event.value)
            self._timer.start()

    def _on_active(self, event: Any) -> None:
        layer, inserted = event.value, self._inserted
        self._inserted = None
        if layer is None:
            return
        own = source_of(layer)
        if own and layer == inserted:
            return  # A new result; the user did not select it.
        image = self._image(own) if own else layer
        if not isinstance(image, Image) or self.is_chosen(image):
            return
        if self._panel.running:
            if FIELD_KEY not in image.metadata:
                self._selected = image
        else:
            self._choose(image)

    def _choose(self, image: Image) -> None:
        if not is_result(image) and image in self._panel.form.image.choices:
            self._panel.form.image.value = image

    def _image(self, key: str) -> Image | None:
        for layer in self._viewer.layers:
            if isinstance(layer, Image) and str(layer.unique_id) == key:
                return layer
        return None
