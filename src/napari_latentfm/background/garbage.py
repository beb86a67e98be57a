"""Garbage is collected in the GUI thread while the plugin's threads run.

Python collects garbage in whichever thread allocates. Qt objects of closed windows and removed
layers are part of it, and a timer that is destroyed in another thread than its own still fires:
the process then ends with a segmentation fault, at once or in some later window.
"""

from __future__ import annotations

import gc

from qtpy.QtCore import QCoreApplication, QObject, QTimer

PAUSE_MS = 100
"""Between two looks at how much garbage there may be."""


class GuiCollector(QObject):
    """Replaces automatic collection while threads run; all methods are for the GUI thread."""

    def __init__(self, application: QCoreApplication) -> None:
        super().__init__(application)
        self._threads, self._automatic = 0, False
        self._timer = QTimer(self)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._collect)

    def thread_begins(self) -> None:
        """Call before a thread is started."""
        if not self._threads:
            self._automatic = gc.isenabled()
            gc.disable()
            self._timer.start()
        self._threads += 1

    def thread_ended(self, *_: object) -> None:
        """Call after a thread has ended."""
        self._threads -= 1
        if not self._threads:
            self._timer.stop()
            if self._automatic:
                gc.enable()

    def _collect(self) -> None:
        # Full collections take long; napari makes one whenever layers are removed.
        for generation in (1, 0):
            if gc.get_count()[generation] > gc.get_threshold()[generation] > 0:
                gc.collect(generation)
                return


def gui_collector() -> GuiCollector:
    """Return the collector of the application."""
    application = QCoreApplication.instance()
    if application is None:
        raise RuntimeError("There is no Qt application. Create one first.")
    return application.findChild(GuiCollector) or GuiCollector(application)
