"""A section that is collapsed and expanded by its title."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget


class Collapsible(QWidget):
    """A section that is collapsed and expanded by its title.

    superqt's QCollapsible gives its content the height of its size hint, which is wrong for
    wrapped text; here the layout sets the height.
    """

    toggled = QtSignal(bool)

    def __init__(self, title: str, tooltip: str, opened: bool = False) -> None:
        super().__init__()
        self.title = title
        self.header = QToolButton()
        self.header.setObjectName("LatentFM section")
        self.header.setText(title)
        self.header.setToolTip(tooltip)
        self.header.setCheckable(True)
        self.header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.header.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.header.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._body = QWidget()
        self._content = QVBoxLayout(self._body)
        self._content.setContentsMargins(4, 2, 0, 4)
        self._content.setSpacing(4)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.header)
        layout.addWidget(self._body)
        self.header.toggled.connect(self._on_toggled)
        self.header.setChecked(opened)
        self._show(opened)

    @property
    def opened(self) -> bool:
        """Whether the content is shown."""
        return self.header.isChecked()

    def add(self, widget: QWidget) -> None:
        """Add a widget at the end of the content."""
        self._content.addWidget(widget)

    def add_row(self, title: str, control: QWidget) -> None:
        """Add a control with a label before it."""
        row = QHBoxLayout()
        row.addWidget(QLabel(title))
        row.addWidget(control, 1)
        self._content.addLayout(row)

    def set_opened(self, opened: bool) -> None:
        """Expand or collapse the section."""
        self.header.setChecked(opened)

    def _on_toggled(self, opened: bool) -> None:
        self._show(opened)
        self.toggled.emit(opened)

    def _show(self, opened: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow
        self.header.setArrowType(arrow)
        self._body.setVisible(opened)
