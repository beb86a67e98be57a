"""The one image of the queue that is open: its layers, its annotation, the time it takes."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QWidget

from latentfm_core.annotation.fingerprint import labels_digest
from latentfm_core.types import ImageInput
from napari_latentfm.annotation.acceptance import NOT_SAMPLED, take_mean_mask
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.provenance import carry, facts_of, remember, space_of
from napari_latentfm.layers.annotation_record import PAUSE, Record, record_of
from napari_latentfm.layers.planes import Plane
from napari_latentfm.layers.pyramid import level_zero
from napari_latentfm.layers.specs import METADATA_KEY
from napari_latentfm.layers.stacking import OWN_KEYS
from napari_latentfm.layers.update import EditedLayers, is_edited
from napari_latentfm.results.session import Reviewed, session_of
from napari_latentfm.results.show import show_result_steps
from napari_latentfm.worklist.files import Opened, Snapshot
from napari_latentfm.worklist.prefetch import Drawn, Task

if TYPE_CHECKING:
    from collections.abc import Generator

    import napari

BEFORE = " (before)"
"""Behind the names of layers that go when the results of the next image are there."""
_ACTIVITY = {
    QEvent.Type.MouseMove,
    QEvent.Type.MouseButtonPress,
    QEvent.Type.KeyPress,
    QEvent.Type.Wheel,
    QEvent.Type.TabletMove,
}


class Clock(QObject):
    """Counts the time in which somebody works: pauses of over `PAUSE` seconds do not count."""

    def __init__(self) -> None:
        super().__init__()
        self._window: Any = None
        self._last: float | None = None
        self._seconds = 0.0

    def watch_around(self, widget: QWidget) -> None:
        """Take mouse and keys of the main window around a widget as a sign of work."""
        top = widget
        while (parent := top.parentWidget()) is not None:
            top = parent
        window = top.windowHandle()
        if window is not None and window is not self._window:
            self._window = window
            window.installEventFilter(self)

    def start(self) -> None:
        """Begin with an image."""
        self._seconds, self._last = 0.0, time.monotonic()

    def touch(self, now: float) -> None:
        """Note that somebody worked at `now`, in seconds of a monotonic clock."""
        if self._last is not None:
            gap = now - self._last
            self._seconds += gap if 0 <= gap <= PAUSE else 0.0
            self._last = now

    def take(self) -> float:
        """Return the seconds since the last call, and begin again."""
        found, self._seconds = self._seconds, 0.0
        return found

    def stop(self) -> None:
        """End with an image."""
        self._last = None

    def eventFilter(self, _watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Look at events on their way; none is kept from anybody."""
        if event.type() in _ACTIVITY:
            self.touch(time.monotonic())
        return False


