"""Collect garbage in the GUI thread only, while threads of the plugin run.

Python collects garbage in whichever thread allocates. Qt objects of closed windows and removed
layers are part of it, and a timer that is destroyed in another thread than its own still fires:
the process then ends with a segmentation fault, at once or in some later window.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

from qtpy.QtCore import QCoreApplication, QObject, QTimer

PAUSE_MS = 100
"""Interval between two checks for garbage."""


class GuiCollector(QObject):
    """Replaces automatic collection while threads run."""

    def __init__(self, application: QCoreApplication) -> None:
        super().__init__(application)
        self._threads: set[object] = set()
        self._automatic = False
        self._timer = QTimer(self)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._collect)
        application.aboutToQuit.connect(self.resume)

    def thread_starts(self) -> Callable[..., None]:
        """Pause automatic collection; call it in the GUI thread before a thread is started.

        Returns
        -------
        Callable
            To be called at the end of the thread, in any thread, at least once. A signal would
            not do: its receiver may have been deleted.
        """
        if not self._timer.isActive():
            self._automatic = gc.isenabled()
            gc.disable()
            self._timer.start()
        thread = object()
        self._threads.add(thread)
        return lambda *_: self._threads.discard(thread)

    def resume(self) -> None:
        """Forget the threads, and turn automatic collection on again."""
        self._threads.clear()
        if self._timer.isActive():
            self._timer.stop()
            if self._automatic:
                gc.enable()

    def _collect(self) -> None:
        if not self._threads:
            self.resume()
            return
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
