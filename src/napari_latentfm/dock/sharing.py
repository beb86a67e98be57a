"""One model for the whole dock, and one number of samples for the header and the work list."""

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
    """Keeps the choices of the forms equal; at first the header's are taken.

    The tab *Learn* follows the others, but may have another model than they.
    """

    def __init__(self, header: SamplingForm, queue: QueueForm, learning: LearningForm) -> None:
        self._head, self._queue, self._learning = header, queue, learning
        self._busy = False
        for change in (header.model.changed, header.folder.changed, header.n_samples.changed):
            change.connect(self._to_queue)
        for moved in (queue.model.currentIndexChanged, queue.n_samples.valueChanged):
            moved.connect(self._to_head)
        queue.model_folder.textChanged.connect(self._to_head)
        self._to_queue()

    def _to_queue(self) -> None:
        if self._busy:
            return
        header, queue = self._head, self._queue
        with self._sharing():
            # The model first: it sets its own number of samples.
            queue.model.setCurrentIndex(queue.model.findData(header.model.value))
            queue.model_folder.setText(header.folder.line_edit.value.strip())
            queue.n_samples.setValue(header.n_samples.value)
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
        header, learning = self._head, self._learning
        index = learning.model.findData(header.model.value)
        if index >= 0 and learning.model.isEnabled():
            learning.model.setCurrentIndex(index)
            folder = header.folder.line_edit.value.strip()
            if header.model.value == FOLDER_CHOICE and folder:
                learning.folder.set_path(folder)

    def _to_head(self, *_: object) -> None:
        if self._busy:
            return
        header, queue = self._head, self._queue
        model, folder = queue.model.currentData(), queue.model_folder.text().strip()
        with self._sharing():
            if header.model.value != model:
                header.model.value = model
            if folder and folder != header.folder.line_edit.value.strip():
                header.folder.value = Path(folder)
            header.n_samples.value = queue.n_samples.value()
        self._to_learning()
