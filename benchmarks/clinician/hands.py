"""Mouse and keyboard of the scripted clinician, which reach only what the window shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtGui import QGuiApplication, QWindow
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMenu, QMenuBar, QTabBar, QWidget

LEFT, PLAIN = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
GIVE_UP = 120.0
"""Timeout of a wait in seconds."""
DRAG_STEPS = 6


@dataclass
class Count:
    """Actions since the last call of `Hands.take_count`.

    Attributes
    ----------
    keys, clicks, drags
        Pressed keys (a key with its modifiers is one), mouse clicks, and drags.
    """

    keys: int = 0
    clicks: int = 0
    drags: int = 0


class Hands:
    """Sends mouse and key events to the widget that is at the place on the screen.

    Parameters
    ----------
    folder
        For screenshots.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = Count()
        self._pictures = 0
        self._popup: QWidget | None = None

    def take_count(self) -> Count:
        """Return the actions since the last call."""
        count, self.count = self.count, Count()
        return count

    def press(self, key: Qt.Key, modifier: Qt.KeyboardModifier = PLAIN) -> None:
        """Press a key."""
        self.count.keys += 1
        QTest.keyClick(self._window(), key, modifier)

    def write(self, text: str) -> None:
        """Type a text; its letters are not counted."""
        test: Any = QTest  # the stubs of PySide6 lack letters for windows
        for letter in text:
            test.keyClick(self._window(), letter)

    def click(self, widget: QWidget, at: QRect | None = None) -> None:
        """Click the middle of a widget, or of a part of it."""
        self.count.clicks += 1
        place = (widget.rect() if at is None else at).center()
        self.click_at(widget.mapToGlobal(place), widget)

    def click_at(self, place: QPoint, expected: QWidget) -> None:
        """Click a place on the screen, where the widget must be visible."""
        target = QApplication.widgetAt(place)
        if target is None or not (target is expected or expected.isAncestorOf(target)):
            self.picture("out-of-reach")
            name = expected.objectName() or type(expected).__name__
            raise SystemExit(f"error: {name} cannot be clicked at {place}: {target} is there")
        QTest.mouseClick(target, LEFT, PLAIN, target.mapFromGlobal(place))

    def click_tab(self, bar: QTabBar, title: str) -> None:
        """Click a tab by its title."""
        index = next(i for i in range(bar.count()) if bar.tabText(i) == title)
        self.click(bar, bar.tabRect(index))

    def click_menu(self, bar: QMenuBar, *path: str) -> None:
        """Click through the menus, from the menu bar to an entry."""
        menu: QMenuBar | QMenu = bar
        for title in path:
            for action in menu.actions():
                if action.text().replace("&", "").startswith(title):
                    break
            else:
                raise SystemExit(f"error: menu entry {title!r} not found")
            inner: Any = action.menu()
            self.click(menu, menu.actionGeometry(action))
            self.pause(0.2)
            if inner is not None:
                menu = inner

    def drag(self, widget: QWidget, start: QPoint, end: QPoint) -> None:
        """Drag from one place in a widget to another."""
        self.count.drags += 1
        QTest.mouseMove(widget, start)
        QApplication.processEvents()
        QTest.mousePress(widget, LEFT, PLAIN, start)
        for step in range(1, DRAG_STEPS + 1):
            QTest.mouseMove(widget, start + (end - start) * (step / DRAG_STEPS))
            QApplication.processEvents()
        QTest.mouseRelease(widget, LEFT, PLAIN, end)

    def pause(self, seconds: float) -> None:
        """Look at the window."""
        end = time.perf_counter() + seconds
        self.wait(lambda: time.perf_counter() > end, "the end of a pause")

    def wait(self, ready: Callable[[], bool], what: str) -> float:
        """Wait for something in the window, and return the seconds that it took."""
        start = time.perf_counter()
        while not ready():
            if time.perf_counter() - start > GIVE_UP:
                self.picture("timeout")
                raise SystemExit(f"error: {what} did not happen within {GIVE_UP:.0f} s")
            QApplication.processEvents()
            time.sleep(0.002)
        return time.perf_counter() - start

    def picture(self, name: str) -> None:
        """Save what the screen shows."""
        self._pictures += 1
        screen = QApplication.primaryScreen()
        if screen is not None:
            path = self.folder / f"{self._pictures:02d}-{name}.png"
            screen.grabWindow(0).save(str(path))

    def _window(self) -> QWindow:
        """Return the window that has the keyboard; Qt passes the key on to the right widget."""
        # PySide6 drops the wrapper of a window together with that of its widget.
        self._popup = popup = QApplication.activePopupWidget()
        target = QGuiApplication.focusWindow() if popup is None else popup.windowHandle()
        if target is None:
            self.picture("no-focus")
            raise SystemExit("error: the window does not have the keyboard")
        return target
