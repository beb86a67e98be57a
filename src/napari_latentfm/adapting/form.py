"""The controls of the adaptation in the tab *Folder*."""

from __future__ import annotations

from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_latentfm.ui.common import push_button, row_of, wrapped_text


class AdaptingForm(QWidget):
    """A switch, a line with the state, and what can be done with the adapted model."""

    def __init__(self) -> None:
        super().__init__()
        self.switch = QCheckBox("Adapt to accepted images")
        self.switch.setToolTip(
            "Train a copy of the model on accepted images in the background, and use it once it "
            "is better on images that it has not learned from."
        )
        self.state = wrapped_text("State of the adaptation.")
        self.keep = push_button(
            "Keep as a model…", "Copy the adapted model to a separate model folder."
        )
        self.undo = push_button(
            "Undo",
            "Return to the original model and forget what was learned from this folder. Learning "
            "starts again with the images that you accept afterwards.",
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.switch)
        layout.addWidget(self.state)
        layout.addLayout(row_of(self.keep, self.undo))

    def show_message(self, text: str) -> None:
        """Show a text."""
        self.state.setText(text)
        self.state.setVisible(bool(text))

    def show_state(self, text: str, adapted: bool) -> None:
        """Show a text, and enable the buttons if there is an adapted model."""
        self.show_message(text)
        self.keep.setEnabled(adapted)
        self.undo.setEnabled(adapted)
