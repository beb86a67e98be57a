"""Autosave and recovery of a viewer's annotation, shared by all panels."""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject

from napari_latentfm.annotation.autosave import Autosaver
from napari_latentfm.annotation.recovery import Offer, Recovery
from napari_latentfm.annotation.widgets import RecoveryBar
from napari_latentfm.background.signals import listen
from napari_latentfm.results.session import ReviewSession

logger = logging.getLogger(__name__)

BANNER = "LatentFM: unsaved annotation"


class AutosaveService:
    """The autosaver and the recovery of one viewer, which end with its last panel."""

    def __init__(self, session: ReviewSession) -> None:
        self.autosaver = Autosaver(session)
        self.recovery = Recovery(session, self.autosaver)
        self._session = session
        self._holders = 0
        self._banner = Banner(session, self.recovery)

    def hold(self, widget: QObject) -> None:
        """Stay active until `widget` and all other holders are deleted."""
        self._holders += 1
        # Not a method of the widget, which is partly deleted when the signal is emitted.
        widget.destroyed.connect(partial(_release, self))

    def release(self) -> None:
        """Remove a holder; after the last one, save edits and end."""
        self._holders -= 1
        if self._holders > 0:
            return
        saver, recovery = self.autosaver, self.recovery
        for signal in (saver.kept, saver.failed, saver.touched, saver.watched):
            signal.disconnect()
        for offers in (recovery.offered, recovery.recovered):
            offers.disconnect()
        recovery.close()
        saver.close()
        if _SERVICES.get(self._session) is self:
            del _SERVICES[self._session]


class Banner:
    """Offers an autosaved annotation in a bar at the top of the window, with a notification."""

    def __init__(self, session: ReviewSession, recovery: Recovery) -> None:
        self._session, self._recovery = session, recovery
        self._dock: Any = None
        recovery.offered.connect(self._on_offer)
        if recovery.offer is not None:
            self._on_offer(recovery.offer)

    def _on_offer(self, offer: Offer | None) -> None:
        window = getattr(self._session.viewer, "window", None)
        if window is None:
            return
        try:
            self._show(window, offer)
        except RuntimeError:
            logger.debug("the window is closed")

    def _show(self, window: Any, offer: Offer | None) -> None:
        if offer is None:
            if self._dock is not None:
                self._dock.hide()
            return
        if self._dock is None:
            bar = RecoveryBar()
            bar.chosen.connect(self._recovery.answer)
            listen(bar, self._recovery.offered, bar.show_offer)
            self._dock = window.add_dock_widget(bar, name=BANNER, area="top")
            self._dock.destroyed.connect(lambda: self._on_closed(bar))
            bar.show_offer(offer)
        self._dock.show()
        show_warning(f"{offer.question} Choose an action at the top of the window.")

    def _on_closed(self, bar: RecoveryBar) -> None:
        """Forget a bar that the user has closed; the next offer gets another one."""
        self._dock = None
        with contextlib.suppress(RuntimeError):  # with the window it is deleted already
            bar.deleteLater()


_SERVICES: WeakKeyDictionary[ReviewSession, AutosaveService] = WeakKeyDictionary()


def autosave_service_of(session: ReviewSession, widget: QObject) -> AutosaveService:
    """Return the service of a viewer, which stays active at least as long as `widget`."""
    service = _SERVICES.get(session)
    if service is None:
        service = _SERVICES[session] = AutosaveService(session)
    service.hold(widget)
    return service


def _release(service: AutosaveService, *_: object) -> None:
    service.release()
