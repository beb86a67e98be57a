"""Short garbage collections while images are opened one after another.

napari 0.9 collects garbage whenever a layer is removed. This visits all objects of PyTorch and
napari, and stops the window for about a quarter of a second. Objects that exist when a work list
has shown its first image are therefore hidden from the collector.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from napari.components import LayerList
    from napari.layers import Layer


class FrozenHeap:
    """Hides the objects that exist now from the garbage collector.

    Layers are part of reference cycles, so that a hidden layer is not freed when it is removed.
    After the removal of a layer that the user had open before, all garbage is collected once.

    Parameters
    ----------
    layers
        Of the viewer.
    """

    def __init__(self, layers: LayerList) -> None:
        self._layers = layers
        self._users: set[int] = set()
        self.is_frozen = False

    def freeze(self, users: Iterable[Layer]) -> None:
        """Collect garbage and hide what is left, once until `release`.

        Parameters
        ----------
        users
            Layers of the user, which may be large and are watched.
        """
        if self.is_frozen:
            return
        self.is_frozen = True
        self._users = {id(layer) for layer in users}
        self._layers.events.removed.connect(self._on_removed)
        _collect_and_freeze()

    def release(self) -> None:
        """Let all objects be collected again."""
        if self.is_frozen:
            self._layers.events.removed.disconnect(self._on_removed)
            gc.unfreeze()
            self.is_frozen = False

    def _on_removed(self, event: Any) -> None:
        if id(event.value) in self._users:
            self._users.discard(id(event.value))
            # napari still refers to the layer now.
            QTimer.singleShot(0, self._collect)

    def _collect(self) -> None:
        if self.is_frozen:
            gc.unfreeze()
            _collect_and_freeze()


def _collect_and_freeze() -> None:
    gc.collect()
    gc.freeze()
