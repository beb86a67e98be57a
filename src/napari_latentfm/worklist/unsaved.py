"""Find images of a work list with autosaved work to recover, or with a replaced file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from psygnal import Signal

from latentfm_core.annotation.autosave import AutosaveStore
from latentfm_core.annotation.fingerprint import image_signature
from latentfm_core.annotation.reading import read_annotation, read_sidecar, sidecar_path
from latentfm_core.config import ReadingConfig
from latentfm_core.errors import LatentFMError
from latentfm_core.images.read import read_image
from latentfm_core.names import counted, name_some
from latentfm_core.worklist.accepted import accepted
from latentfm_core.worklist.replaced import NAMED, is_replaced, of_replaced
from latentfm_core.worklist.state import WorkList
from napari_latentfm.annotation.autosave import Autosaver
from napari_latentfm.background.thread_task import LatestTask
from napari_latentfm.reading import reading_limits
from napari_latentfm.worklist.image_states import ImageStates
from napari_latentfm.worklist.list_layer import image_layer
from napari_latentfm.worklist.table import ImageTable


class UnsavedSearch:
    """Searches a work list for images with unsaved work, and marks them in its table.

    It also searches for images whose file was replaced after they were accepted; their uncertainty
    is no longer known.

    Attributes
    ----------
    found
        Emitted once for a list, with a message, for each kind of images that it has.
    """

    found = Signal(str)

    def __init__(self, autosaver: Autosaver, states: ImageStates, table: ImageTable) -> None:
        self._autosaver, self._states, self._table = autosaver, states, table
        self._task, self._files = LatestTask(), LatestTask()
        self._reported: WorkList | None = None

    def start(self, _done: object = None) -> None:
        """Start a search instead of any earlier one."""
        work = self._states.work
        if work is None:
            return
        if self._reported is not work:
            self._files.start(partial(replaced_images, work, reading_limits()), self._on_replaced)
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
        self._files.quit()

    def _on_replaced(self, found: tuple[list[str], bool]) -> None:
        names, is_complete = found
        if not is_complete or not names:
            return
        for name in names:
            self._states.update(name, uncertainty=None, measured_with="")
        self.found.emit(of_replaced(names))

    def _on_found(self, found: tuple[frozenset[str], bool]) -> None:
        names, is_complete = found
        self._table.mark_unsaved(names)
        if not is_complete or self._reported is self._states.work:
            return
        self._reported = self._states.work
        if names:
            self.found.emit(
                f"{counted(len(names), 'image has', 'images have')} unsaved work to recover: "
                f"{name_some(names, NAMED)}."
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


def replaced_images(work: WorkList, limits: ReadingConfig) -> Iterator[tuple[list[str], bool]]:
    """Yield the names of replaced images found so far, and whether these are all.

    For a worker thread.
    """
    replaced: list[str] = []
    for name in accepted(work):
        sidecar = read_sidecar(sidecar_path(work.annotation(name)))
        if is_replaced(work.path(name), sidecar, limits):
            replaced.append(name)
        yield replaced, False
    yield replaced, True


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
