"""Warnings and errors of the plugin: notifications of napari that the dock shows as well.

napari cuts off long notifications in a narrow window, and hides them after a few seconds.
"""

from __future__ import annotations

from napari.utils.notifications import Notification, NotificationSeverity, notification_manager


class Notice(Notification):
    """A notification of this plugin."""


def show_error(message: str) -> None:
    """Notify the user of an error."""
    notification_manager.dispatch(Notice(message, NotificationSeverity.ERROR))


def show_warning(message: str) -> None:
    """Notify the user of something to check."""
    notification_manager.dispatch(Notice(message, NotificationSeverity.WARNING))
