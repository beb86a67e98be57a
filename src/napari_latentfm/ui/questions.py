"""Modal questions for the user."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_latentfm.layers.edits import EditedLayers


def ask_about_edits(names: Sequence[str], parent: QWidget | None = None) -> EditedLayers:
    """Ask what a new result should do with layers that the user has edited.

    Escape and closing the dialog mean cancel.
    """
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("LatentFM")
    box.setText("You have edited a layer that the new result would replace:")
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setInformativeText("\n".join(names))
    role = QMessageBox.ButtonRole
    keep = box.addButton("Keep my edits, add a new layer", role.AcceptRole)
    overwrite = box.addButton("Overwrite my edits", role.DestructiveRole)
    cancel = box.addButton("Cancel", role.RejectRole)
    box.setDefaultButton(keep)
    box.setEscapeButton(cancel)
    box.exec()
    clicked = box.clickedButton()
    if clicked is keep:
        return EditedLayers.KEEP
    return EditedLayers.OVERWRITE if clicked is overwrite else EditedLayers.CANCEL
