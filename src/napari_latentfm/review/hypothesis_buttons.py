"""Buttons that step through the hypotheses, and take one into the annotation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qtpy.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from napari_latentfm.ui.common import push_button, row_of

_STEP = (
    ("Shift-H", "Previous (Shift+H)", "Show the previous hypothesis on the image."),
    ("H", "Next (H)", "Show the next hypothesis on the image."),
    ("Q", "Hide (Q)", "Remove the hypothesis from the image."),
)
_TAKE = (
    ("W", "Take whole (W)", "Make this hypothesis the annotation."),
    (
        "Shift-W",
        "In region (Shift+W)",
        "Make this hypothesis the annotation inside the drawn region only.",
    ),
    ("U", "Union (U)", "Add this hypothesis to the annotation."),
    (
        "Shift-U",
        "Intersect (Shift+U)",
        "Keep only the part of the annotation that is also in this hypothesis.",
    ),
)


class HypothesisButtons(QWidget):
    """One button for each action on a hypothesis.

    Parameters
    ----------
    actions
        The actions by napari key string.
    """

    def __init__(self, actions: Mapping[str, Callable[[], None]]) -> None:
        super().__init__()
        self.step = [push_button(text, tip, actions[key]) for key, text, tip in _STEP]
        self.take = [push_button(text, tip, actions[key]) for key, text, tip in _TAKE]
        grid = QGridLayout()
        grid.setSpacing(3)
        for number, button in enumerate(self.take):
            grid.addWidget(button, number // 2, number % 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(row_of(*self.step))
        layout.addLayout(grid)

    def enable(self, any_found: bool, one_chosen: bool) -> None:
        """Enable the buttons that have something to act on."""
        previous, following, hide = self.step
        previous.setEnabled(any_found)
        following.setEnabled(any_found)
        for button in (hide, *self.take):
            button.setEnabled(one_chosen)
