"""One model for the whole dock, and one number of samples for the head and the work list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentfm.ui.choices import FOLDER_CHOICE

if TYPE_CHECKING:
    from napari_latentfm.finetuning.form import LearningForm
    from napari_latentfm.sampling.form import SamplingForm
    from napari_latentfm.worklist.form import QueueForm


class SharedModel:
    """Keeps the choices of the forms equal; at first the head's are taken.

    The tab *Learn* follows the others, but may have another model than they.
    """

    def __init__(self, head: SamplingForm, queue: QueueForm, learning: LearningForm) -> None:
        self._head, self._queue, self._learning = head, queue, learning
        self._busy = False
        for change in (head.model.changed, head.folder.changed, head.n_samples.changed):
            change.connect(self._to_queue)
        for moved in (queue.model.currentIndexChanged, queue.n_samples.valueChanged):
            moved.connect(self._to_head)
        queue.model_folder.textChanged.connect(self._to_head)
        self._to_queue()

    def _to_queue(self) -> None:
        if self._busy:
            return
        head, queue = self._head, self._queue
        with self._sharing():
            # The model first: it brings a number of samples of its own.
            queue.model.setCurrentIndex(queue.model.findData(head.model.value))
            queue.model_folder.setText(head.folder.line_edit.value.strip())
            queue.n_samples.setValue(head.n_samples.value)
        self._to_learning()

    @contextmanager
    def _sharing(self) -> Iterator[None]:
        """Let the forms change without an echo inside the block."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _to_learning(self) -> None:
        """Let *Learn* start from the chosen model, unless it is learning."""
        head, learning = self._head, self._learning
        index = learning.model.findData(head.model.value)
        if index >= 0 and learning.model.isEnabled():
            learning.model.setCurrentIndex(index)
            folder = head.folder.line_edit.value.strip()
            if head.model.value == FOLDER_CHOICE and folder:
                learning.folder.set_path(folder)

    def _to_head(self, *_: object) -> None:
        if self._busy:
            return
        head, queue = self._head, self._queue
        model, folder = queue.model.currentData(), queue.model_folder.text().strip()
        with self._sharing():
            if head.model.value != model:
                head.model.value = model
            if folder and folder != head.folder.line_edit.value.strip():
                head.folder.value = Path(folder)
            head.n_samples.value = queue.n_samples.value()
        self._to_learning()
