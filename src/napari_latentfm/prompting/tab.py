"""The Point section in a panel that may open before the sampling panel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error
from psygnal import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_latentfm.background.signals import listen
from napari_latentfm.prompting.section import PromptSection
from napari_latentfm.sampling.open_panels import open_panel_of
from napari_latentfm.ui.common import push_button, wrapped_text

if TYPE_CHECKING:
    from napari_latentfm.results.session import ReviewSession

PLUGIN, PANEL = "napari-latentfm", "Sample segmentation"


class PromptTab(QWidget):
    """Holds a `PromptSection` while the viewer has a sampling panel.

    Attributes
    ----------
    changed
        Emitted when `section` was created or removed.
    """

    changed = Signal()

    def __init__(self, session: ReviewSession) -> None:
        super().__init__()
        self._session = session
        self.section: PromptSection | None = None
        self._text = wrapped_text("Image, model and settings are chosen elsewhere.")
        self._text.setText("Image, model and settings are chosen in the sampling panel.")
        self._button = push_button(
            "Open the sampling panel", "Open Plugins > LatentFM > Sample segmentation.", self._open
        )
        layout = self._layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._text)
        layout.addWidget(self._button)
        listen(self, open_panel_of(session).changed, self._on_panel)
        self._on_panel()

    def key_actions(self) -> dict[str, Callable[[], None]]:
        """Return napari key strings and what they do."""
        return {} if self.section is None else self.section.key_actions()

    def release(self) -> None:
        """Cancel the run of the section."""
        if self.section is not None:
            self.section.release()

    def _open(self) -> None:
        window = getattr(self._session.viewer, "window", None)
        if window is not None:
            try:
                window.add_plugin_dock_widget(PLUGIN, PANEL)
            except (KeyError, ValueError) as error:
                show_error(f"The sampling panel cannot be opened ({error}).")

    def _on_panel(self) -> None:
        panel = open_panel_of(self._session).panel
        if self.section is not None:
            self.section.release()
            self.section.deleteLater()
            self.section = None
        if panel is not None:
            self.section = PromptSection(self._session, panel)
            self._layout.addWidget(self.section)
        self._text.setVisible(panel is None)
        self._button.setVisible(panel is None)
        self.changed.emit()