class Desk:
    """Holds what belongs to the open image, and only that.

    Attributes
    ----------
    name
        File name of the open image, or None.
    layer
        Its layer.
    class_names
        Names of labels that the list has; every annotation gets them.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._session = session_of(viewer)
        self.name: str | None = None
        self.layer: Image | None = None
        self.clock = Clock()
        self.class_names: dict[int, str] = {}
        self._annotation: Labels | None = None
        self._old: list[Any] = []
        self._kept: Opened | None = None
        self._digest = ""
        self._names: dict[int, str] = {}
        self._view: tuple[Any, ...] = ()
        viewer.layers.events.inserted.connect(self._on_inserted)
        self._session.changed.connect(self._on_changed)

    def close(self) -> None:
        """Stop listening."""
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        self._session.changed.disconnect(self._on_changed, missing_ok=True)
        self.clock.stop()

    def lay_out(self, name: str, opened: Opened) -> None:
        """Add the layer of an image that was read; call `show_steps` when its results are there."""
        self.put_aside()
        self.name, self._kept = name, opened
        self._annotation, self._digest = None, ""
        self.layer = image_layer(opened.image)
        self._viewer.add_layer(self.layer)
        self._viewer.reset_view()
        self._view = self._camera()
        self.clock.start()

    def tidy(self) -> None:
        """Remove the layers of the image that was open before, which are hidden by now.

        A viewer that has no layers for a moment, or no stack while it shows one, can end the
        process with a segmentation fault in OpenGL.
        """
        old, self._old = self._old, []
        present = [layer for layer in old if layer in self._viewer.layers]
        # From napari 0.9 on every single removal collects garbage, some 0.2 s with PyTorch.
        with getattr(self._viewer.layers, "batched_update", nullcontext)():
            for each in present:
                self._viewer.layers.remove(each)
        if old and self._camera() == self._view:
            # The layers before may have been larger; who has zoomed meanwhile stays there.
            self._viewer.reset_view()

    def show_steps(self, task: Task, drawn: Drawn) -> Generator[None, None, bool]:
        """Show samples of the open image and put them under review, one layer at a time.

        Then the layers of the image before go. Returns False if the image is gone.
        """
        if self.layer is None or self.layer not in self._viewer.layers:
            return False
        shape = drawn.image.pixels.shape
        plane = Plane((shape[0], shape[1]), (None, None), (shape[0], shape[1]))
        reviewed = Reviewed(self.layer, plane, task.model, drawn.result)
        yield from show_result_steps(self._viewer, reviewed, lambda _names: EditedLayers.KEEP)
        yield
        self.tidy()
        return True

    @property
    def is_reviewed(self) -> bool:
        """Whether samples of the open image are under review."""
        current = self._session.current
        return current is not None and self.layer is not None and current.layer is self.layer

    @property
    def annotation(self) -> Labels | None:
        """The annotation of the open image."""
        return self._find()

    @property
    def digest(self) -> str:
        """Of its labels, as they were saved last."""
        return self._digest

    @property
    def touched(self) -> bool:
        """Whether something was painted or taken in the annotation, even if it is gone by now."""
        layer = self._find()
        if layer is None:
            return False
        record = record_of(layer)
        return record.strokes > 0 or bool(record.proposals) or bool(layer.data.any())

    def ensure_annotation(self) -> None:
        """Add an empty annotation, if the samples of the image are there."""
        if self.is_reviewed:
            annotation_of(self._session)

    def take_mean_mask(self, none: str) -> str:
        """Make the mean mask the annotation; return "", or why not (see `take_mean_mask`)."""
        return take_mean_mask(self._session, none) if self.is_reviewed else NOT_SAMPLED

    def snapshot(self, force: bool = False) -> Snapshot | None:
        """Return the annotation if it was changed since it was kept (or at any rate)."""
        layer = self._find()
        if self.name is None or self.layer is None or layer is None:
            return None
        labels = np.array(layer.data)
        found = labels_digest(labels)
        untouched = not self._digest and not labels.any()
        same = found == self._digest and record_of(layer).names == self._names
        if not force and (same or untouched):
            return None
        space = space_of(layer.ndim, layer.scale, layer.units, layer.axis_labels)
        pixels = level_zero(self.layer)
        return Snapshot(self.name, labels, found, facts_of(layer), space, pixels)

    def is_kept(self, snapshot: Snapshot) -> None:
        """Note that a snapshot was written."""
        if snapshot.name == self.name:
            self._digest = snapshot.digest
            self._names = {} if snapshot.facts is None else dict(snapshot.facts.names)

    def let_go(self) -> None:
        """Make the annotation a layer of the user's, which stays when the image is left."""
        self._annotation = None

    def put_aside(self) -> None:
        """Let go of the open image; its layers go when the next one is there, see `tidy`.

        Those of the user stay.
        """
        layer, self.layer, self.name = self.layer, None, None
        annotation, self._annotation, self._kept = self._annotation, None, None
        self.clock.stop()
        if layer is None:
            return
        if self._session.current is not None and self._session.current.layer is layer:
            # Nothing is written to an image that is out of sight.
            self._session.show(None)
        key = str(layer.unique_id)
        doomed = [x for x in self._viewer.layers if _is_ours(x, key)]
        if annotation is not None:
            doomed.append(annotation)
        self._old += [*doomed, layer]
        for each in (*self._old,):
            # Another image of the same name, or its results, get the names of these.
            each.name = f"{each.name.removesuffix(BEFORE)}{BEFORE}"
            each.visible = False
            if isinstance(each, Labels):
                each.editable = False

    def _camera(self) -> tuple[Any, ...]:
        # Napari 0.9 moved the camera.
        camera = getattr(self._viewer, "scene", self._viewer).camera
        return (*camera.center, camera.zoom)

    def _find(self) -> Labels | None:
        if self.is_reviewed:
            # A layer may have been made the annotation without being new.
            found = annotation_of(self._session, create=False)
            self._annotation = found or self._annotation
        return self._annotation

    def _on_inserted(self, event: Any) -> None:
        layer = event.value
        if self.layer is None or not isinstance(layer, Labels) or not Record.is_in(layer):
            return
        if record_of(layer).source_id == str(self.layer.unique_id):
            # Held here, since the end of the window removes all layers before it is told.
            self._annotation = layer
            record_of(layer).names.update(self.class_names)
            if self._session.current is not None and self.is_reviewed:
                remember(layer, self._session.current)

    def _on_changed(self) -> None:
        current = self._session.current
        if current is None or not self.is_reviewed:
            return
        kept, self._kept = self._kept, None
        if kept is not None and kept.labels is not None:
            layer = annotation_of(self._session)
            if layer is not None and not layer.data.any():
                # New and empty: no undo history belongs to it.
                layer.data[...] = kept.labels
                layer.refresh()
                remember(layer, current)
                if kept.sidecar is not None:
                    carry(layer, kept.sidecar)
                    record_of(layer).names.update(self.class_names)
                    self._session.restored.emit(kept.sidecar)
                self._digest = labels_digest(layer.data)
                self._names = dict(record_of(layer).names)
        layer = self._find()
        if layer is not None:
            remember(layer, current)


def image_layer(image: ImageInput) -> Image:
    """Return the layer of an image; RGB and RGBA in colour, else its first channel."""
    pixels = image.pixels
    colour = pixels.ndim == 3 and pixels.shape[2] in (3, 4)
    if pixels.ndim == 3 and not colour:
        pixels = pixels[..., 0]
    options: dict[str, Any] = {}
    if image.spacing is not None:
        options = {"scale": image.spacing, "units": (image.unit, image.unit)}
    return Image(pixels, rgb=colour, name=image.name, **options)


def _is_ours(layer: Any, key: str) -> bool:
    found = layer.metadata.get(METADATA_KEY)
    if found is not None:
        own = found.get("layer_id") == str(layer.unique_id) and found.get("source_id") == key
        # A result that was edited by hand is the user's.
        return bool(own and not is_edited(layer))
    return any(layer.metadata.get(own) == key for own in OWN_KEYS)
