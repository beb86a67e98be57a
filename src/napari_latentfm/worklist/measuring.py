"""Background measurement of the uncertainty of all images of a folder."""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtWidgets import QProgressBar

from latentfm_core.worklist.state import WorkList
from napari_latentfm.ui.common import show_progress
from napari_latentfm.worklist.prefetch import Prefetcher, Task


class Measuring:
    """Measures images whose uncertainty is not known, and shows the progress.

    Parameters
    ----------
    sampler
        Draws the samples.
    bar
        Shows the progress.
    """

    def __init__(self, sampler: Prefetcher, bar: QProgressBar) -> None:
        self._sampler, self._bar = sampler, bar
        self._total = 0

    def start(self, work: WorkList, tasks: Iterable[Task]) -> None:
        """Measure all images whose uncertainty is not known and that can be read."""
        left = [task for task in tasks if not _is_known(work, task) and not is_bad(work, task.name)]
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


def is_bad(work: WorkList, name: str) -> bool:
    """Return whether an image is flagged because it cannot be read."""
    item = work.item(name)
    return item.state == "flagged" and bool(item.note) and item.uncertainty is None


def _is_known(work: WorkList, task: Task) -> bool:
    item = work.item(task.name)
    return item.uncertainty is not None and item.measured_with == task.key()
