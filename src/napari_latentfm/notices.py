"""Warnings and errors of the plugin: notifications of napari that the dock shows as well.

napari cuts off long notifications in a narrow window, and hides them after a few seconds.
"""

from __future__ import annotations

import re

from napari.utils.notifications import Notification, NotificationSeverity, notification_manager


class Notice(Notification):
    """A notification of this plugin."""


_CLAUSE = re.compile(r".+?(?:[.;](?=\s|$)|(?=, or )|$)")
_OPTION = re.compile(r"(?<!\S)(?:--[a-z]|\[\[|latentfm-[a-z])")


def without_options(message: str) -> str:
    """Return a message without advice about options of the commands, which a window lacks."""
    return "\n".join(filter(None, map(_line_without_options, message.splitlines())))


def _line_without_options(line: str) -> str:
    clauses: list[str] = _CLAUSE.findall(line)
    kept = "".join(clause for clause in clauses if not _OPTION.search(clause))
    return line if len(kept) == len(line) else kept.rstrip(" ;.") + "." * bool(kept.strip())


def show_error(message: str) -> None:
    """Notify the user of an error."""
    notification_manager.dispatch(Notice(message, NotificationSeverity.ERROR))


def show_warning(message: str) -> None:
    """Notify the user of something to check."""
    notification_manager.dispatch(Notice(message, NotificationSeverity.WARNING))
