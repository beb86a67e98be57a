"""The doubt of all images of a folder, measured in the background."""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtWidgets import QProgressBar

from latentfm_core.worklist.state import WorkList
from napari_latentfm.ui.common import show_progress
from napari_latentfm.worklist.prefetch import Sampler, Task


class Measuring:
    """Measures the images of which the doubt is not known, and shows how far it is.

    Parameters
    ----------
    sampler
        Does it.
    bar
        Shows it.
    """

    def __init__(self, sampler: Sampler, bar: QProgressBar) -> None:
        self._sampler, self._bar = sampler, bar
        self._total = 0

    def start(self, work: WorkList, tasks: Iterable[Task]) -> None:
        """Measure all images but those that are known or cannot be read."""
        left = [task for task in tasks if not _is_known(work, task) and not is_bad(work, task.name)]
        self._total = len(left)
        self._sampler.measure(left)
        self.show()

    def stop(self) -> None:
        """Stop; it ends within one ODE step."""
        self._total = 0
        self.show()

    def show(self) -> None:
        """Show how many are left."""
        done = max(0, self._total - self._sampler.measuring)
        show_progress(self._bar, done, max(1, self._total))


def is_bad(work: WorkList, name: str) -> bool:
    """Tell whether an image is flagged with a reason before any samples: it cannot be read."""
    item = work.item(name)
    return item.state == "flagged" and bool(item.note) and item.doubt is None


def _is_known(work: WorkList, task: Task) -> bool:
    item = work.item(task.name)
    return item.doubt is not None and item.doubt_of == task.key()
