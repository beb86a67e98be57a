"""Temporary hiding and fading of the layers on an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from napari.layers import Layer
from psygnal import Signal

from napari_latentfm.layers.specs import METADATA_KEY
from napari_latentfm.layers.stacking import show_with_image, source_of
from napari_latentfm.review.overlays import OVERLAY_KEY

if TYPE_CHECKING:
    from napari_latentfm.results.session import ReviewSession

PROPOSALS = ("samples", "mean_mask", "confidence", "class_confidence", "mean_probability")
"""Roles of the results that are shown to choose an outline, and cover the annotation."""


class OverlayLook:
    """Hides and fades the layers on the image under review, and restores them.

    Only layers that were hidden here are shown again; those of another image when it comes under
    review again.
    """

    changed = Signal()

    def __init__(self, session: ReviewSession) -> None:
        self._session = session
        self._all = _Hidden(session)
        self._proposals = _Hidden(session)
        self._opacity = 1.0
        self._faded: WeakKeyDictionary[Layer, tuple[float, float]] = WeakKeyDictionary()
        self._stack = session.stack
        # Kept, since a widget may be deleted after its viewer.
        self._layers = session.viewer.layers
        self._layers.events.inserted.connect(self._on_inserted)

    @property
    def plain(self) -> bool:
        """Whether the image is shown alone."""
        return self._all.active

    @property
    def proposals_hidden(self) -> bool:
        """Whether the proposed outlines and their maps are hidden."""
        return self._proposals.active

    def show_plain(self, on: bool) -> None:
        """Show the image alone, or restore its layers."""
        self._put(self._all, on, lambda _: True)

    def hide_proposals(self, on: bool = True) -> None:
        """Hide mean mask, samples, maps and contours, or show them again."""
        self._put(self._proposals, on, is_proposal)

    def fade(self, opacity: float) -> None:
        """Scale the opacity of all layers on the images, 0 to 1."""
        self._opacity = opacity
        for layer in self._layers:
            self._fade(layer)

    def renew(self) -> None:
        """Show everything again for new samples or another plane."""
        same = self._stack is not None and self._session.stack is self._stack
        self._stack = self._session.stack
        if self._session.current is None:
            return
        if not same:
            self._all.show()
        self._proposals.show()
        self.changed.emit()

    def release(self) -> None:
        """Restore every layer, those of other visible images included."""
        self.fade(1.0)
        self._all.show_every()
        self._proposals.show_every()
        self.changed.emit()

    def disconnect(self) -> None:
        """Stop listening to the viewer; hidden layers stay hidden."""
        self._layers.events.inserted.disconnect(self._on_inserted)

    def _put(self, hidden: _Hidden, on: bool, which: Callable[[Layer], bool]) -> None:
        (hidden.hide if on else lambda _: hidden.show())(which)
        self.changed.emit()

    def _on_inserted(self, event: Any) -> None:
        if self._opacity < 1:
            self._fade(event.value)

    def _fade(self, layer: Layer) -> None:
        if not source_of(layer):
            return
        own, applied = self._faded.get(layer, (layer.opacity, layer.opacity))
        if layer.opacity != applied:
            # The user has changed the opacity meanwhile.
            own = layer.opacity
        layer.opacity = own * self._opacity
        self._faded[layer] = own, layer.opacity


class _Hidden:
    """Hidden layers by image; layers that are deleted drop out."""

    def __init__(self, session: ReviewSession) -> None:
        self._session = session
        self._layers: dict[str, WeakSet[Layer]] = {}

    @property
    def active(self) -> bool:
        return self._key in self._layers

    def hide(self, which: Callable[[Layer], bool]) -> None:
        key = self._key
        if not key:
            return
        layers = [
            layer
            for layer in self._session.viewer.layers
            if layer.visible and source_of(layer) == key and which(layer)
        ]
        self._layers = {key: each for key, each in self._layers.items() if each}
        self._layers.setdefault(key, WeakSet()).update(layers)
        for layer in layers:
            layer.visible = False

    def show(self) -> None:
        self._show(self._key)

    def show_every(self) -> None:
        """Show the layers of every image; those of a hidden one are shown with it."""
        shown = {str(each.unique_id) for each in self._session.viewer.layers if each.visible}
        for key in list(self._layers):
            if key in shown:
                self._show(key)
            else:
                show_with_image(self._layers.pop(key))

    def _show(self, key: str) -> None:
        for layer in list(self._layers.pop(key, ())):
            # A layer may be that of the next image by now.
            if layer in self._session.viewer.layers and source_of(layer) == key:
                layer.visible = True

    @property
    def _key(self) -> str:
        reviewed = self._session.current
        return "" if reviewed is None else str(reviewed.layer.unique_id)


def is_proposal(layer: Layer) -> bool:
    """Return whether a layer is hidden when a proposal is taken."""
    role = layer.metadata.get(METADATA_KEY, {}).get("role")
    return role in PROPOSALS or layer.metadata.get(OVERLAY_KEY) == "contours"
