"""The footer of the dock, which is always in view: accept, flag, note, export."""

from __future__ import annotations

import re

from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from latentfm_core.model_io.card import DISCLAIMER
from latentfm_core.worklist.item import MAX_NOTE, Item
from napari_latentfm.annotation.files import NOTHING_TO_EXPORT
from napari_latentfm.ui.common import push_button, row_of, wrapped_text

ACCEPT, ACCEPT_AND_NEXT = "Accept", "Accept && next"
ACCEPT_TIP = (
    "Save the annotation, or the mean mask if you changed nothing; then open the next image of the "
    "folder (Enter, or Ctrl+Enter in a line of text, a list or on a button)."
)
EMPTY_TIP = "Save that there is nothing to mark in this image (Ctrl+Shift+Enter)."
ONLY_IN_LIST = " Open a folder first: flags and notes are kept in its work list."
FLAG_TIP = "Flag the image for review by someone else, or remove the flag."
BREAKS = re.compile(r"[/\\_.](?=\S)")
"""Places in paths and names after which a line may be broken."""
NOTE_TIP = "A remark on this image, kept in the work list."


class Footer(QWidget):
    """Buttons and lines, independent of the viewer.

    Attributes
    ----------
    notice, tool, message
        Shown above the buttons, by the dock, in its area of notices.
    noted
        Emitted with a remark on the image.
    announced
        Emitted with the one of them that has a new text.
    """

    noted = QtSignal(str)
    announced = QtSignal(QWidget)

    def __init__(self) -> None:
        super().__init__()
        self._name: str | None = None
        self._kept_note = ""
        self.accept = push_button(ACCEPT, ACCEPT_TIP)
        self.accept.setObjectName("LatentFM accept")
        self.accept_empty = push_button("", EMPTY_TIP)
        self.flag = push_button("Flag", "")
        self.flag.setCheckable(True)
        self.note = QLineEdit()
        self.note.setPlaceholderText("Note on this image")
        self.note.setMaxLength(MAX_NOTE)
        self.note.editingFinished.connect(self.commit)
        self.export = push_button("Export…", NOTHING_TO_EXPORT)
        self.export.setEnabled(False)
        self.message = wrapped_text("Result of the last action.")
        self.message.setObjectName("LatentFM small")
        self.message.hide()
        self.tool = wrapped_text("The active tool on the image.")
        self.tool.setObjectName("LatentFM tool")
        self.tool.hide()
        self.kept = QLabel()
        self.kept.setToolTip("When the annotation was last autosaved.")
        self.disclaimer = QLabel(DISCLAIMER)
        self.disclaimer.setToolTip(DISCLAIMER)
        for label in (self.kept, self.disclaimer):
            label.setObjectName("LatentFM small")
        self.notice = Notice()
        self._lay_out()
        self.show_item(None, None)

    def commit(self) -> None:
        """Emit the note if it was changed."""
        text = self.note.text().strip()
        if self._name is not None and text != self._kept_note:
            self._kept_note = text
            self.noted.emit(text)

    def show_message(self, text: str = "") -> None:
        """Show a message, or nothing; the notice is not repeated."""
        text = "" if text in self.notice.text else text
        self.message.setText(text)
        self._show(self.message, text)

    def clear(self) -> None:
        """Remove the message and the notice."""
        self.notice.end()
        self.show_message()

    def warn(self, text: str, asks: bool = False) -> None:
        """Show a warning, an error or, with `asks`, a question until it is dismissed."""
        self.show_message("" if self.message.text() in text else self.message.text())
        self.notice.asks = asks
        self.notice.show_text(text)
        self.announced.emit(self.notice)

    def show_tool(self, text: str) -> None:
        """Show which tool is active on the image and how to end it, or nothing."""
        self.tool.setText(text)
        self._show(self.tool, text)

    def _show(self, notice: QWidget, text: str) -> None:
        notice.setVisible(bool(text))
        if text:
            self.announced.emit(notice)

    def offer_export(self, tip: str, on: bool) -> None:
        """Enable the export, or say in its tooltip why not."""
        self.export.setToolTip(tip)
        self.export.setEnabled(on)

    def offer_accept(self, problem: str = "") -> None:
        """Enable the buttons that accept, or say in their tooltips why not."""
        for button, tip in ((self.accept, ACCEPT_TIP), (self.accept_empty, EMPTY_TIP)):
            button.setToolTip(problem or tip)
            button.setEnabled(not problem)

    def show_kept(self, text: str) -> None:
        """Show whether the annotation is autosaved."""
        self.kept.setText(text)

    def show_item(self, name: str | None, item: Item | None) -> None:
        """Show the state of the open image; None without a work list."""
        in_list = name is not None and item is not None
        self.accept.setText(ACCEPT_AND_NEXT if in_list else ACCEPT)
        for control, tip in ((self.flag, FLAG_TIP), (self.note, NOTE_TIP)):
            control.setEnabled(in_list)
            control.setToolTip(tip if in_list else tip + ONLY_IN_LIST)
        note = "" if item is None else item.note
        if name != self._name or note != self._kept_note:
            # Text that is being typed is not overwritten by updates of the same image.
            self.note.setText(note)
        self._name, self._kept_note = name, note
        flagged = item is not None and item.flagged
        self.flag.setChecked(flagged)
        self.flag.setText("⚑ Flagged" if flagged else "Flag")

    def show_empty_name(self, name: str) -> None:
        """Name images without foreground as the model does."""
        self.accept_empty.setText(name)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 2, 4, 2)
        layout.setSpacing(3)
        first = row_of(self.accept, self.accept_empty)
        first.setStretch(0, 3)
        first.setStretch(1, 2)
        second = row_of(self.note, self.flag, self.export)
        second.setStretch(0, 1)
        for button in (self.accept, self.accept_empty):
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        for row in (first, second):
            layout.addLayout(row)
        self.disclaimer.setWordWrap(True)
        last = row_of(self.disclaimer, self.kept)
        last.setStretch(0, 1)
        layout.addLayout(last)


class Notice(QFrame):
    """A warning, an error or a question, in full, with a button that dismisses it."""

    def __init__(self) -> None:
        super().__init__()
        self.asks = False
        self.setObjectName("LatentFM notice")
        self.text = self._dismissed = ""
        self.label = wrapped_text("The last warning or error.")
        self.label.setObjectName("LatentFM question")
        self.close_button = QToolButton()
        self.close_button.setText("✕")
        self.close_button.setToolTip("Dismiss this message.")
        self.close_button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.close_button.clicked.connect(self._dismiss)
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 2, 2, 2)
        row.setSpacing(3)
        row.addWidget(self.label, 1)
        row.addWidget(self.close_button, 0, Qt.AlignmentFlag.AlignTop)
        self.hide()

    def show_text(self, text: str) -> None:
        """Show a text, unless it was dismissed."""
        if text and text == self._dismissed:
            return
        self.text = text
        self.label.setText(BREAKS.sub("\\g<0>\u200b", text))
        self.setVisible(bool(text))

    def end(self) -> None:
        """Show nothing; what was dismissed may be shown again."""
        self._dismissed = ""
        self.show_text("")

    def _dismiss(self) -> None:
        self._dismissed = self.text
        self.show_text("")
