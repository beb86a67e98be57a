"""Choices of the work list's form that are kept between sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import QObject

from napari_latentfm import preferences
from napari_latentfm.worklist.form import BY_UNCERTAINTY, QueueForm

SECTION = "queue"
"""Section of the preferences."""
FORMER_ORDERS = {"most doubtful first": BY_UNCERTAINTY}
"""Orders by the names under which earlier versions have kept them."""


class FormMemory(QObject):
    """Restores the choices of a form, and keeps them whenever they change."""

    def __init__(self, form: QueueForm) -> None:
        super().__init__(form)
        self._form = form
        restore(form, preferences.get(SECTION))
        for change in (
            form.model.changed,
            form.n_samples.valueChanged,
            form.order.currentTextChanged,
            form.skip.toggled,
        ):
            change.connect(self.keep)

    def keep(self, *_: object, **folders: str) -> None:
        """Keep the choices, and the folders of a list that was opened."""
        preferences.put(SECTION, {**preferences.get(SECTION), **state(self._form), **folders})


def state(form: QueueForm) -> dict[str, Any]:
    """Return the choices as JSON values for `restore`, without the folders of a list."""
    return {
        **form.model.state(),
        "n_samples": form.n_samples.value(),
        "order": form.order.currentText(),
        "skip": form.skip.isChecked(),
    }


def restore(form: QueueForm, kept: Mapping[str, Any]) -> None:
    """Restore choices; unknown ones are ignored."""
    form.folder.setText(str(kept.get("folder", "")))
    form.output.setText(str(kept.get("output", "")))
    # The model comes first, since it brings its own number of samples.
    form.model.restore(kept)
    order = str(kept.get("order", ""))
    row = form.order.findText(FORMER_ORDERS.get(order, order))
    if row >= 0:
        form.order.setCurrentIndex(row)
    if isinstance(kept.get("n_samples"), int):
        form.n_samples.setValue(kept["n_samples"])
    form.skip.setChecked(kept.get("skip") is not False)
