"""Keeps the annotation while it is made, and offers it again after a crash."""

from __future__ import annotations

import contextlib
import datetime
import secrets
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakMethod

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
"""After the last edit, before the annotation is kept; unless napari's preferences say otherwise."""
LONGEST_MS = 20_000
"""The annotation is kept so often even while painting goes on, and tried again after a failure."""


def autosave_folder() -> Path:
    """Return the folder in which annotations are kept."""
    return data_folder() / "autosave"


@dataclass
class _Watched:
    """An annotation layer and the state of it that was kept last."""

    reviewed: Reviewed
    writer: str = field(default_factory=lambda: secrets.token_hex(4))
    digest: str = ""
    names: dict[int, str] = field(default_factory=dict)


class Autosaver:
    """Keeps the annotation of what is under review, a pause after the last edit.

    Copying, hashing and writing happen in a worker thread.

    Attributes
    ----------
    kept
        Emitted with the time of day when the annotation was kept.
    failed
        Emitted with a message when it could not be kept.
    touched
        Emitted after every event of the annotation layer that may be an edit.
    watched
        Emitted when another annotation layer, or none, is watched.
    store, work
        Where states are kept, and the queue in which that happens.
    """

    kept = Signal(str)
    failed = Signal(str)
    touched = Signal()
    watched = Signal()

    def __init__(self, session: ReviewSession, store: AutosaveStore | None = None) -> None:
        self._session = session
        self.store = store or AutosaveStore(autosave_folder())
        self.work = TaskQueue()
        self._layer: Labels | None = None
        self._known: WeakKeyDictionary[Labels, _Watched] = WeakKeyDictionary()
        self._dirty_since: float | None = None
        self._closed = False
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.flush)
        session.changed.connect(self.watch)
        self._layers = session.viewer.layers
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
        """Return under which name states of a layer are kept; ``""`` if it is not known."""
        known = None if layer is None else self._known.get(layer)
        return "" if known is None else known.writer

    def watch(self, _event: Any = None) -> None:
        """Watch the annotation of what is under review now; keep another one first."""
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
        self._listen(layer, True)
        if layer is not None:
            # It may have come with labels, as one from a file does.
            self.mark()
        self.watched.emit()

    def flush(self, wait: bool = False) -> None:
        """Keep the annotation now if it was edited since.

        Parameters
        ----------
        wait
            Return only when it is written.
        """
        # Qt may have taken the timer already, at the end of the program.
        with contextlib.suppress(RuntimeError):
            self._timer.stop()
        layer = self._layer
        if layer is not None and self._dirty_since is not None:
            self._dirty_since = None
            known, facts = self._known.get(layer), facts_of(layer)
            if known is not None and facts is not None:
                task = partial(_keep, self.store, known, facts, layer.data)
                self.work.submit(task, self._on_kept)
        if wait:
            self.work.drain()

    def exported(self, layer: Labels, digest: str) -> None:
        """Take an annotation out of recovery, since these labels of it were exported."""
        known = self._known.get(layer)
        if known is not None:
            names = dict(record_of(layer).names)
            self.work.submit(partial(_finish, self.store, known, digest, names), self._on_kept)

    def close(self) -> None:
        """Keep what was edited, wait for it, and stop watching; for the end of the window."""
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
                (emitter.connect if on else emitter.disconnect)(self.mark)

    def mark(self, _event: Any = None) -> None:
        """Keep the annotation after a pause, if its labels or their names are others by then."""
        # Whether anything was changed shows when it is hashed: undo and redo emit no more than
        # a move of the slider does.
        current = time.monotonic()
        if self._dirty_since is None:
            self._dirty_since = current
        pause = _pause_ms()
        left = max(LONGEST_MS, pause) - (current - self._dirty_since) * 1000
        self._timer.start(round(max(0.0, min(pause, left))))
        self.touched.emit()

    def _on_kept(self, result: Any) -> None:
        if isinstance(result, LatentFMError):
            if self._layer is not None and self._dirty_since is None:
                # Tried again without another edit: space may be made, a drive come back.
                self._dirty_since = time.monotonic()
                self._timer.start(LONGEST_MS)
            self.failed.emit(str(result))
        elif result:
            self.kept.emit(result)


def _pause_ms() -> int:
    page = settings.page("autosave")
    return PAUSE_MS if page is None else int(page.pause_seconds * 1000)


def _keep(store: AutosaveStore, known: _Watched, facts: Facts, data: Any) -> str:
    """Keep the labels as they are now; return the time of day, or ``""`` if nothing changed.

    A stroke may fall into the copying. It is an edit of its own, after which this runs again.
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
