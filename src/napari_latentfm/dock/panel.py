"""The dock under Plugins > LatentFM: annotate, work through a folder, learn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QLineEdit,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_latentfm import preferences
from napari_latentfm.adapting.adapting import Adapting
from napari_latentfm.background.lasting import LastingObjects
from napari_latentfm.background.signals import listen
from napari_latentfm.dock.accepting import Accepting
from napari_latentfm.dock.annotate_tab import COMPARE, SECTION, AnnotateTab, remember
from napari_latentfm.dock.canvas_focus import CanvasFocus
from napari_latentfm.dock.chosen_image import ChosenImage
from napari_latentfm.dock.dock_keys import DockKeys
from napari_latentfm.dock.figures_link import FiguresLink
from napari_latentfm.dock.folder_drop import FolderDrop
from napari_latentfm.dock.footer import Footer
from napari_latentfm.dock.footer_reports import FooterReports
from napari_latentfm.dock.header import Header
from napari_latentfm.dock.left_image import LeftImage
from napari_latentfm.dock.list_link import ListLink
from napari_latentfm.dock.notice_area import NoticeArea
from napari_latentfm.dock.recovery_link import RecoveryLink
from napari_latentfm.dock.removed_image import RemovedImage
from napari_latentfm.dock.sharing import SharedModel
from napari_latentfm.dock.style import STYLE
from napari_latentfm.dock.welcome import Welcome
from napari_latentfm.finetuning.panel import LearningPanel
from napari_latentfm.prompting.section import PromptSection
from napari_latentfm.results.session import session_of
from napari_latentfm.review.sections import ReviewSections
from napari_latentfm.sampling.panel import SamplingPanel
from napari_latentfm.ui.area import MIN_WIDTH
from napari_latentfm.ui.common import on_click
from napari_latentfm.worklist.panel import QueuePanel

if TYPE_CHECKING:
    import napari

WIDTH = MIN_WIDTH + 22
"""Pixels: a section in a scrolling area in a tab."""
Place = Literal["as it was", "sample", "review", "folder", "learn"]
"""A part of the dock to show."""


class LatentFMPanel(QWidget):
    """All of the plugin in one dock, in the order of the work.

    Parameters
    ----------
    napari_viewer
        The viewer. Each has one such dock; `napari_latentfm.dock.entries.open_dock` opens it.

    Attributes
    ----------
    sampling, point, review, queue, learning
        The parts, which also work in separate docks.
    chosen
        The image that everything in the dock acts on.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.session = session_of(napari_viewer)
        self.sampling = SamplingPanel(napari_viewer)
        self.chosen = ChosenImage(self.session, self.sampling, self)
        self.point = PromptSection(self.session, self.sampling)
        self.review = ReviewSections(self.session, self)
        self.queue = QueuePanel(napari_viewer)
        self.learning = LearningPanel(napari_viewer)
        self.header, self.footer = Header(self.sampling, napari_viewer), Footer()
        self.annotate = AnnotateTab(self.header, self.point, self.review)
        self.sections = self.annotate.sections
        self.tabs = QTabWidget()
        self._lay_out()
        self._shared = SharedModel(self.sampling.form, self.queue.form, self.learning.form)
        self.accepting = Accepting(self)
        self.canvas_focus = CanvasFocus(self)
        self._list = ListLink(self, self.accepting)
        self.adapting = Adapting(self.queue, self.sampling)
        self._drop = FolderDrop(self)
        self._keys = DockKeys(napari_viewer, self)
        self._connect()
        self._reports = FooterReports(self, self._keys.tool)
        self._left = LeftImage(self)
        self._notices = self._add_notices()
        self._column.addWidget(self.footer)
        self._lasting = LastingObjects(napari_viewer, self.session.changed, self)
        self._recovery = RecoveryLink(self, self._left.marks)
        self._figures, self._removed = FiguresLink(self), RemovedImage(self)
        self._list.show_item()

    def show_place(self, place: Place) -> None:
        """Show a part of the dock, and give it the keyboard."""
        if place == "as it was":
            return
        pages = {"folder": self.queue, "learn": self.learning}
        self.tabs.setCurrentWidget(pages.get(place, self.annotate))
        if place == "sample":
            self.annotate.show_top()
            self.sampling.form.image.native.setFocus()
        elif place == "review":
            self.annotate.show_section(COMPARE)
        elif place == "folder":
            self.queue.form.folder.setFocus()

    def run_model(self) -> None:
        """Run the model on the image."""
        self.chosen.settle()
        self.sampling.run()

    def accept(self) -> None:
        """Accept the annotation, or the mean mask if you changed nothing; go to the next image."""
        if not self.accepting.is_repeated():
            self.accepting.accept()

    def accept_empty(self) -> None:
        """Accept this image as empty; go to the next image."""
        if not self.accepting.is_repeated():
            self.accepting.accept_empty()

    def next_image(self) -> None:
        """Keep the annotation and open the next image of the folder."""
        self.annotate.note_place()
        self.footer.commit()
        self.queue.next()

    def previous_image(self) -> None:
        """Keep the annotation and open the previous image of the folder."""
        self.annotate.note_place()
        self.footer.commit()
        self.queue.previous()

    def switch_focus(self) -> None:
        """Move the keyboard focus from the image to the last used control of the dock, or back."""
        here = QApplication.focusWidget()
        if here is not None and self.isAncestorOf(here):
            self.canvas_focus.take()
        else:
            last = self.focusWidget()
            (last if last is not None and last.isVisible() else self.tabs.tabBar()).setFocus()

    def open_folder(self, folder: Path) -> None:
        """Open a folder of images as a work list."""
        form = self.queue.form
        form.folder.setText(str(folder))
        if not form.ask_to_open():
            self.tabs.setCurrentWidget(self.queue)

    def show_keys(self) -> None:
        """List all keys of the dock."""
        self._keys.show_sheet()

    def key_actions(self) -> dict[str, Callable[[], None]]:
        """Return napari key strings of the dock itself and what they do."""
        return {
            "Ctrl-R": self.run_model,
            "Ctrl-Enter": self.accept,
            "Ctrl-Shift-Enter": self.accept_empty,
            "PageDown": self.next_image,
            "PageUp": self.previous_image,
            "F6": self.switch_focus,
        }

    def release(self) -> None:
        """Cancel what runs, keep the annotation, and release the keys."""
        self._keys.release()
        self.footer.commit()
        sections = chain(*self.annotate.parts.values())
        for part in (self.sampling, self.queue, self.adapting, self.learning, *sections):
            part.release()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Bind the keys in a dock; end when the panel leaves it, which sends no close event."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._keys.bind()
            else:
                self.release()
                # A dock that takes the panel again does so at once.
                QTimer.singleShot(0, partial(_end, self))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Bind the keys, and accept drops on the window."""
        super().showEvent(event)
        self._keys.bind()
        self._drop.watch(self.window())

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Release the keys, since a hidden dock must not accept anything; keep what was typed."""
        super().hideEvent(event)
        self._keys.release()
        self.footer.commit()
        self._left.marks.flush()

    def _lay_out(self) -> None:
        self.setObjectName("LatentFM")
        self.setStyleSheet(STYLE)
        self.setMinimumWidth(WIDTH)
        # The panel's form is in the header; the panel itself has nothing to show.
        self.sampling.setParent(self)
        self.sampling.hide()
        for page, title, tip in (
            (self.annotate, "Annotate", "One image: sample, compare, fix and accept."),
            (self.queue, "Folder", "A folder of images, one after the other."),
            (self.learning, "Learn", "Train a copy of the model on accepted masks."),
        ):
            self.tabs.setTabToolTip(self.tabs.addTab(page, title), tip)
        self.help = QToolButton()
        self.help.setText("?")
        self.help.setToolTip("List all keys (?).")
        on_click(self.help, self.show_keys)
        self.tabs.setCornerWidget(self.help)
        layout = self._column = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.tabs, 1)
        for line in (*self.annotate.findChildren(QLineEdit), *self.queue.findChildren(QLineEdit)):
            line.setAcceptDrops(False)  # a folder that is dropped there is opened, too
        self.footer.note.setAcceptDrops(False)
        for table in self.findChildren(QAbstractItemView):
            table.setTabKeyNavigation(False)  # Tab goes on to the next control

    def _add_notices(self) -> NoticeArea:
        """Add notices below the tabs: no button moves when one closes."""
        footer = self.footer
        notices = [self._left.marks.bar, footer.notice, footer.message, footer.tool]
        if preferences.get(SECTION).get("welcome") is not False:
            welcome = Welcome()
            welcome.dismissed.connect(lambda: remember(welcome=False))
            # Accepting an image completes the three steps.
            self.queue.completed.connect(lambda: welcome.dismiss())
            notices.append(welcome)
        area = NoticeArea(*notices)
        footer.announced.connect(area.show_newest)
        self._column.addWidget(area)
        return area

    def _connect(self) -> None:
        footer = self.footer
        for button in (footer.accept, footer.accept_empty):
            self.canvas_focus.take_after_click(button)
        for button, slot in (
            (footer.accept, self.accept),
            (footer.accept_empty, self.accept_empty),
            (footer.export, self.review.annotation.export),
        ):
            on_click(button, slot)
        listen(self, self.review.strokes.progressed, self.header.follow)
        listen(self, self.review.strokes.finished, self.header.settle)
        listen(self, self.chosen.changed, self._on_chosen)

    def _on_chosen(self) -> None:
        """Clear everything about another image."""
        self.footer.clear()
        self._list.show_item()


def _end(panel: LatentFMPanel) -> None:
    """Delete a panel that was taken out of its dock and not put into another one."""
    if panel.parent() is None:
        panel.deleteLater()
