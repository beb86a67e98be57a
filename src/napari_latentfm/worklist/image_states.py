"""Changes to the recorded state of the images of a work list."""

from __future__ import annotations

from psygnal import Signal

from latentfm_core.errors import LatentFMError
from latentfm_core.worklist.item import MAX_NOTE
from latentfm_core.worklist.state import WorkList
from napari_latentfm.worklist.navigator import Navigator
from napari_latentfm.worklist.open_image import OpenImage


class ImageStates:
    """Changes states, flags and notes.

    Attributes
    ----------
    failed
        Emitted with the `LatentFMError` of a change that could not be saved.
    """

    changed = Signal()
    failed = Signal(object)

    def __init__(self, navigator: Navigator, open_image: OpenImage) -> None:
        self._navigator, self._open_image = navigator, open_image

    @property
    def work(self) -> WorkList | None:
        """The work list, or None."""
        return self._navigator.work

    def update(self, name: str, **changes: object) -> bool:
        """Change what is recorded about an image; return whether it was saved."""
        work = self._navigator.work
        try:
            if work is not None:
                work.update(name, **changes)
        except LatentFMError as error:
            self.failed.emit(error)
            return False
        self.changed.emit()
        return True

    def flag(self) -> None:
        """Flag the open image for a second look, or remove its flag."""
        work, name = self._navigator.work, self._open_image.name
        if work is None or name is None:
            return
        item = work.item(name)
        if item.state == "completed":
            self.update(name, flag=not item.flag)
            return
        state = "in progress" if item.flagged else "flagged"
        self.update(name, state=state, flag=False, error="")

    def note(self, text: str) -> None:
        """Save a note about the open image."""
        if self._open_image.name is not None:
            self.update(self._open_image.name, note=text.strip())

    def reset(self, name: str) -> bool:
        """Mark an image as not started, files and note stay; return whether it was saved."""
        return self.update(name, state="not started", error="", empty=False, flag=False)

    def mark_readable(self, name: str) -> None:
        """Remove the error of an image that was read again."""
        work = self._navigator.work
        if work is not None and work.item(name).error:
            self.update(name, error="")

    def mark_bad(self, name: str, error: object) -> str:
        """Flag an image that cannot be read, and return the reason; a note of the user stays."""
        work = self._navigator.work
        path = name if work is None else str(work.path(name))
        reason = str(error).removeprefix(f"{path}: ").replace(path, name)
        kept = reason[:MAX_NOTE]
        self.update(name, state="flagged", error=kept, uncertainty=None, measured_with="")
        return reason
