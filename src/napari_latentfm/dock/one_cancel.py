"""One button in the head cancels whatever runs, instead of one in each section."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject

if TYPE_CHECKING:
    from qtpy.QtWidgets import QPushButton

    from napari_latentfm.sampling.panel import SamplingPanel


class OneCancel(QObject):
    """Hides the buttons of the sections, and clicks those that are enabled.

    Parameters
    ----------
    panel
        Whose button, in the head, is enabled while one of the others is. Owns this object.
    others
        Of the sections.
    """

    def __init__(self, panel: SamplingPanel, others: Sequence[QPushButton]) -> None:
        super().__init__(panel)
        self._panel, self._others = panel, tuple(others)
        for each in self._others:
            each.hide()
            each.installEventFilter(self)
        panel.form.cancel_button.changed.connect(self._cancel)

    def eventFilter(self, _watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Enable the button while something can be cancelled; no event is consumed."""
        if event.type() == QEvent.Type.EnabledChange:
            busy = any(each.isEnabled() for each in self._others)
            self._panel.form.cancel_button.enabled = busy or self._panel.running
        return False

    def _cancel(self) -> None:
        for each in self._others:
            each.click()
