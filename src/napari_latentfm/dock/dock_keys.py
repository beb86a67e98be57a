"""Keys of the dock in its viewer: Enter, Escape, keys of the sections, and the list of keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject
from qtpy.QtGui import QKeySequence, QShortcut

from napari_latentfm.dock.active_tool import ActiveTool
from napari_latentfm.dock.enter import CanvasEnter
from napari_latentfm.dock.keys import KeyGroup, KeySheet
from napari_latentfm.ui.shortcuts import KeyBindings

if TYPE_CHECKING:
    import napari

    from napari_latentfm.dock.panel import LatentFMPanel


CANVAS_KEYS = {
    "Escape": "End the active tool.",
    "Ctrl-Z": "Undo the last mark, stroke or edit in the selected layer.",
    "Ctrl-Shift-Z": "Redo the last undone stroke or edit in the selected layer.",
}
"""Keys of layers and of active tools."""


class DockKeys(QObject):
    """Binds the keys of the dock while it is visible."""

    def __init__(self, viewer: napari.viewer.Viewer, panel: LatentFMPanel) -> None:
        super().__init__(panel)
        self._panel = panel
        self._keys = keys = KeyBindings(viewer, panel)
        self._enter = enter = CanvasEnter(viewer, panel, panel.accept)
        self.tool = ActiveTool(viewer, panel)
        self._sheet_key = QShortcut(QKeySequence("?"), panel)
        self._sheet_key.activated.connect(self.show_sheet)
        # The end of the window deletes the panel without a close event.
        panel.destroyed.connect(lambda: keys.detach())
        panel.destroyed.connect(lambda: enter.release())

    def show_sheet(self) -> None:
        """List all keys of the dock."""
        panel = self._panel
        sheet = panel.findChild(KeySheet) or KeySheet(self._groups(), self._keys.taken, panel)
        sheet.show()
        sheet.raise_()
        sheet.activateWindow()  # Escape closes it

    def bind(self) -> None:
        """Bind the keys, unless the panel is not in a dock."""
        self.release()
        if self._panel.parent() is None:
            return
        self._enter.bind()
        self.tool.bind()
        self._keys.bind(self._panel.key_actions())
        for actions in self._panel.annotate.key_actions().values():
            self._keys.bind(actions)

    def release(self) -> None:
        """Release the keys."""
        self._keys.release()
        self._enter.release()
        self.tool.release()

    def _groups(self) -> Sequence[KeyGroup]:
        """Return all keys, for the sheet."""
        panel = self._panel
        enter = {"Enter": panel.accept}
        sections = panel.annotate.key_actions().items()
        return [
            KeyGroup("Unless a text field, list or button has the focus", enter),
            KeyGroup("On the image", CANVAS_KEYS),
            KeyGroup("Everywhere", panel.key_actions()),
            *(KeyGroup(title, actions) for title, actions in sections if actions),
            KeyGroup("Help", {"?": self.show_sheet}),
        ]
