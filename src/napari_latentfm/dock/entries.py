"""The entries of napari's menus, all of which open the one dock of a viewer.

napari puts the widget of an entry into its own dock, whose name differs between its menus and
`Window.add_plugin_dock_widget`; two entries would make two docks. An entry is therefore a small
widget that opens the one dock at a certain place and then removes itself from the window.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import ReferenceType, WeakKeyDictionary, ref

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QDockWidget, QWidget

from napari_latentfm.background.gl_context import protect_canvas
from napari_latentfm.dock import small_screen
from napari_latentfm.dock.panel import LatentFMPanel, Place

if TYPE_CHECKING:
    import napari

NAME = "LatentFM"
"""Name of the dock."""

_PANELS: WeakKeyDictionary[Any, ReferenceType[LatentFMPanel]] = WeakKeyDictionary()


def dock_of(viewer: napari.viewer.Viewer) -> LatentFMPanel | None:
    """Return what is in the dock of a viewer, or None if it is closed."""
    known = _PANELS.get(_own(viewer))
    panel = None if known is None else known()
    if panel is None:
        return None
    try:
        return panel if _dock(panel) is not None else None
    except RuntimeError:
        return None  # its window is gone


def open_dock(viewer: napari.viewer.Viewer, place: Place = "as it was") -> LatentFMPanel:
    """Open the dock of a viewer, or bring it to the front, and show a place of it."""
    panel, made = dock_of(viewer), False
    if panel is None:
        panel = LatentFMPanel(_own(viewer))
        _PANELS[_own(viewer)] = ref(panel)
        viewer.window.add_dock_widget(panel, name=NAME)
        protect_canvas(_own(viewer), panel.window())
        made = True
    dock: Any = _dock(panel)
    if dock is not None:
        if made:
            # Its close button hides it: objects, tools and the work list are there when it is
            # opened again, and runs continue.
            dock.destroyOnClose = dock.close
            small_screen.fit(dock)
        dock.show()
        dock.raise_()
    panel.show_place(place)
    return panel


def _own(viewer: Any) -> Any:
    """Return the viewer itself, where napari hands over a proxy."""
    return getattr(viewer, "__wrapped__", viewer)


def _dock(panel: QWidget) -> QDockWidget | None:
    above = panel.parentWidget()
    while above is not None and not isinstance(above, QDockWidget):
        above = above.parentWidget()
    return above


class _Entry(QWidget):
    """Opens the dock.

    Scripts for earlier versions, in which an entry was a panel, find the attributes of that panel.
    """

    place: ClassVar[Place] = "as it was"
    part: ClassVar[str] = ""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.panel = open_dock(napari_viewer, self.place)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "panel":
            raise AttributeError(name)
        part = getattr(self.panel, self.part) if self.part else self.panel
        return getattr(part, name)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Remove the entry from the window, once napari has added it."""
        super().changeEvent(event)
        dock = self.parentWidget()
        if event.type() == QEvent.Type.ParentChange and dock is not None:
            dock.hide()
            QTimer.singleShot(0, self._leave)

    def _leave(self) -> None:
        # The window may be closed by now, which removes napari's attribute for it, or other code
        # may have removed the entry.
        with contextlib.suppress(AttributeError, LookupError, RuntimeError):
            self._viewer.window.remove_dock_widget(self)


class OpenDock(_Entry):
    """Opens the dock as it was left."""


class OpenSampling(_Entry):
    """Opens the dock at image and model."""

    place, part = "sample", "sampling"


class OpenReview(_Entry):
    """Opens the dock at the comparison of samples."""

    place, part = "review", "review"


class OpenFolder(_Entry):
    """Opens the dock at the work list."""

    place, part = "folder", "queue"


class OpenLearning(_Entry):
    """Opens the dock at learning from corrections."""

    place, part = "learn", "learning"
