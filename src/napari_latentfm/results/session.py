"""The result under review in a viewer, shared by all sections of the review panel."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

from napari.layers import Image
from psygnal import Signal

from napari_latentfm.background.image_request import Result
from napari_latentfm.background.running import RunningWork
from napari_latentfm.layers.planes import Plane

if TYPE_CHECKING:
    import napari

    from napari_latentfm.results.stack_review import StackReview


@dataclass(frozen=True)
class Reviewed:
    """A result and its source.

    Attributes
    ----------
    plane
        Its plane; all arrays of the result's summary have its ``(H, W)``.
    model
        Name of a bundled model, or a model folder.
    label
        Label of a prompted object, with which its masks are written; None for those of the
        model's classes.
    """

    layer: Image
    plane: Plane
    model: str | Path
    result: Result
    label: int | None = None


class ReviewSession:
    """The result that is under review in one viewer; get it by `session_of`.

    Attributes
    ----------
    changed
        Emitted in the GUI thread when another result, or none, is under review.
    closed
        Emitted with the layer of an image that is being closed; hidden, it stays for a moment.
    recalled
        Emitted with the sampling settings (JSON values) of an annotation that was opened again.
    restored
        Emitted with the `AnnotationSidecar` of an annotation that was restored from a file or
        from the autosave.
    model_kept
        Emitted with the folder of a model that was fine-tuned here and is to be used.
    taken
        Emitted when a whole proposal was written into the annotation, or an annotation restored.
    untaken
        Emitted when the user has undone the taking of a proposal.
    renamed
        Emitted when the user has named a label of the annotation.
    redraw_asked
        Emitted when a prompted object must be sampled again.
    cover_others
        Whether the mask of one object may overwrite other labels of the annotation.
    class_names
        Names of labels in the open work list, which all its annotations get.
    work
        What runs in the viewer and can be cancelled.
    renewing
        Whether a run will replace the result under review: nothing of it is to be taken now.
    """

    changed = Signal()
    closed = Signal(object)
    recalled = Signal(dict)
    restored = Signal(object)
    model_kept = Signal(Path)
    taken = Signal()
    untaken = Signal()
    renamed = Signal()
    redraw_asked = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        # Weak, since the session is stored in a dictionary whose key is the viewer.
        self._viewer = WeakKeyDictionary({viewer: None})
        self._current: Reviewed | None = None
        self._stack: StackReview | None = None
        self._since = 0.0
        self._taken_from: ref[Result] | None = None
        self.work = RunningWork()
        self.cover_others = False
        self.class_names: dict[int, str] = {}
        self.renewing = False
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def viewer(self) -> napari.viewer.Viewer:
        """The viewer; a ReferenceError is raised after it is closed and deleted."""
        for viewer in self._viewer:
            return viewer
        raise ReferenceError("The viewer of this session is closed.")

    @property
    def current(self) -> Reviewed | None:
        """The result under review, or None."""
        return self._current

    @property
    def stack(self) -> StackReview | None:
        """The stack that `current` is a plane of, or None."""
        return self._stack

    @property
    def is_prompted(self) -> bool:
        """Whether a prompted object is under review, and a section samples it again on demand."""
        prompted = self._current is not None and self._current.label is not None
        return prompted and len(self.redraw_asked) > 0

    def record_taken(self) -> None:
        """Record that a mask of the result under review was written into the annotation."""
        if self._current is not None:
            self._taken_from = ref(self._current.result)

    def is_newer_than(self, last_edit: float | None) -> bool:
        """Return whether the result came after an edit, and nothing of it was taken.

        `last_edit` is in seconds of the monotonic clock; None if there was no edit.
        """
        current = self._current
        taken = self._taken_from() if self._taken_from is not None else None
        if current is None or taken is current.result:
            return False
        return last_edit is None or last_edit < self._since

    def show(self, reviewed: Reviewed | None) -> None:
        """Put a result, or None, under review."""
        self.follow(None)
        self._set(reviewed)

    def follow(self, stack: StackReview | None) -> None:
        """Put the plane of a stack that the slider shows under review, also after it moves.

        A stack that was under review before keeps the planes that were sampled again.
        """
        if self._stack is not None:
            self._stack.moved.disconnect(self._set)
            self._stack.release()
        self._stack = stack
        if stack is not None:
            stack.begin()
            stack.moved.connect(self._set)
            self._set(stack.current)

    def _set(self, reviewed: Reviewed | None) -> None:
        if reviewed is not None and (
            self._current is None or reviewed.result is not self._current.result
        ):
            self._since = time.monotonic()
        self._current = reviewed
        self.changed.emit()

    def _on_removed(self, event: object) -> None:
        removed = getattr(event, "value", None)
        last = self._current if self._stack is None else self._stack
        if last is not None and removed is last.layer:
            self.show(None)


_SESSIONS: WeakKeyDictionary[napari.viewer.Viewer, ReviewSession] = WeakKeyDictionary()


def session_of(viewer: napari.viewer.Viewer) -> ReviewSession:
    """Return the session of a viewer, which is created at the first call."""
    if viewer not in _SESSIONS:
        _SESSIONS[viewer] = ReviewSession(viewer)
    return _SESSIONS[viewer]
