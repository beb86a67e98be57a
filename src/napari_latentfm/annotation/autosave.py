"""Automatic saving of the annotation, for recovery after a crash."""

from __future__ import annotations

import contextlib
import datetime
import secrets
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakMethod, ref

import numpy as np
from napari.layers import Labels
from psygnal import Signal
from qtpy.QtCore import QCoreApplication, QTimer

from latentfm_core.annotation.autosave import AutosaveStore
from latentfm_core.annotation.fingerprint import labels_digest
from latentfm_core.errors import LatentFMError
from napari_latentfm import settings
from napari_latentfm.annotation.file_export import signature_of
from napari_latentfm.annotation.layer import STROKE_EVENTS, annotation_of
from napari_latentfm.annotation.provenance import Facts, facts_of, remember, sidecar_of
from napari_latentfm.background.task_queue import TaskQueue
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.preferences import data_folder

if TYPE_CHECKING:
    from napari_latentfm.results.session import Reviewed, ReviewSession

PAUSE_MS = 2_000
"""Milliseconds between the last edit and saving, if napari's preferences set no other value."""
LONGEST_MS = 20_000
"""Longest time without saving while painting continues, and before a retry after a failure."""


def autosave_folder() -> Path:
    """Return the folder of autosaved annotations."""
    return data_folder() / "autosave"


@dataclass
class _Watched:
    """The state of an annotation layer that was saved last."""

    reviewed: Reviewed
    writer: str = field(default_factory=lambda: secrets.token_hex(4))
    digest: str = ""
    names: dict[int, str] = field(default_factory=dict)


