"""Images of a work list with autosaved work that is not in any file of the list."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from psygnal import Signal

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

NAMED = 3
"""Number of images that a message names."""


class UnsavedSearch:
    """Searches a work list for images with unsaved work, and marks them in its table.

    Attributes
    ----------
    found
        Emitted once for a list, with a message, if it has such images.
    """

    found = Signal(str)

    def __init__(self, autosaver: Autosaver, navigator: Navigator, table: ImageTable) -> None:
        self._autosaver, self._navigator, self._table = autosaver, navigator, table
        self._task = LatestTask()
        self._reported: WorkList | None = None

    def start(self, _done: object = None) -> None:
        """Start a search instead of any earlier one."""
        work = self._navigator.work
        if work is None:
            return
        self._table.mark_unsaved(frozenset())
        search = partial(unsaved_images, self._autosaver.store, work, reading_limits())
        self._task.start(search, self._on_found)

    def repeat(self, offer: object) -> None:
        """Search again after the answer to a recovery offer is carried out, `offer` then None."""
        if offer is None:
            self._autosaver.work.submit(list, self.start)

    def close(self) -> None:
        """End the search; its table is deleted."""
        self._task.quit()

    def _on_found(self, found: tuple[frozenset[str], bool]) -> None:
        names, is_complete = found
        self._table.mark_unsaved(names)
        if not is_complete or self._reported is self._navigator.work:
            return
        self._reported = self._navigator.work
        if names:
            first, rest = sorted(names)[:NAMED], len(names) - NAMED
            listed = ", ".join(first) + (f" and {rest} more" if rest > 0 else "")
            self.found.emit(
                f"{len(names)} image{'s have' if len(names) > 1 else ' has'} unsaved work to "
                f"recover: {listed}."
            )


def unsaved_images(
    store: AutosaveStore, work: WorkList, limits: ReadingConfig
) -> Iterator[tuple[frozenset[str], bool]]:
    """Yield the names of images with unsaved work found so far, and whether these are all.

    For a worker thread.

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
        yield unsaved, False
    yield unsaved, True


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
