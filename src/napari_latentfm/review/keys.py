"""Keys of the review sections, bound to one viewer and given back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from app_model.types import KeyBinding

if TYPE_CHECKING:
    import napari

logger = logging.getLogger(__name__)


class KeyBindings:
    """Binds keys of a viewer for as long as a panel lives.

    Keys that something else in the viewer has taken are left to it: an annotator's own
    bindings are worth more than ours, and the buttons remain.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._bound: dict[Any, Callable[[Any], None]] = {}

    def bind(self, actions: Mapping[str, Callable[[], None]]) -> None:
        """Bind napari key strings to functions without arguments."""
        for key, action in actions.items():
            code = KeyBinding.from_str(key)
            if code in self._viewer.keymap:
                logger.info("the key %s is taken; it keeps its meaning", key)
                continue

            def press(_viewer: Any, run: Callable[[], None] = action) -> None:
                run()

            self._viewer.bind_key(key, press)
            self._bound[code] = press

    def release(self) -> None:
        """Unbind what is still bound to us."""
        for code, press in self._bound.items():
            if self._viewer.keymap.get(code) is press:
                del self._viewer.keymap[code]
        self._bound.clear()
