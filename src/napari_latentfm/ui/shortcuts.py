"""Keyboard shortcuts of a panel in one viewer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from app_model.backends.qt import QKeyBindingSequence
from app_model.types import KeyBinding
from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QApplication, QWidget

if TYPE_CHECKING:
    import napari

logger = logging.getLogger(__name__)


class KeyBindings:
    """Binds keys of a viewer for the lifetime of a panel.

    Keys that are already bound in the viewer are not replaced: bindings of the user take
    precedence, and the panel has buttons as well.

    Parameters
    ----------
    viewer
        Handles the keys while the canvas, or a widget that does not use them, has the focus.
    panel
        Handles them while the focus is in it: its tables and combo boxes would use letters and
        arrows for their own search. Text fields, and the list of choices that a combo box has
        opened, still receive what is typed.
    """

    def __init__(self, viewer: napari.viewer.Viewer, panel: QWidget) -> None:
        self._viewer = viewer
        # The panel holds this object.
        self._panel = ref(panel)
        self._bound: dict[Any, Callable[[Any], None]] = {}
        self._shortcuts: dict[Any, list[QShortcut]] = {}
        self.taken: set[str] = set()
        self._choosing = _Choosing(panel, self._enable)

    def bind(self, actions: Mapping[str, Callable[[], None]]) -> None:
        """Bind napari key strings to functions without arguments."""
        for key, action in actions.items():
            code = KeyBinding.from_str(key)
            if code in self._viewer.keymap:
                logger.info("the key %s is already bound and keeps its function", key)
                self.taken.add(key)
                continue

            def press(_viewer: Any, run: Callable[[], None] = action) -> None:
                run()

            self._viewer.bind_key(key, press)
            self._bound[code] = press
            if code not in self._shortcuts:
                self._shortcuts[code] = self._make(code, action)
        self._enable()

    def release(self) -> None:
        """Unbind the keys that are still bound here."""
        self.detach()
        self._enable()

    def detach(self) -> None:
        """Unbind the keys of a deleted panel."""
        for code, press in self._bound.items():
            if self._viewer.keymap.get(code) is press:
                del self._viewer.keymap[code]
        self._bound.clear()
        self.taken.clear()

    def _enable(self) -> None:
        for code, shortcuts in self._shortcuts.items():
            for shortcut in shortcuts:
                shortcut.setEnabled(code in self._bound and not self._choosing.is_active)

    def _make(self, code: KeyBinding, action: Callable[[], None]) -> list[QShortcut]:
        panel = self._panel()
        if panel is None:
            return []
        sequence = QKeyBindingSequence(code)
        sequences: list[QKeySequence] = [sequence]
        if sequence.toString().endswith("Enter"):
            # In Qt this is the digit key only; napari means both.
            sequences.append(QKeySequence(sequence.toString().replace("Enter", "Return")))
        made = [QShortcut(each, panel) for each in sequences]
        for shortcut in made:
            shortcut.setAutoRepeat(False)  # as on the canvas: a held key acts once
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)
        return made


class _Choosing(QObject):
    """Tracks whether an opened list of choices has the keyboard focus, and calls `changed`.

    Qt counts the list among the children of its combo box, whose shortcuts would come first.
    """

    def __init__(self, panel: QWidget, changed: Callable[[], None]) -> None:
        super().__init__(panel)
        self.is_active, self._changed = False, changed
        cast("QApplication", QApplication.instance()).focusChanged.connect(self._on_moved)

    def _on_moved(self, _old: QWidget | None, new: QWidget | None) -> None:
        before = self.is_active
        self.is_active = new is not None and new.window().windowType() == Qt.WindowType.Popup
        if self.is_active != before:
            self._changed()
