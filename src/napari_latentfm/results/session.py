"""What is under review in a viewer; every section of the review panel looks at this."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari.layers import Image
from psygnal import Signal

from napari_latentfm.background.image_request import Result
from napari_latentfm.layers.planes import Plane

if TYPE_CHECKING:
    import napari

    from napari_latentfm.results.stack_review import StackReview


@dataclass(frozen=True)
class Reviewed:
    """A result and where it came from.

    Attributes
    ----------
    layer
        The image layer that was segmented.
    plane
        The plane of it; all arrays of the result's summary have its ``(H, W)``.
    model
        Name of a bundled model, or a model folder.
    result
        Samples, summary and device.
    label
        Label of the object that was pointed at, with which its masks are written; None: those
        of the model's classes.
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
    recalled
        Emitted with sampling settings (JSON values) that an annotation was made with, when it
        was opened again.
    restored
        Emitted with the `AnnotationSidecar` of an annotation that was put back under review,
        from a file or from what was kept.
    model_kept
        Emitted with the folder of a model that was learned here and is to be used.
    taken
        Emitted when a whole proposal was written into the annotation.
    redraw_asked
        Emitted when an object that was pointed at is to be drawn anew.
    cover_others
        Whether the mask of one object may overwrite other labels of the annotation.
    """

    changed = Signal()
    recalled = Signal(dict)
    restored = Signal(object)
    model_kept = Signal(Path)
    taken = Signal()
    redraw_asked = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        # Weak, since the session lives in a dictionary whose key is the viewer.
        self._viewer = WeakKeyDictionary({viewer: None})
        self._current: Reviewed | None = None
        self._stack: StackReview | None = None
        self.cover_others = False
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def viewer(self) -> napari.viewer.Viewer:
        """The viewer."""
        return next(iter(self._viewer))

    @property
    def current(self) -> Reviewed | None:
        """What is under review, or None."""
        return self._current

    @property
    def stack(self) -> StackReview | None:
        """The stack that `current` is a plane of, or None."""
        return self._stack

    @property
    def is_prompted(self) -> bool:
        """Whether an object is under review that somebody points at and draws anew."""
        pointed = self._current is not None and self._current.label is not None
        return pointed and len(self.redraw_asked) > 0

    def show(self, reviewed: Reviewed | None) -> None:
        """Put another result, or None, under review."""
        self.follow(None)
        self._set(reviewed)

    def follow(self, stack: StackReview | None) -> None:
        """Put under review whatever plane of a stack the slider shows, from now on."""
        if self._stack is not None:
            self._stack.moved.disconnect(self._set)
            self._stack.release()
        self._stack = stack
        if stack is not None:
            stack.moved.connect(self._set)
            self._set(stack.current)

    def _set(self, reviewed: Reviewed | None) -> None:
        self._current = reviewed
        self.changed.emit()

    def _on_removed(self, event: object) -> None:
        gone = getattr(event, "value", None)
        last = self._current if self._stack is None else self._stack
        if last is not None and gone is last.layer:
            self.show(None)


_SESSIONS: WeakKeyDictionary[napari.viewer.Viewer, ReviewSession] = WeakKeyDictionary()


def session_of(viewer: napari.viewer.Viewer) -> ReviewSession:
    """Return the session of a viewer, made at the first call; two viewers have two."""
    if viewer not in _SESSIONS:
        _SESSIONS[viewer] = ReviewSession(viewer)
    return _SESSIONS[viewer]
