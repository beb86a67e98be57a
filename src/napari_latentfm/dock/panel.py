"""The dock under Plugins > LatentFM: annotate, work through a folder, learn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtGui import (
    QDragEnterEvent,
    QDragMoveEvent,
    QDropEvent,
    QHideEvent,
    QKeySequence,
    QShortcut,
    QShowEvent,
)
from qtpy.QtWidgets import QLineEdit, QScrollArea, QTabWidget, QToolButton, QVBoxLayout, QWidget

from napari_latentfm import preferences
from napari_latentfm.background.job import Update
from napari_latentfm.background.signals import listen
from napari_latentfm.dock.accepting import Accepting
from napari_latentfm.dock.enter import CanvasEnter
from napari_latentfm.dock.foot import Foot
from napari_latentfm.dock.head import ADVANCED, Head
from napari_latentfm.dock.keys import KeyGroup, KeySheet
from napari_latentfm.dock.sharing import SharedModel
from napari_latentfm.dock.style import STYLE
from napari_latentfm.dock.welcome import Welcome
from napari_latentfm.finetuning.panel import LearningPanel
from napari_latentfm.prompting.section import PromptSection
from napari_latentfm.results.session import session_of
from napari_latentfm.review.sections import ReviewSections
from napari_latentfm.sampling.panel import SamplingPanel
from napari_latentfm.ui.area import MIN_WIDTH, scroll_down
from napari_latentfm.ui.collapsible import Collapsible
from napari_latentfm.ui.shortcuts import KeyBindings
from napari_latentfm.worklist.panel import QueuePanel

if TYPE_CHECKING:
    import napari

SECTION = "dock"
"""Of the preferences."""
COMPARE = "Compare"
WIDTH = MIN_WIDTH + 22
"""Pixels: a section in a scrolling area in a tab."""
Place = Literal["as it was", "sample", "review", "folder", "learn"]
"""What of the dock is to be shown."""


class LatentFMPanel(QWidget):
    """All of the plugin in one dock, in the order of the work.

    Parameters
    ----------
    napari_viewer
        The viewer. Each has one such dock; `napari_latentfm.dock.entries.open_dock` opens it.

    Attributes
    ----------
    sampling, point, review, queue, learning
        The parts, which work as they do in docks of their own.
    head, sections, foot, tabs
        What is laid out of them. `sections` are the folded ones of the tab *Annotate* by title.
    accepting
        What the foot does.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self.session = session_of(napari_viewer)
        self.sampling = SamplingPanel(napari_viewer)
        self.point = PromptSection(self.session, self.sampling)
        self.review = ReviewSections(self.session, self)
        self.queue = QueuePanel(napari_viewer, own_keys=False)
        self.learning = LearningPanel(napari_viewer)
        self.head, self.foot = Head(self.sampling), Foot()
        self.sections = self._make_sections()
        self.tabs = QTabWidget()
        self._to_annotate = False
        self._lay_out()
        self._shared = SharedModel(self.sampling.form, self.queue.form)
        self.accepting = Accepting(
            self.session, self.queue, self.review.annotation.autosaver, self.foot.say
        )
        self._keys = KeyBindings(napari_viewer, self)
        self._enter = CanvasEnter(napari_viewer, self, self.accept)
        self._sheet_key = QShortcut(QKeySequence("?"), self)
        self._sheet_key.activated.connect(self.show_keys)
        self._connect()
        self._show_item()
        keys, enter = self._keys, self._enter
        # The window's end deletes the panel without a close event.
        self.destroyed.connect(lambda: keys.detach())
        self.destroyed.connect(lambda: enter.release())

    def show_place(self, place: Place) -> None:
        """Show a part of the dock, and let it have the keyboard."""
        if place == "as it was":
            return
        pages = {"folder": self.queue, "learn": self.learning}
        self.tabs.setCurrentWidget(pages.get(place, self._annotate))
        if place == "sample":
            self._scroll.verticalScrollBar().setValue(0)
            self.sampling.form.image.native.setFocus()
        elif place == "review":
            section = self.sections[COMPARE]
            section.set_opened(True)
            # Where it lies is known when Qt has laid it out.
            QTimer.singleShot(0, partial(_scroll_to, self._scroll, section))
            section.header.setFocus()
        elif place == "folder":
            self.queue.form.folder.setFocus()

    def run_model(self) -> None:
        """Run the model on the image."""
        self.sampling.run()

    def accept(self) -> None:
        """Accept the annotation, or the mean mask if you changed nothing; go to the next image."""
        self.foot.commit()
        self.point.take_pending()
        self.accepting.accept()

    def accept_empty(self) -> None:
        """Accept that there is nothing to mark in this image; go to the next image."""
        self.foot.commit()
        self.accepting.accept_empty()

    def next_image(self) -> None:
        """Keep the annotation and open the next image of the folder."""
        self.foot.commit()
        self.queue.next()

    def previous_image(self) -> None:
        """Keep the annotation and open the image before in the folder."""
        self.foot.commit()
        self.queue.previous()

    def open_folder(self, folder: Path) -> None:
        """Open a folder of images as a work list."""
        self.queue.form.folder.setText(str(folder))
        self._open_list()

    def show_keys(self) -> None:
        """List all keys of the dock."""
        sheet = KeySheet(self.key_groups(), self._keys.taken, self)
        sheet.show()

    def key_groups(self) -> list[KeyGroup]:
        """Return all keys: this table binds them, and the sheet of keys shows it."""
        return [
            KeyGroup("Image on the canvas", {"Enter": self.accept}),
            KeyGroup("Everywhere", self.key_actions()),
            *(
                KeyGroup(title, actions)
                for title, parts in self._parts().items()
                if (actions := _actions(parts))
            ),
            KeyGroup("Help", {"?": self.show_keys}),
        ]

    def key_actions(self) -> dict[str, Callable[[], None]]:
        """Return napari key strings of the dock itself and what they do."""
        return {
            "Ctrl-R": self.run_model,
            "Ctrl-Enter": self.accept,
            "Ctrl-Shift-Enter": self.accept_empty,
            "PageDown": self.next_image,
            "PageUp": self.previous_image,
        }

    def release(self) -> None:
        """Cancel what runs, keep the annotation, and give the keys back."""
        self._release_keys()
        self.foot.commit()
        for part in (self.sampling, self.queue, self.learning, *chain(*self._parts().values())):
            part.release()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Take the keys in a dock; end out of it, of which no close event tells."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._bind()
            else:
                self.release()
                # Who docks it again does so at once.
                QTimer.singleShot(0, partial(_end, self))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Take the keys."""
        super().showEvent(event)
        self._bind()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Give the keys back: what nobody sees must not accept anything."""
        super().hideEvent(event)
        self._release_keys()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Take folders."""
        if self._dropped_folder(event) is not None:
            event.acceptProposedAction()

    def dragMoveEvent(self, event: QDragMoveEvent) -> None:  # noqa: N802
        """Take folders."""
        if self._dropped_folder(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Open a folder as a work list."""
        folder = self._dropped_folder(event)
        if folder is not None:
            event.acceptProposedAction()
            self.open_folder(folder)

    def _parts(self) -> dict[str, tuple[Any, ...]]:
        """Return what is in each section, by its title.

        Each part is a widget with `key_actions` and `release`.
        """
        review = self.review
        return {
            "Point": (self.point, review.strokes),
            COMPARE: (review.hypotheses,),
            "Fix": (review.fix,),
            "Uncertain regions": (review.doubt,),
            "Annotation": (review.annotation,),
        }

    def _make_sections(self) -> dict[str, Collapsible]:
        chosen = preferences.get(SECTION).get("opened")
        opened = chosen if isinstance(chosen, list) else [COMPARE]
        sections = {}
        for title, parts in self._parts().items():
            sections[title] = Collapsible(title, TIPS[title], title in opened)
            for part in parts:
                sections[title].add(part)
        self.head.advanced.set_opened(ADVANCED in opened)
        sections[ADVANCED] = self.head.advanced
        return sections

    def _lay_out(self) -> None:
        self.setObjectName("LatentFM")
        self.setStyleSheet(STYLE)
        self.setAcceptDrops(True)
        self.setMinimumWidth(WIDTH)
        # The panel's form is in the head; the panel itself has nothing to show.
        self.sampling.setParent(self)
        self.sampling.hide()
        self._lay_out_annotate()
        for page, title, tip in (
            (self._annotate, "Annotate", "One image: sample, compare, fix and accept."),
            (self.queue, "Folder", "A folder of images, one after the other."),
            (self.learning, "Learn", "Train a copy of the model on accepted masks."),
        ):
            self.tabs.setTabToolTip(self.tabs.addTab(page, title), tip)
        self.help = QToolButton()
        self.help.setText("?")
        self.help.setToolTip("List all keys (?).")
        self.help.clicked.connect(lambda: self.show_keys())
        self.tabs.setCornerWidget(self.help)
        form = self.queue.form
        for double in (form.accept, form.accept_empty, form.flag):
            double.hide()  # the foot has them
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        if preferences.get(SECTION).get("welcome") is not False:
            welcome = Welcome()
            welcome.dismissed.connect(lambda: _remember(welcome=False))
            layout.addWidget(welcome)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.foot)
        for line in (*self._annotate.findChildren(QLineEdit), *self.queue.findChildren(QLineEdit)):
            line.setAcceptDrops(False)  # a folder that is dropped there is opened, too
        self.foot.note.setAcceptDrops(False)

    def _lay_out_annotate(self) -> None:
        self._annotate, self._scroll, middle = QWidget(), QScrollArea(), QWidget()
        column = QVBoxLayout(middle)
        column.setContentsMargins(4, 0, 4, 0)
        column.setSpacing(2)
        column.addWidget(self.head.status)
        for title in (ADVANCED, *self._parts()):
            column.addWidget(self.sections[title])
        column.addStretch(1)
        scroll_down(self._scroll, middle)
        # What has the focus in it is scrolled into view.
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        page = QVBoxLayout(self._annotate)
        page.setContentsMargins(0, 0, 0, 0)
        page.setSpacing(0)
        page.addWidget(self.head)
        page.addWidget(self._scroll, 1)

    def _connect(self) -> None:
        foot, queue = self.foot, self.queue
        for button, slot in (
            (foot.accept, self.accept),
            (foot.accept_empty, self.accept_empty),
            (foot.flag, self._flag),
            (foot.export, self.review.annotation.export),
        ):
            button.clicked.connect(partial(_call, slot))
        foot.noted.connect(queue.note)
        for section in self.sections.values():
            section.toggled.connect(lambda _: self._remember_opened())
        # After the form's own slots, which look the name up.
        queue.form.model.currentTextChanged.connect(self._name_empty)
        queue.form.model_folder.textChanged.connect(self._name_empty)
        self.sampling.form.cancel_button.changed.connect(self._cancel_list)
        self._name_empty()
        queue.status_changed.connect(self._on_told)
        queue.listed.connect(self._show_item)
        queue.shown.connect(self._on_shown)
        queue.settled.connect(self._on_settled)
        queue.sampler.progressed.connect(self._on_progress)
        queue.form.open_button.clicked.connect(lambda: self._go_to_annotate())
        queue.form.table.chosen.connect(self._go_to_annotate)
        self.review.annotation.finished.connect(self._on_file)
        saver = self.review.annotation.autosaver
        listen(self, saver.kept, self._on_kept)
        listen(self, saver.failed, self._on_not_kept)

    def _bind(self) -> None:
        self._release_keys()
        if self.parent() is None:
            return
        self._enter.bind()
        self._keys.bind(self.key_actions())
        for parts in self._parts().values():
            self._keys.bind(_actions(parts))

    def _release_keys(self) -> None:
        self._keys.release()
        self._enter.release()

    def _flag(self) -> None:
        self.foot.commit()
        self.queue.flag()
        self._show_item()

    def _open_list(self) -> None:
        self._go_to_annotate()
        self.queue.open_folder()

    def _go_to_annotate(self, _name: str = "") -> None:
        """Show the tab *Annotate* when the image that is being opened is there."""
        self._to_annotate = True

    def _on_shown(self, _name: str) -> None:
        if self.queue.work is not None and self.learning.form.images.path() is None:
            self.learning.form.images.set_path(self.queue.work.folder)
        if self._to_annotate:
            self._to_annotate = False
            self.tabs.setCurrentWidget(self._annotate)

    def _on_settled(self, ending: str) -> None:
        self.sampling.form.cancel_button.enabled = self.sampling.running
        self.head.settle(ending)

    def _on_progress(self, kind: str, update: Update) -> None:
        if kind == "open":
            self.sampling.form.cancel_button.enabled = True
            self.head.follow(update)

    def _cancel_list(self) -> None:
        if not self.sampling.running:
            self.queue.sampler.stop("open")

    def _on_told(self, text: str) -> None:
        # What is said of the samples is in the head already.
        self.foot.say(text.replace(str(self.sampling.form.status.value), "").strip())

    def _show_item(self) -> None:
        queue = self.queue
        name = queue.current if queue.work is not None else None
        item = None if name is None or queue.work is None else queue.work.item(name)
        self.foot.show_item(name, item)

    def _name_empty(self, _value: Any = None) -> None:
        self.foot.show_empty_name(self.accepting.empty_name)

    def _on_file(self, _ending: str) -> None:
        self.foot.say(self.review.annotation.status.text())

    def _on_kept(self, when: str) -> None:
        self.foot.show_kept(f"Kept {when[:5]}")

    def _on_not_kept(self, _message: str) -> None:
        self.foot.show_kept("Not kept")

    def _remember_opened(self) -> None:
        _remember(opened=[title for title, each in self.sections.items() if each.opened])

    def _dropped_folder(self, event: QDropEvent) -> Path | None:
        if self.tabs.currentWidget() is self.learning:
            return None  # which has lines for folders
        urls = event.mimeData().urls()
        paths = [Path(url.toLocalFile()) for url in urls if url.isLocalFile()]
        return paths[0] if len(paths) == 1 and paths[0].is_dir() else None


TIPS = {
    "Point": "Point at what is meant; the samples follow.",
    COMPARE: "The plausible outlines, side by side.",
    "Fix": "Pieces, holes and outline of the annotation.",
    "Uncertain regions": "Where the samples disagree, place by place.",
    "Annotation": "Regions, layers, files, and what can be recovered.",
}


def _actions(parts: tuple[Any, ...]) -> dict[str, Callable[[], None]]:
    """Return the keys of several parts; the first of two that want a key has it."""
    found: dict[str, Callable[[], None]] = {}
    for part in parts:
        found = part.key_actions() | found
    return found


def _remember(**values: object) -> None:
    preferences.put(SECTION, {**preferences.get(SECTION), **values})


def _call(slot: Callable[[], None], _checked: bool = False) -> None:
    slot()


def _scroll_to(area: QScrollArea, widget: QWidget) -> None:
    area.verticalScrollBar().setValue(widget.y())


def _end(panel: LatentFMPanel) -> None:
    """Delete a panel that was taken out of its dock and not put into another one."""
    if panel.parent() is None:
        panel.deleteLater()
