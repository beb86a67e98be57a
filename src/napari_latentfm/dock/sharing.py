"""One model for the whole dock, and one number of samples for the header and the work list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_latentfm.finetuning.form import LearningForm
    from napari_latentfm.sampling.form import SamplingForm
    from napari_latentfm.worklist.form import QueueForm


class SharedModel:
    """Keeps the choices of the forms equal, starting with those of the header.

    The tab *Learn* follows the other forms, but may have a different model.
    """

    def __init__(self, header: SamplingForm, queue: QueueForm, learning: LearningForm) -> None:
        self._head, self._queue, self._learning = header, queue, learning
        self._busy = False
        for change in (header.model.changed, header.n_samples.changed):
            change.connect(self._to_queue)
        for moved in (queue.model.changed, queue.n_samples.valueChanged):
            moved.connect(self._to_head)
        self._to_queue()

    def _to_queue(self) -> None:
        if self._busy:
            return
        with self._sharing():
            # The model first: it sets its own number of samples.
            self._queue.model.restore(self._head.model.state())
            self._queue.n_samples.setValue(self._head.n_samples.value)

    def _to_head(self, *_: object) -> None:
        if self._busy:
            return
        with self._sharing():
            self._head.model.restore(self._queue.model.state())
            self._head.n_samples.value = self._queue.n_samples.value()

    @contextmanager
    def _sharing(self) -> Iterator[None]:
        """Let the forms change without an echo inside the block.

        Afterwards *Learn* starts from the chosen model too, unless it is learning.
        """
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
        if self._learning.model.isEnabled():
            self._learning.model.restore(self._head.model.state())
