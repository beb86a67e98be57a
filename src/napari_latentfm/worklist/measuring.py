"""Background measurement of the uncertainty of all images of a folder."""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtWidgets import QProgressBar

from latentfm_core.worklist.item import Item
from latentfm_core.worklist.state import WorkList
from napari_latentfm.ui.common import show_progress
from napari_latentfm.worklist.prefetch import Prefetcher, Task


class Measuring:
    """Measures images whose uncertainty is not known, and shows the progress."""

    def __init__(self, sampler: Prefetcher, bar: QProgressBar) -> None:
        self._sampler, self._bar = sampler, bar
        self._total = 0

    def start(self, work: WorkList, tasks: Iterable[Task]) -> None:
        """Measure all images whose uncertainty is not known and that can be read."""
        left = [task for task in tasks if not _is_settled(work, task)]
        self._total = len(left)
        self._sampler.measure(left)
        self.show()

    def stop(self) -> None:
        """Stop; it ends within one ODE step."""
        self._total = 0
        self.show()

    def show(self) -> None:
        """Show the progress."""
        done = max(0, self._total - self._sampler.measuring)
        show_progress(self._bar, done, max(1, self._total))


def _is_settled(work: WorkList, task: Task) -> bool:
    """Return whether the uncertainty of an image is known, or its file cannot be read."""
    item = work.item(task.name)
    known = item.uncertainty is not None and item.measured_with == task.key()
    return known or is_final(item) or bool(item.error)


def is_final(item: Item) -> bool:
    """Return whether an image is done and measured; another model does not change that."""
    return item.state == "completed" and item.uncertainty is not None
