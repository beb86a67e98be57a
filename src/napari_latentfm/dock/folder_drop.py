"""Open a folder that is dropped on the window as a work list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from latentfm_core.errors import LatentFMError
from latentfm_core.images.read import list_images
from napari_latentfm.reading import reading_limits

if TYPE_CHECKING:
    from napari_latentfm.dock.panel import LatentFMPanel

NAPARI_KEYS = Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.AltModifier
"""Keys with which napari opens files as a stack, or asks for a reader."""


class FolderDrop(QObject):
    """Opens a folder that is dropped on the dock or the canvas, before napari's readers do.

    napari would open a folder of single images as one stack. It still does so with Shift or Alt,
    and with a folder without direct images, such as that of a stored array.
    """

    def __init__(self, panel: LatentFMPanel) -> None:
        super().__init__(panel)
        self._panel = panel
        self._watched: QWidget | None = None
        panel.setAcceptDrops(True)
        panel.installEventFilter(self)

    def watch(self, window: QWidget) -> None:
        """Watch the middle of a main window, once."""
        middle = window.centralWidget() if isinstance(window, QMainWindow) else None
        if middle is None or middle is self._watched:
            return
        self._watched = middle
        for widget in (middle, *middle.findChildren(QWidget)):
            if widget.acceptDrops():
                widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Open a folder of images; everything else goes to napari, which accepts all drags."""
        if not isinstance(event, QDropEvent):
            return False
        if watched is self._panel:
            return self._on_dock(event)
        if event.type() != QEvent.Type.Drop or event.modifiers() & NAPARI_KEYS:
            return False
        folder = folder_of(event)
        if folder is None or not self._is_shown() or not holds_images(folder):
            return False
        event.acceptProposedAction()
        self._panel.open_folder(folder)
        return True

    def _on_dock(self, event: QDropEvent) -> bool:
        """Take a folder that is dragged over the dock, and open it when it is dropped."""
        folder = folder_of(event)
        if folder is None or self._panel.tabs.currentWidget() is self._panel.learning:
            return False  # which has lines for folders
        event.acceptProposedAction()
        if event.type() == QEvent.Type.Drop:
            self._panel.open_folder(folder)
        return True

    def _is_shown(self) -> bool:
        """Return whether the dock is open; of docks behind each other it may be a hidden one."""
        above = self.parent()
        while above is not None and not isinstance(above, QDockWidget):
            above = above.parent()
        return above is not None and not above.isHidden()


def folder_of(event: QDropEvent) -> Path | None:
    """Return the folder that is dropped; None for files, or several folders."""
    urls = event.mimeData().urls()
    paths = [Path(url.toLocalFile()) for url in urls if url.isLocalFile()]
    return paths[0] if len(paths) == len(urls) == 1 and paths[0].is_dir() else None


def holds_images(folder: Path) -> bool:
    """Return whether a folder can be opened as a work list."""
    try:
        return bool(list_images(folder, reading_limits()))
    except LatentFMError:
        return False
