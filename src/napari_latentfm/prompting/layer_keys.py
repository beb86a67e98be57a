"""Keys of the viewer that take precedence over those of napari's layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app_model.types import KeyBinding
from napari.layers import Labels
from qtpy.QtCore import QObject

from napari_latentfm.background.signals import listen
from napari_latentfm.layers.annotation_record import Record
from napari_latentfm.layers.specs import own_facts
from napari_latentfm.layers.stacking import source_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

PAN_ZOOM = "pan_zoom"
HAND_KEYS = ("2", "3", "E")
"""Keys of napari's brush, polygon and eraser; on a result they are for the annotation."""


class LayerKeys(QObject):
    """Gives a key of the viewer precedence over that of the active layer, if the plugin made it.

    napari's Labels, Points and Shapes layers take B and P for themselves. On the user's own
    layers they keep their meaning, and so they do while the annotation is painted by hand.
    The keys for painting have precedence on results only.
    """

    def __init__(self, viewer: ViewerModel, keys: tuple[str, ...], parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._keys = viewer, keys
        self._layer: Layer | None = None
        listen(self, viewer.layers.selection.events.active, self._on_active)
        self._on_active()

    def release(self) -> None:
        """Restore the keys of the active layer."""
        if self._layer is not None:
            self._layer.events.mode.disconnect(self._on_mode)
            self._unbind(self._layer)
            self._layer = None

    def _on_active(self, _event: Any = None) -> None:
        layer = self._viewer.layers.selection.active
        if layer == self._layer:
            return
        self.release()
        if layer is not None and source_of(layer):
            self._layer = layer
            layer.events.mode.connect(self._on_mode)
            self._on_mode()

    def _on_mode(self, _event: Any = None) -> None:
        layer = self._layer
        if layer is None:
            return
        self._unbind(layer)
        by_hand = isinstance(layer, Labels) and Record.is_in(layer) and layer.mode != PAN_ZOOM
        if not by_hand:
            hand = HAND_KEYS if own_facts(layer) else ()
            for key in (*self._keys, *hand):
                layer.bind_key(key, self._forward(KeyBinding.from_str(key)), overwrite=True)

    def _unbind(self, layer: Layer) -> None:
        for key in (*self._keys, *HAND_KEYS):
            layer.keymap.pop(KeyBinding.from_str(key), None)

    def _forward(self, code: KeyBinding) -> Any:
        viewer = self._viewer

        def press(layer: Layer) -> None:
            action = viewer.keymap.get(code)
            if action is not None:
                action(viewer)
                return
            # The viewer has no such key: do what napari does.
            for kind in type(layer).__mro__:
                usual = getattr(kind, "class_keymap", {}).get(code)
                if callable(usual):
                    usual(layer)
                    return

        return press
