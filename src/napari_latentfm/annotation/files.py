"""Export of the annotation to files, and opening it from a file, in a worker thread."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from latentfm_core.annotation.fingerprint import labels_digest
from latentfm_core.annotation.formats import suffix_of
from latentfm_core.annotation.interchange import ending_of
from latentfm_core.annotation.nifti import orientation_note
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.errors import ImageError, LatentFMError
from latentfm_core.images.decoded import unorient
from napari_latentfm.annotation.file_export import (
    body_axes_of,
    export_file,
    export_interchange,
    nifti_file_of,
    orientation_of,
    signature_as_read,
    signature_of,
)
from napari_latentfm.annotation.provenance import Facts, facts_of
from napari_latentfm.annotation.restoring import restore
from napari_latentfm.annotation.widgets import AskFile, remember_choice, suggested
from napari_latentfm.background.task_queue import TaskQueue
from napari_latentfm.reading import reading_limits

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentfm.annotation.autosave import Autosaver
    from napari_latentfm.annotation.recovery import Recovery
    from napari_latentfm.results.session import ReviewSession

NOTHING_TO_EXPORT = "There is no annotation yet. Take a proposal or paint, then export it."


class AnnotationFiles:
    """Exports the annotation of the image under review, and opens one from a file.

    Attributes
    ----------
    busy
        Emitted with a text about the work in progress, and with ``""`` at its end.
    ended
        Emitted with ``"done"`` or ``"cancelled"`` and a text for the user, or with
        ``"failed"`` and the message of the error.
    opened
        Emitted with the provenance of an annotation that was opened.
    work
        The queue in which files are written and read.
    """

    busy = Signal(str)
    ended = Signal(str, str)
    opened = Signal(object)

    def __init__(
        self,
        session: ReviewSession,
        autosaver: Autosaver,
        recovery: Recovery,
        ask_save: AskFile,
        ask_open: AskFile,
    ) -> None:
        self._session, self._autosaver, self._recovery = session, autosaver, recovery
        self.ask_save, self.ask_open = ask_save, ask_open
        self.work = TaskQueue()

    def export(self) -> None:
        """Ask for a file, and write the annotation and its provenance."""
        layer = self._autosaver.layer
        facts = None if layer is None else facts_of(layer)
        if layer is None or facts is None:
            self.ended.emit("failed", NOTHING_TO_EXPORT)
            return
        if problem := self._recovery.unanswered():
            self.ended.emit("failed", f"{facts.origin.image}: {problem}")
            return
        path = self.ask_save(suggested(facts.origin.image, self._image_folder()))
        if path is None:
            self.ended.emit("cancelled", "Not exported.")
            return
        self.busy.emit(f"Exporting {path.name}…")
        task = partial(_export, path, facts, layer.data)
        self.work.submit(task, partial(self._on_exported, layer))

    def open(self) -> None:
        """Ask for a file, and make it the annotation with its provenance."""
        reviewed = self._session.current
        if reviewed is None:
            return
        path = self.ask_open(suggested(reviewed.layer.name, self._image_folder()))
        if path is None:
            self.ended.emit("cancelled", "Nothing was opened.")
            return
        self.busy.emit(f"Opening {path.name}…")
        task = partial(_read, path, reviewed.layer)
        self.work.submit(task, partial(self._on_read, path, reviewed.layer))

    def _on_exported(self, layer: Labels, result: Any) -> None:
        self.busy.emit("")
        if isinstance(result, LatentFMError):
            self.ended.emit("failed", str(result))
            return
        files, digest = result
        path = files[0]
        remember_choice(path)
        if ending_of(path) is not None:
            # It has no provenance: the autosaved annotation can still be recovered.
            self.ended.emit("done", f"Exported {path.name} in the folder {path.parent.name}.")
            return
        self._autosaver.exported(layer, digest)
        self._recovery.withdraw()
        text = f"Exported {path.name} and {files[1].name} in the folder {path.parent.name}."
        self.ended.emit("done", text)

    def _on_read(self, path: Path, image: Any, result: Any) -> None:
        self.busy.emit("")
        try:
            text = self._take(path, image, result)
        except LatentFMError as error:
            self.ended.emit("failed", str(error))
            return
        self.ended.emit("done", text)

    def _take(self, path: Path, image: Any, result: Any) -> str:
        if isinstance(result, LatentFMError):
            raise result
        labels, sidecar, foreign, note = result
        current = self._session.current
        if current is None or current.layer is not image:
            raise ImageError("Another image is under review now; nothing was opened. Try again.")
        _, undo = restore(self._session, labels, sidecar)
        self._autosaver.watch()
        self._recovery.withdraw()
        text = f"Opened {path.name}. {undo}".rstrip()
        if sidecar is None:
            return f"{text} It has no matching provenance. {note}".rstrip()
        self.opened.emit(sidecar)
        return (
            f"{text} Caution: it was made on an image with other pixels ({sidecar.image})."
            if foreign
            else text
        )

    def _image_folder(self) -> Path | None:
        reviewed = self._session.current
        path = None if reviewed is None else reviewed.layer.source.path
        return Path(path).parent if path else None


def _export(path: Path, facts: Facts, data: Any) -> tuple[tuple[Path, ...], str]:
    labels = np.array(data)
    if ending_of(path) is not None:
        export_interchange(path, facts, labels)
        return (path,), ""
    return export_file(path, facts, labels), labels_digest(labels)


def _read(path: Path, layer: Image) -> tuple[Any, Any, bool, str]:
    """Read an annotation in the orientation of the image layer.

    The last values are whether it belongs to an image with other pixels, and a note about its
    orientation.
    """
    axes = body_axes_of(layer)
    labels, sidecar = read_annotation(path, reading_limits(), axes)
    nifti = sidecar is None and suffix_of(path).startswith(".nii")
    note = orientation_note(path, axes, nifti_file_of(layer)) if nifti else ""
    signature = "" if sidecar is None else sidecar.image_signature
    turn = orientation_of(layer)
    if turn != 1 and signature and signature == signature_of(layer):
        turn = 1  # in the orientation of the file
    if turn != 1 and labels.ndim >= 2:
        labels = unorient(labels.reshape(labels.shape[-2:]), turn)
    foreign = bool(signature) and signature != signature_as_read(layer, turn)
    return labels, sidecar, foreign, note