class Autosaver:
    """Saves the annotation of the image under review, a pause after the last edit.

    Copying, hashing and writing happen in a worker thread.

    Attributes
    ----------
    kept
        Emitted with the time of day when the annotation was saved, if it is still watched.
    failed
        Emitted with a message when it could not be saved.
    touched
        Emitted after every event of the annotation layer that may be an edit; the first one after a
        move of a slider is not one.
    watched
        Emitted when another annotation layer, or none, is watched.
    store, work
        The saved annotations, and the queue of tasks that save them.
    """

    kept = Signal(str)
    failed = Signal(str)
    touched = Signal()
    watched = Signal()

    def __init__(self, session: ReviewSession) -> None:
        self._session = session
        self.store = AutosaveStore(autosave_folder())
        self.work = TaskQueue()
        self._layer: Labels | None = None
        self._known: WeakKeyDictionary[Labels, _Watched] = WeakKeyDictionary()
        self._dirty_since: float | None = None
        self._closed = False
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.flush)
        session.changed.connect(self.watch)
        self._layers, self._dims = session.viewer.layers, session.viewer.dims
        self._slice = self._slice_now()
        self._layers.events.inserted.connect(self.watch)
        self._layers.events.removed.connect(self.watch)
        self._layers.selection.events.active.connect(self.watch)
        slot = WeakMethod(self.close)
        self._quit = partial(_call, slot)
        app = QCoreApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self._quit)
        self.watch()

    @property
    def layer(self) -> Labels | None:
        """The annotation layer that is watched."""
        return self._layer

    def writer_of(self, layer: Labels | None) -> str:
        """Return the name under which a layer is saved; ``""`` if it was not saved."""
        known = None if layer is None else self._known.get(layer)
        return "" if known is None else known.writer

    def watch(self, _event: Any = None) -> None:
        """Watch the annotation of the image under review; save the previous one first."""
        layer = annotation_of(self._session, create=False)
        reviewed = self._session.current
        if layer is not None and reviewed is not None:
            known = self._known.setdefault(layer, _Watched(reviewed))
            if known.reviewed is not reviewed or layer is not self._layer:
                known.reviewed = reviewed
                remember(layer, reviewed)
        if layer is self._layer:
            return
        self.flush()
        self._listen(self._layer, False)
        self._layer = layer
        self._slice = self._slice_now()
        self._listen(layer, True)
        if layer is not None:
            # It may already have labels, for example from a file.
            self.mark()
        self.watched.emit()

    def flush(self, wait: bool = False) -> None:
        """Save the annotation now if it was edited since the last time.

        Parameters
        ----------
        wait
            Whether to return only when it is saved.
        """
        # Qt may already have deleted the timer at the end of the program.
        with contextlib.suppress(RuntimeError):
            self._timer.stop()
        layer = self._layer
        if layer is not None and self._dirty_since is not None:
            self._dirty_since = None
            known, facts = self._known.get(layer), facts_of(layer)
            if known is not None and facts is not None:
                task = partial(_keep, self.store, known, facts, layer.data)
                self.work.submit(task, partial(self._on_kept, ref(layer)))
        if wait:
            self.work.drain()

    def exported(self, layer: Labels, digest: str) -> None:
        """Do not offer an annotation for recovery, since these labels were exported."""
        known = self._known.get(layer)
        if known is not None:
            names = dict(record_of(layer).names)
            task = partial(_finish, self.store, known, digest, names)
            self.work.submit(task, partial(self._on_kept, ref(layer)))

    def close(self) -> None:
        """Save edits, wait until they are saved, and stop watching; for a closing window."""
        if self._closed:
            return
        self._closed = True
        self.flush()
        self.work.close()
        self._listen(self._layer, False)
        self._layer = None
        self._session.changed.disconnect(self.watch, missing_ok=True)
        for emitter in (
            self._layers.events.inserted,
            self._layers.events.removed,
            self._layers.selection.events.active,
        ):
            emitter.disconnect(self.watch)

    def _listen(self, layer: Labels | None, on: bool) -> None:
        if layer is not None:
            for name in STROKE_EVENTS:
                emitter = layer.events.emitters[name]
                (emitter.connect if on else emitter.disconnect)(self._on_event)

    def _slice_now(self) -> object:
        """Return what changes when napari shows another slice of the layer."""
        dims, ndim = self._dims, 0 if self._layer is None else self._layer.ndim
        first = dims.ndim - ndim
        across = [(axis - first, dims.point[axis]) for axis in dims.not_displayed if axis >= first]
        return across, [axis - first for axis in dims.displayed]

    def _on_event(self, event: Any) -> None:
        before, self._slice = self._slice, self._slice_now()
        self._save_later()
        if event.type != "set_data" or before == self._slice:
            self.touched.emit()

    def mark(self) -> None:
        """Save the annotation after a pause, if its labels or their names have changed by then."""
        self._save_later()
        self.touched.emit()

    def _save_later(self) -> None:
        # Only hashing shows whether anything changed: undo and redo emit the same event as a move
        # of the slider.
        current = time.monotonic()
        if self._dirty_since is None:
            self._dirty_since = current
        pause = _pause_ms()
        left = max(LONGEST_MS, pause) - (current - self._dirty_since) * 1000
        self._timer.start(round(max(0.0, min(pause, left))))

    def _on_kept(self, layer: ref[Labels], result: Any) -> None:
        if isinstance(result, LatentFMError):
            if self._layer is not None and self._dirty_since is None:
                # Retry without another edit: disk space or a drive may become available.
                self._dirty_since = time.monotonic()
                self._timer.start(LONGEST_MS)
            self.failed.emit(str(result))
        elif result and layer() is self._layer:
            self.kept.emit(result)


def _pause_ms() -> int:
    page = settings.page("autosave")
    return PAUSE_MS if page is None else int(page.pause_seconds * 1000)


def _keep(store: AutosaveStore, known: _Watched, facts: Facts, data: Any) -> str:
    """Save the current labels; return the time of day, or ``""`` if nothing changed.

    A stroke during the copying is another edit, after which this runs again.
    """
    labels = np.array(data)
    digest = labels_digest(labels)
    if digest == known.digest and facts.names == known.names:
        return ""
    if not known.digest and not labels.any():
        known.digest, known.names = digest, facts.names
        return ""
    signature = signature_of(known.reviewed.layer)
    info = sidecar_of(facts, labels, signature)
    store.save(signature, labels, info.model_copy(update={"labels_digest": digest}), known.writer)
    known.digest, known.names = digest, facts.names
    return datetime.datetime.now().strftime("%H:%M:%S")


def _finish(store: AutosaveStore, known: _Watched, digest: str, names: dict[int, str]) -> str:
    known.digest, known.names = digest, names
    store.finish(signature_of(known.reviewed.layer))
    return ""


def _call(slot: Any) -> None:
    method = slot()
    if method is not None:
        method()
