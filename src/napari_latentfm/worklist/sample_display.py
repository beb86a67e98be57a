"""Shows samples of the open image, one layer per turn of the event loop."""

from __future__ import annotations

from functools import partial

from psygnal import Signal

from latentfm_core.errors import LatentFMError
from napari_latentfm.background.turns import Turns
from napari_latentfm.worklist.list_sampling import ListSampling
from napari_latentfm.worklist.open_image import OpenImage
from napari_latentfm.worklist.prefetch import Drawn, Task


class SampleDisplay:
    """Shows samples of the open image.

    Parameters
    ----------
    sampling
        Draws the samples; those of other images are not shown.

    Attributes
    ----------
    shown
        Emitted with the `Task` whose samples are shown.
    """

    shown = Signal(object)
    failed = Signal(object)

    def __init__(self, open_image: OpenImage, sampling: ListSampling) -> None:
        self._open_image = open_image
        self._turns: Turns[bool] | None = None
        sampling.drawn.connect(self._show)

    @property
    def busy(self) -> bool:
        """Whether samples are being shown."""
        return self._turns is not None

    def _show(self, task: Task, drawn: Drawn) -> None:
        """Start showing samples instead of any others."""
        if task.name != self._open_image.name:
            return
        self.stop()
        steps = self._open_image.show_steps(task, drawn)
        self._turns = Turns(steps, partial(self._on_shown, task), self._on_failed)

    def stop(self) -> None:
        """Stop showing samples, without a signal."""
        if self._turns is not None:
            self._turns.abandon()
            self._turns = None

    def _on_shown(self, task: Task, shown: bool | None) -> None:
        self._turns = None
        if shown:
            self.shown.emit(task)

    def _on_failed(self, error: Exception) -> None:
        self._turns = None
        if not isinstance(error, LatentFMError):
            raise error
        self.failed.emit(error)
