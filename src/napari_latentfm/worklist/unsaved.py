"""Which images of a work list have work that was kept in a crash and is in no file of the list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from latentfm_core.annotation.autosave import AutosaveStore
from latentfm_core.annotation.fingerprint import image_signature
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.config import ReadingConfig
from latentfm_core.errors import LatentFMError
from latentfm_core.images.read import read_image
from latentfm_core.worklist.state import WorkList
from napari_latentfm.worklist.open_image import image_layer


def unsaved_images(
    store: AutosaveStore, work: WorkList, limits: ReadingConfig
) -> Iterator[frozenset[str]]:
    """Yield the names of the images that have unsaved work; for a worker thread.

    Only images with the name of one that was annotated are read. A frozen set comes after each
    that is found.
    """
    kept = store.images()
    found: frozenset[str] = frozenset()
    for name in work.names:
        if kept.isdisjoint((name, Path(name).stem)):
            continue
        try:
            if _is_unsaved(store, work, name, limits):
                found |= {name}
        except LatentFMError:
            continue  # whoever opens the image is told what is wrong
        yield found


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
