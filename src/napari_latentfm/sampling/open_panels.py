"""The sampling panel of each viewer, for other panels that start runs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

from psygnal import Signal

if TYPE_CHECKING:
    from napari_latentfm.results.session import ReviewSession
    from napari_latentfm.sampling.panel import SamplingPanel


class OpenPanel:
    """Holds the sampling panel of one viewer.

    Attributes
    ----------
    changed
        Emitted when a panel was opened or deleted.
    """

    changed = Signal()

    def __init__(self) -> None:
        self._panel: ref[SamplingPanel] | None = None

    @property
    def panel(self) -> SamplingPanel | None:
        """The last opened panel, or None."""
        return None if self._panel is None else self._panel()

    def enter(self, panel: SamplingPanel) -> None:
        """Store a panel until Qt deletes it."""
        own = self._panel = ref(panel)
        # Not a method of the panel, which is partly deleted when the signal is emitted.
        panel.destroyed.connect(lambda: self._leave(own))
        self.changed.emit()

    def _leave(self, own: ref[SamplingPanel]) -> None:
        if self._panel is own:
            self._panel = None
            self.changed.emit()


_OPEN: WeakKeyDictionary[ReviewSession, OpenPanel] = WeakKeyDictionary()


def open_panel_of(session: ReviewSession) -> OpenPanel:
    """Return the holder of the sampling panel of a session."""
    return _OPEN.setdefault(session, OpenPanel())
