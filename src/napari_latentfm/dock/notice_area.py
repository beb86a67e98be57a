"""Area for notices of the dock, which leaves room for its header, tools and buttons."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from napari_latentfm.background.signals import NextTurn
from napari_latentfm.dock.footer import Notice
from napari_latentfm.ui.area import scroll_down

LEAST = 80
"""Pixels that show a question of four lines with its frame."""
MARGIN = 2
"""Pixels above the first notice."""


class NoticeArea(QScrollArea):
    """Notices below each other; in a low window they scroll, and the most important one is shown.

    Parameters
    ----------
    notices
        From the most to the least important; each shows and hides itself. A `Notice` that asks
        something is as important as the first one.
    """

    def __init__(self, *notices: QWidget) -> None:
        super().__init__()
        self._content = QWidget()
        self._notices, self._newest = notices, notices[0]
        self._scroll = NextTurn(self, self._show_important)
        self._column = QVBoxLayout(self._content)
        self._column.setContentsMargins(4, MARGIN, 4, 0)
        self._column.setSpacing(3)
        for notice in notices:
            self._column.addWidget(notice)
        scroll_down(self, self._content)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the size of all notices and the frame."""
        if not self._shown():
            return QSize(0, 0)
        frame = self.size() - self.maximumViewportSize()  # the style sheet may draw one
        height = self._column.totalHeightForWidth(self.width() - frame.width())
        return QSize(0, height + frame.height())

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return the size at which the notices scroll."""
        return QSize(0, min(LEAST, self.sizeHint().height()))

    def show_newest(self, notice: QWidget) -> None:
        """Show a notice that has changed, once it is laid out, unless others are more important."""
        self._newest = notice
        self._scroll.start()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Follow the width, which the lines of the notices depend on."""
        super().resizeEvent(event)
        self.updateGeometry()
        self._scroll.start()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Follow the notices, which may have other texts now."""
        if event.type() == QEvent.Type.LayoutRequest and watched is self._content:
            self.updateGeometry()
            self._scroll.start()
        return super().eventFilter(watched, event)

    def _shown(self) -> list[QWidget]:
        return [notice for notice in self._notices if not notice.isHidden()]

    def _rank(self, notice: QWidget) -> tuple[int, bool]:
        asks = isinstance(notice, Notice) and notice.asks
        return 0 if asks else self._notices.index(notice), notice is not self._newest

    def _show_important(self) -> None:
        """Scroll down to the newest notice, but not past the top of the most important one."""
        policy, fits = Qt.ScrollBarPolicy, self.height() >= self.sizeHint().height()
        # Once shown, a bar makes lines so narrow that Qt would keep it.
        self.setVerticalScrollBarPolicy(
            policy.ScrollBarAlwaysOff if fits else policy.ScrollBarAsNeeded
        )
        if shown := self._shown():
            newest = self._newest if self._newest in shown else shown[-1]
            below = newest.geometry().bottom() + 1 - self.viewport().height()
            self.verticalScrollBar().setValue(min(min(shown, key=self._rank).y() - MARGIN, below))
