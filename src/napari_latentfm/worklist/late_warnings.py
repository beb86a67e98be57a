"""Delay warnings until an image is open."""

from __future__ import annotations

from collections.abc import Callable

from napari_latentfm.notices import show_error


class LateWarnings:
    """Delays warnings until an image is open, because opening an image dismisses older ones.

    Parameters
    ----------
    is_moving
        Returns whether an image is about to be opened.
    """

    def __init__(self, is_moving: Callable[[], bool]) -> None:
        self._is_moving = is_moving
        self._texts: list[str] = []

    def keep(self, text: str) -> None:
        """Keep a warning, if there is one, until `show` is called."""
        if text:
            self._texts.append(text)

    def show(self) -> None:
        """Show what was kept."""
        if self._texts:
            show_error(" ".join(self._texts))
            self._texts.clear()

    def add(self, text: str) -> None:
        """Show a warning now, or once the image that is about to be opened is there."""
        self.keep(text)
        if not self._is_moving():
            self.show()
