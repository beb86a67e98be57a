"""Runs operations on the annotation: computed in a thread, written as one undo step."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from psygnal import Signal

from latentfm_core.annotation.editing import Edit, Kind, Operation, edit
from latentfm_core.errors import ImageError, LatentFMError
from napari_latentfm.annotation.starting import find_annotation
from napari_latentfm.annotation.writing import write_pixels
from napari_latentfm.background.task_queue import reported
from napari_latentfm.background.thread_task import ThreadTask
from napari_latentfm.layers.painting import check_unlocked
from napari_latentfm.layers.planes import Plane, plane_index

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_latentfm.results.session import ReviewSession

UNCHANGED: dict[Kind, str] = {
    "keep": "This is the only piece; nothing changed.",
    "largest": "There is only one piece; nothing changed.",
    "fill": "There are no holes; nothing changed.",
    "smooth": "The outline is smooth at this size; nothing changed.",
    "grow": "There is no room to grow; nothing changed.",
}


@dataclass(frozen=True)
class Target:
    """The target of an operation: a label on a plane of the annotation."""

    layer: Labels
    plane: Plane
    label: int

    def exists(self, layers: Collection[Layer]) -> bool:
        """Return whether `layers` have the layer, and its plane."""
        return self.layer in layers and tuple(self.layer.data.shape) == self.plane.layer_shape

    @property
    def view(self) -> NDArray[Any]:
        """View of the plane of the annotation, ``(H, W)``."""
        return np.asarray(self.layer.data[plane_index(self.plane)])


def find_target(session: ReviewSession) -> Target:
    """Return the selected label of the annotation on the plane on screen.

    Raises `ImageError` as `find_annotation` does, and if the background is selected.
    """
    layer, plane = find_annotation(session)
    if layer.selected_label == 0:
        raise ImageError(
            f"Label 0 is the background. Select the label to fix in the controls of {layer.name!r}."
        )
    return Target(layer, plane, int(layer.selected_label))


class LabelEditor:
    """Runs operations on the annotation in order.

    Attributes
    ----------
    reported
        Emitted with a description of the change, or the reason why nothing changed.
    working
        Emitted with whether an operation is being computed.
    """

    reported = Signal(str)
    working = Signal(bool)

    def __init__(self, session: ReviewSession) -> None:
        self._session = session
        self._waiting: deque[tuple[Target, Operation]] = deque()
        self._task: ThreadTask | None = None

    @property
    def busy(self) -> bool:
        """Whether an operation is being computed."""
        return self._task is not None

    def do(self, operation: Operation) -> None:
        """Run an operation on the selected label, after all earlier ones."""
        try:
            target = find_target(self._session)
        except LatentFMError as error:
            self.reported.emit(str(error))
            return
        # Ctrl+Z acts on the active layer, and must undo this.
        self._session.viewer.layers.selection.active = target.layer
        self._waiting.append((target, operation))
        self._next()

    def cancel(self) -> None:
        """Cancel the running operation and all waiting ones."""
        self._waiting.clear()
        if self._task is not None:
            self._task.quit()
            self._task = None
            self.working.emit(False)
            self.reported.emit("Cancelled; nothing was changed.")

    def _next(self) -> None:
        if self._task is not None or not self._waiting:
            return
        target, operation = self._waiting.popleft()
        before = target.view.copy()
        self._task = ThreadTask(partial(_compute, before, target.label, operation))
        self._task.reported.connect(partial(self._on_computed, target, operation, before))
        self.working.emit(True)
        self._task.start()

    def _on_computed(
        self,
        target: Target,
        operation: Operation,
        before: NDArray[Any],
        result: Edit | LatentFMError,
    ) -> None:
        self._task = None
        if not target.exists(self._session.viewer.layers):
            self._waiting.clear()
        elif isinstance(result, LatentFMError):
            self.reported.emit(str(result))
        elif not np.array_equal(target.view, before):
            # The labels were painted on meanwhile: compute again.
            self._waiting.appendleft((target, operation))
        else:
            self.reported.emit(_written(target, operation, result))
        self._next()
        if self._task is None:
            self.working.emit(False)


def _compute(
    labels: NDArray[Any], label: int, operation: Operation
) -> Iterator[Edit | LatentFMError]:
    try:
        yield edit(labels, label, operation)
    except Exception as error:
        yield reported(error)


def _written(target: Target, operation: Operation, change: Edit) -> str:
    """Write a change into the annotation, and return its description, or why it was not written."""
    try:
        check_unlocked(target.layer)
    except ImageError as error:
        return str(error)
    write_pixels(target.layer, target.plane, change.rows, change.columns, change.values)
    return _describe(operation, change)


def _describe(operation: Operation, change: Edit) -> str:
    if not len(change.rows):
        return UNCHANGED.get(operation.kind, "Nothing changed.")
    counts = ((change.added, "added"), (change.removed, "removed"))
    texts = [f"{count:,} pixels {verb}" for count, verb in counts if count]
    return f"{', '.join(texts)}. Ctrl+Z undoes it."
