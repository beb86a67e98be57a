"""Exclude objects of imported modules from garbage collections.

napari collects garbage in the GUI thread whenever layers are removed. Once PyTorch is imported, a
collection looks through half a million objects for 0.3 s. Nearly all of them are functions and
classes of modules, which are never garbage.
"""

from __future__ import annotations

import gc
import sys
import time
from typing import Any
from weakref import WeakSet

import numpy as np
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QWidget

from napari_latentfm.background.signals import Source, listen

LARGE = 100 * 2**20
"""Bytes of removed layers that are released at once."""
PAUSE = 600.0
"""Seconds after which less is released too, by the next removal of a layer."""


class LastingObjects(QObject):
    """Excludes existing objects from garbage collections (`gc.freeze`) once a result is shown.

    Objects in reference cycles are not released while they are left out. Of those, layers may
    be large: the ones that were present are released after their removal as `LARGE` and `PAUSE`
    say. Later layers are released at once. All others wait until the owner is deleted.

    Nothing is done if another part of the program has called `gc.freeze`.

    Parameters
    ----------
    shown
        A signal that comes after PyTorch was imported.
    owner
        Its deletion, usually with the window, ends this.
    """

    def __init__(self, viewer: Any, shown: Source, owner: QWidget) -> None:
        super().__init__(owner)
        self._viewer = viewer
        self._layers: WeakSet[Any] = WeakSet()
        self._removed_bytes, self._due = 0, 0.0
        self._frozen: list[bool] = []
        self._decided = False
        listen(owner, shown, self._leave_out)
        listen(owner, viewer.layers.events.removed, self._on_removed)
        frozen = self._frozen
        owner.destroyed.connect(lambda: _thaw(frozen))

    def _leave_out(self) -> None:
        # Objects are not counted: `gc.get_objects` refers to each of them, also to a tuple that
        # another thread is about to fill, where it raises SystemError (python/cpython#39117).
        if self._decided or "torch" not in sys.modules:
            return
        # Asked once: Python goes through all objects that are left out.
        self._decided = True
        if not gc.get_freeze_count():
            self._freeze()

    def _freeze(self) -> None:
        gc.freeze()
        self._frozen[:] = [True]
        self._layers = WeakSet(self._viewer.layers)
        self._removed_bytes, self._due = 0, time.monotonic() + PAUSE

    def _on_removed(self, event: Any) -> None:
        if not self._frozen or event.value not in self._layers:
            return
        self._layers.discard(event.value)
        self._removed_bytes += _size(event.value)
        if self._removed_bytes >= LARGE or time.monotonic() >= self._due:
            self._removed_bytes = 0
            # Several layers may be removed in one go.
            QTimer.singleShot(0, self._renew)

    def _renew(self) -> None:
        if _thaw(self._frozen):
            gc.collect()
            self._freeze()


def _thaw(frozen: list[bool]) -> bool:
    """Include all objects again; return whether they had been left out here."""
    was_frozen = bool(frozen)
    if was_frozen:
        frozen.clear()
        gc.unfreeze()
    return was_frozen


def _size(layer: Any) -> int:
    """Return the bytes of a layer's arrays in memory."""
    levels = layer.data if getattr(layer, "multiscale", False) else [layer.data]
    return sum(level.nbytes for level in levels if isinstance(level, np.ndarray))
