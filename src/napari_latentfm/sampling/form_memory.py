"""Choices of the sampling form that are kept between sessions, or recalled with an annotation."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import FileEdit

from napari_latentfm import preferences
from napari_latentfm.background.signals import listen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qtpy.QtWidgets import QWidget

    from napari_latentfm.results.session import ReviewSession
    from napari_latentfm.sampling.form import SamplingForm

SECTION = "sampling"
"""Section of the preferences."""
RECALLED = ("n_samples", "steps", "solver", "seed")
_SAVED = (
    *RECALLED,
    "device",
    "confidence",
    "scale",
    "results",
)
"""Controls whose values are kept between sessions."""


class FormMemory:
    """Restores the choices of a form, also those of annotations and models that are opened.

    Parameters
    ----------
    owner
        Widget whose deletion ends this.
    is_running
        Returns whether a run is in progress, during which nothing is changed.
    """

    def __init__(
        self,
        form: SamplingForm,
        session: ReviewSession,
        owner: QWidget,
        is_running: Callable[[], bool],
    ) -> None:
        self._form, self._is_running = form, is_running
        restore(form, preferences.get(SECTION))
        listen(owner, session.recalled, self._recall)
        listen(owner, session.model_kept, self._take_model)

    def keep(self) -> None:
        """Keep the choices for the next session."""
        preferences.put(SECTION, state(self._form))

    def _recall(self, settings: dict[str, Any]) -> None:
        """Restore the sampling settings of an annotation that was opened again."""
        if not self._is_running():
            known = {name: settings.get(name) for name in RECALLED if name in settings}
            restore(self._form, known)

    def _take_model(self, folder: Path) -> None:
        """Choose a model that was trained in this window."""
        if not self._is_running():
            self._form.model.choose(folder)


def state(form: SamplingForm) -> dict[str, Any]:
    """Return the choices as JSON values, for `restore`."""
    return form.model.state() | {name: _json_value(getattr(form, name)) for name in _SAVED}


def restore(form: SamplingForm, kept: Mapping[str, Any]) -> None:
    """Restore choices; unknown names and values out of range are ignored."""
    form.model.restore(kept)  # first, since it brings its own settings
    for name in _SAVED:
        # A folder control would read an empty text as the current directory.
        if kept.get(name, "") != "":
            with contextlib.suppress(ValueError, TypeError):
                getattr(form, name).value = kept[name]


def _json_value(control: Any) -> Any:
    return control.line_edit.value.strip() if isinstance(control, FileEdit) else control.value
