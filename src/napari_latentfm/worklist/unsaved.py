"""Images of a work list with autosaved work that is not in any file of the list."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from latentfm_core.annotation.autosave import AutosaveStore
from latentfm_core.annotation.fingerprint import image_signature
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.config import ReadingConfig
from latentfm_core.errors import LatentFMError
from latentfm_core.images.read import read_image
from latentfm_core.worklist.state import WorkList
from napari_latentfm.annotation.autosave import Autosaver
from napari_latentfm.background.thread_task import LatestTask
from napari_latentfm.reading import reading_limits
from napari_latentfm.worklist.navigator import Navigator
from napari_latentfm.worklist.open_image import image_layer
from napari_latentfm.worklist.table import ImageTable


class UnsavedSearch:
    """Searches a work list for images with unsaved work, and marks them in its table."""

    def __init__(self, autosaver: Autosaver, navigator: Navigator, table: ImageTable) -> None:
        self._autosaver, self._navigator, self._table = autosaver, navigator, table
        self._task = LatestTask()

    def start(self, _done: object = None) -> None:
        """Start a search instead of any earlier one."""
        work = self._navigator.work
        if work is None:
            return
        self._table.mark_unsaved(frozenset())
        search = partial(unsaved_images, self._autosaver.store, work, reading_limits())
        self._task.start(search, self._table.mark_unsaved)

    def repeat(self, offer: object) -> None:
        """Search again after the answer to a recovery offer is carried out, `offer` then None."""
        if offer is None:
            self._autosaver.work.submit(list, self.start)

    def close(self) -> None:
        """End the search; its table is deleted."""
        self._task.quit()


def unsaved_images(
    store: AutosaveStore, work: WorkList, limits: ReadingConfig
) -> Iterator[frozenset[str]]:
    """Yield all names of images with unsaved work found so far; for a worker thread.

    Only images with the name of an autosaved one are read.
    """
    kept = store.images()
    unsaved: frozenset[str] = frozenset()
    for name in work.names:
        if kept.isdisjoint((name, Path(name).stem)):
            continue
        try:
            if _is_unsaved(store, work, name, limits):
                unsaved |= {name}
        except LatentFMError:
            continue  # opening the image reports the error
        yield unsaved


def _is_unsaved(store: AutosaveStore, work: WorkList, name: str, limits: ReadingConfig) -> bool:
    image = read_image(work.path(name), limits)
    state = store.newest(image_signature(image_layer(image).data), limits)
    if state is None:
        return False
    labels = state.labels(limits)
    if not labels.any():
        return False
    file = work.kept(name)
    if file is None:
        return True
    saved, sidecar = read_annotation(file, limits)
    since = "" if sidecar is None else sidecar.created
    same = np.array_equal(np.squeeze(saved), np.squeeze(labels))
    return not same and state.info.created > since
