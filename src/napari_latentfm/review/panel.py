"""The review panel: tabs of the sections that compare, correct and annotate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QScrollArea, QTabWidget, QVBoxLayout, QWidget

from napari_latentfm.background.signals import listen
from napari_latentfm.prompting.tab import PromptTab
from napari_latentfm.results.session import ReviewSession, session_of
from napari_latentfm.review.sections import ReviewSections
from napari_latentfm.ui.area import MIN_WIDTH, scroll_down
from napari_latentfm.ui.shortcuts import KeyBindings

if TYPE_CHECKING:
    import napari


class ReviewPanel(QTabWidget):
    """Sections for the last result of the sampling panel in the same viewer.

    Each tab scrolls separately, so that a window of 1280 x 720 shows all controls.

    Attributes
    ----------
    point, hypotheses, regions, strokes, fix, annotation
        The sections; `point` has content only while a sampling panel is open.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.session: ReviewSession = session_of(napari_viewer)
        self.point = PromptTab(self.session)
        self._sections = ReviewSections(self.session, self)
        sections = self._sections
        self.hypotheses, self.regions, self.strokes = (
            sections.hypotheses,
            sections.regions,
            sections.strokes,
        )
        self.fix, self.annotation = sections.fix, sections.annotation
        self._keys = KeyBindings(napari_viewer, self)
        self._lay_out()
        self._bind()
        listen(self, self.point.changed, self._bind_again)
        keys = self._keys
        # A closing window deletes the panel without a close event.
        self.destroyed.connect(lambda: keys.detach())

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Release the keys while the panel is out of its dock, which sends no close event."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is None:
                self.release()
            else:
                self._bind_again()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Bind the keys; a closed floating panel is shown again without a new parent."""
        super().showEvent(event)
        self._bind_again()

    def release(self) -> None:
        """Cancel the work, save the annotation, and release the keys."""
        self._keys.release()
        self.point.release()
        self._sections.release()

    def _bind_again(self) -> None:
        self._keys.release()
        self._bind()

    def _bind(self) -> None:
        actions: dict[str, Callable[[], None]] = {}
        for section in (*reversed(self._sections.all), self.point):
            # The brushes of the Point section replace those of the Correct section.
            actions.update(section.key_actions())
        self._keys.bind(actions)

    def _lay_out(self) -> None:
        self.setObjectName("LatentFM review")
        self.setDocumentMode(True)
        self.setMinimumWidth(MIN_WIDTH)
        for title, tip, section in (
            ("Point", "point at an object; its outlines follow at once", self.point),
            ("Compare", "the plausible outlines, side by side", self.hypotheses),
            ("Uncertain regions", "the regions where samples disagree, one by one", self.regions),
            ("Correct", "mark pixels that are certain; the samples follow", self.strokes),
            ("Fix", "pieces, holes and outline of the annotation", self.fix),
            ("Accept", "edit, save and export the annotation", self.annotation),
        ):
            index = self.addTab(_scrolling(section), title)
            self.setTabToolTip(index, tip)


def _scrolling(section: QWidget) -> QScrollArea:
    area, page = QScrollArea(), QWidget()
    layout = QVBoxLayout(page)
    layout.setContentsMargins(4, 4, 4, 4)
    layout.addWidget(section)
    layout.addStretch(1)
    scroll_down(area, page)
    return area
