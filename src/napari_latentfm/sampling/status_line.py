"""The status line of the sampling panel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_latentfm.sampling.form import SamplingForm
from napari_latentfm.sampling.status import READY, session_status
from napari_latentfm.sampling.target_choice import NO_IMAGE

if TYPE_CHECKING:
    from napari_latentfm.results.session import ReviewSession


class StatusLine:
    """Describes the chosen image and what is under review, except during a run.

    Parameters
    ----------
    form
        Its status line, and the chosen image.
    is_running
        Returns whether a run is in progress.
    """

    def __init__(
        self, form: SamplingForm, session: ReviewSession, is_running: Callable[[], bool]
    ) -> None:
        self._form, self._session, self._is_running = form, session, is_running

    def show_message(self, text: str) -> None:
        """Show a text, which begins with the name of the chosen image."""
        self._form.status.value = self.named(text)

    def named(self, text: str) -> str:
        """Return a text that begins with the name of the chosen image, unless it is in it."""
        layer = self._form.image.value
        named = layer is None or text.startswith(layer.name) or repr(layer.name) in text
        return text if named else f"{layer.name}: {text}"

    def suggest(self) -> None:
        """Say whether there is an image to segment, unless another text is shown."""
        if self._is_running():
            return
        if self._form.image.value is None:
            self.show_message(NO_IMAGE)
        elif self._form.status.value in ("", NO_IMAGE):
            self.show_message(READY)

    def describe_review(self) -> None:
        """Describe what is under review now, for example after strokes."""
        if not self._is_running() and self._form.image.value is not None:
            self.show_message(session_status(self._session))

    def clear(self, _image: Any = None) -> None:
        """Clear the text about the previous image; a renamed one is described again."""
        if self._is_running():
            return
        image, current = self._form.image.value, self._session.current
        if current is not None and current.layer is image:
            self.describe_review()
        else:
            self._form.show_idle()
            self.show_message(NO_IMAGE if image is None else READY)
