"""The tab *Annotate*: the header, and below it a scrolling column of folded sections."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QScrollArea, QSlider, QVBoxLayout, QWidget

from napari_latentfm import preferences
from napari_latentfm.background.signals import pause_timer
from napari_latentfm.dock.header import ADVANCED, Header
from napari_latentfm.ui.area import scroll_down
from napari_latentfm.ui.collapsible import Collapsible
from napari_latentfm.ui.column import Column

if TYPE_CHECKING:
    from napari_latentfm.prompting.section import PromptSection
    from napari_latentfm.review.sections import ReviewSections

SECTION = "dock"
"""Section of the preferences."""
COMPARE = "Compare"
LEAST_HEIGHT = 20
"""Pixels that show the first line of the status: the rest of a low window is for notices."""
SETTLE_MS = 2000
"""Time in which the sections of a new image grow to their heights."""
TIPS = {
    "Point": "Point at an object; the samples follow.",
    COMPARE: "The plausible outlines, side by side.",
    "Fix": "Pieces, holes and outline of the annotation.",
    "Uncertain regions": "Where the samples disagree, region by region.",
    "Annotation": "Regions, layers, files and recovery.",
}


class AnnotateTab(QWidget):
    """Shows one image's controls, from top to bottom in the order of the work.

    Parameters
    ----------
    header
        Stays above the scrolling column; its status and *Advanced* are in the column.
    point, review
        The parts that the sections show. The legend of the review stays below the column.

    Attributes
    ----------
    parts
        The widgets of each section by its title; each has `key_actions` and `release`.
    sections
        The folded sections by title, *Advanced* included.
    """

    def __init__(self, header: Header, point: PromptSection, review: ReviewSections) -> None:
        super().__init__()
        self.parts: dict[str, tuple[Any, ...]] = {
            "Point": (point, review.strokes),
            COMPARE: (review.hypotheses,),
            "Fix": (review.fix,),
            "Uncertain regions": (review.regions,),
            "Annotation": (review.annotation,),
        }
        review.strokes.brushes.offer_several_only()  # the section Point has the others
        self.sections = self._make_sections(header)
        self.area = QScrollArea()
        self._place: Collapsible | None = None
        self._unfolded: Collapsible | None = None
        self._noted = self._returning = False
        self._settled = pause_timer(self, SETTLE_MS, self._stop_returning)
        # The place of a section is known once Qt has laid it out.
        self._laid_out = pause_timer(self, 0, self._return)
        self._lay_out(header, review.hypotheses.view.legend)
        bar = self.area.verticalScrollBar()
        bar.rangeChanged.connect(lambda _low, _high: self._laid_out.start())
        # By the user, not by a section that has grown.
        bar.actionTriggered.connect(self._stop_returning)
        for section in self.sections.values():
            section.toggled.connect(lambda _: self._remember_opened())
            section.toggled.connect(self._stop_returning)
            section.toggled.connect(partial(self._on_toggled, section))

    def key_actions(self) -> dict[str, dict[str, Callable[[], None]]]:
        """Return keys and what they do, by the title of the section."""
        return {title: _actions(parts) for title, parts in self.parts.items()}

    def hasHeightForWidth(self) -> bool:  # noqa: N802
        """Return False: otherwise all sections would be in view before any notice."""
        return False

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return the size at which header and legend are still in view."""
        size, layout = super().minimumSizeHint(), self.layout()
        lines = -1 if layout is None else layout.minimumHeightForWidth(self.width())
        return QSize(size.width(), max(size.height(), lines))

    def show_top(self) -> None:
        """Scroll to the top."""
        self.area.verticalScrollBar().setValue(0)

    def show_section(self, title: str) -> None:
        """Unfold a section, scroll to it, and give it the keyboard."""
        self.uncover(title)
        self.sections[title].header.setFocus()

    def uncover(self, title: str) -> None:
        """Unfold a section and scroll to it."""
        self._place = self.sections[title]
        self._place.set_opened(True)
        self.return_to_place()

    def note_place(self) -> None:
        """Remember which section is in use, for `return_to_place`."""
        if self._noted:
            return  # The sections are empty while the next image is opened.
        self._noted = True
        top = self.area.verticalScrollBar().value()
        above = [
            section
            for section in self.sections.values()
            if section.opened and section.y() <= top + self.area.viewport().height() // 4
        ]
        # At the top, the status and what fits below it are in use.
        self._place = max(above, key=lambda each: each.y()) if above and top > 0 else None

    def return_to_place(self) -> None:
        """Scroll to the top of the section that was in use, also while sections still grow."""
        self._returning = True
        self._settled.start()
        self._laid_out.start()

    def _return(self) -> None:
        bar, unfolded = self.area.verticalScrollBar(), self._unfolded
        self._unfolded = None
        if self._returning:
            bar.setValue(0 if self._place is None else self._place.y())
        elif unfolded is not None:
            # No further than needed to show all of it, or its top if it is higher than the area.
            below = unfolded.y() + unfolded.height() - self.area.viewport().height()
            bar.setValue(min(unfolded.y(), max(bar.value(), below)))

    def _on_toggled(self, section: Collapsible, opened: bool) -> None:
        """Scroll to the content of a section that the user has unfolded."""
        self._unfolded = section if opened else None
        self._laid_out.start()

    def _stop_returning(self, _value: object = None) -> None:
        self._noted = self._returning = False

    def _make_sections(self, header: Header) -> dict[str, Collapsible]:
        chosen = preferences.get(SECTION).get("opened")
        opened = chosen if isinstance(chosen, list) else [COMPARE]
        sections = {}
        for title, parts in self.parts.items():
            sections[title] = Collapsible(title, TIPS[title], title in opened)
            for part in parts:
                sections[title].add(part)
        header.advanced.set_opened(ADVANCED in opened)
        sections[ADVANCED] = header.advanced
        return sections

    def _lay_out(self, header: Header, legend: QWidget) -> None:
        middle = Column()
        column = QVBoxLayout(middle)
        column.setContentsMargins(4, 0, 4, 0)
        column.setSpacing(2)
        column.addWidget(header.status)
        for title in (ADVANCED, *self.parts):
            column.addWidget(self.sections[title])
        column.addStretch(1)
        scroll_down(self.area, middle)
        page = QVBoxLayout(self)
        page.setContentsMargins(0, 0, 0, 0)
        page.setSpacing(0)
        page.addWidget(header)
        # In a low window, with notices, the header keeps its height.
        self.area.setMinimumHeight(LEAST_HEIGHT)
        page.addWidget(self.area, 1)
        legend.setObjectName("LatentFM small")
        legend.setContentsMargins(4, 2, 4, 0)
        page.addWidget(legend)
        for area in self.findChildren(QScrollArea):
            # It scrolls to the focused widget automatically.
            area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        for slider in self.findChildren(QSlider):
            # A click leaves the arrow keys to the image.
            slider.setFocusPolicy(Qt.FocusPolicy.TabFocus)

    def _remember_opened(self) -> None:
        remember(opened=[title for title, each in self.sections.items() if each.opened])


def remember(**values: object) -> None:
    """Keep choices of the dock for the next session."""
    preferences.put(SECTION, {**preferences.get(SECTION), **values})


def _actions(parts: tuple[Any, ...]) -> dict[str, Callable[[], None]]:
    """Return the keys of several parts; of two with the same key, the first has it."""
    found: dict[str, Callable[[], None]] = {}
    for part in parts:
        found = part.key_actions() | found
    return found
