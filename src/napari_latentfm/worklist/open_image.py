"""The open image of a work list: its layers and its annotation."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.layers._source import layer_source

from latentfm_core.annotation.fingerprint import labels_digest
from latentfm_core.prompts.field import extent
from napari_latentfm.annotation.acceptance import NOT_SAMPLED, take_mean_mask
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.provenance import carry, facts_of, remember, space_of
from napari_latentfm.layers.annotation_record import Record, record_of
from napari_latentfm.layers.camera import camera_of, fit_view, frame_of, shows_half_of
from napari_latentfm.layers.edits import EditedLayers, is_edited
from napari_latentfm.layers.handover import hand_over, is_handed_over, share_units
from napari_latentfm.layers.planes import Plane
from napari_latentfm.layers.pyramid import level_zero
from napari_latentfm.layers.specs import METADATA_KEY, own_facts
from napari_latentfm.layers.stacking import hide_others, is_own
from napari_latentfm.results.session import Reviewed, session_of
from napari_latentfm.results.show import show_result_steps
from napari_latentfm.worklist.clock import Clock
from napari_latentfm.worklist.files import Opened, Snapshot
from napari_latentfm.worklist.list_layer import image_layer
from napari_latentfm.worklist.prefetch import Drawn, Task

if TYPE_CHECKING:
    from collections.abc import Generator

    import napari

BEFORE = " (before)"
"""Suffix of the names of layers that are removed when the next image has its results."""


class OpenImage:
    """The open image, its layers and its annotation.

    Attributes
    ----------
    name
        File name of the open image, or None.
    digest
        Digest of the annotation's labels as last saved; "" if it never was.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._session = session_of(viewer)
        self.name: str | None = None
        self.layer: Image | None = None
        self.clock = Clock()
        self._annotation: Labels | None = None
        self._old: list[Any] = []
        self._kept: Opened | None = None
        self.digest = ""
        self._names: dict[int, str] = {}
        self._view: tuple[Any, ...] = ()
        self._kept_view: tuple[Any, ...] = ()
        self._frame: tuple[Any, ...] = ()
        self._covered: tuple[str, ...] = ()
        viewer.layers.events.inserted.connect(self._on_inserted)
        self._session.changed.connect(self._on_changed)

    def close(self) -> None:
        """Stop listening."""
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        self._session.changed.disconnect(self._on_changed, missing_ok=True)
        self.clock.stop()

    def show(self, name: str, opened: Opened) -> None:
        """Add the layer of an image; call `show_steps` when it has results."""
        self.close_image()
        self.name, self._kept = name, opened
        self._annotation, self.digest = None, ""
        with layer_source(path=str(opened.path)):
            self.layer = image_layer(opened.image)
        layers = self._viewer.layers
        share_units(self._old, self.layer)
        # Below the layers of the previous image, so that its result layers can be handed over.
        below = min((layers.index(each) for each in self._old if each in layers), default=None)
        layers.insert(len(layers) if below is None else below, self.layer)
        self._covered = hide_others(self._viewer, self.layer, self._old)
        before, self._frame = self._frame, frame_of(self.layer)
        self._view, self._kept_view = (), self._camera()
        if before != self._frame:
            self._fit_view()  # otherwise the zoom is kept
        self.clock.start()

    def remove_previous(self) -> None:
        """Remove the hidden layers of the previous image.

        They are kept until then: a viewer without layers for a moment, or without a stack while
        it shows one, can crash in OpenGL.
        """
        old, self._old = self._old, []
        present = [layer for layer in dict.fromkeys(old) if layer in self._viewer.layers]
        # In napari 0.9 each removal collects garbage, which takes 0.2 s with PyTorch.
        with getattr(self._viewer.layers, "batched_update", nullcontext)():
            for each in present:
                self._viewer.layers.remove(each)
        if old and self._camera() == self._view:
            # The previous layers may have been larger. A view that the user changed is kept.
            self._fit_view()

    def discard_previous(self) -> None:
        """Remove the hidden layers of the previous image, whose work is saved, at an early end.

        Without another image they stay, since the viewer must not be empty.
        """
        if self.layer is not None and not self.is_removed:
            self.remove_previous()

    def show_steps(self, task: Task, drawn: Drawn) -> Generator[None, None, bool]:
        """Show samples of the open image and put them under review, one layer per step.

        Then the layers of the previous image are removed. Returns False if the image was closed.
        """
        if self.layer is None or self.is_removed:
            return False
        shape = drawn.image.pixels.shape
        plane = Plane((shape[0], shape[1]), (None, None), (shape[0], shape[1]))
        reviewed = Reviewed(self.layer, plane, task.model, drawn.result)
        present = [each for each in self._old if each in self._viewer.layers]
        used, axes = hand_over(present, self.layer, plane), self._viewer.dims.ndim
        yield from show_result_steps(self._viewer, reviewed, lambda _names: EditedLayers.KEEP)
        self._old = [each for each in self._old if each not in used or is_handed_over(each)]
        box = extent(drawn.result.summary.mean_mask > 0)
        # A zoom kept from the previous image must not hide what the next key accepts.
        out_of_view = box and not shows_half_of(self._viewer, self.layer, box)
        if self._viewer.dims.ndim != axes or (out_of_view and self._camera() == self._kept_view):
            self._fit_view()
        yield
        self.remove_previous()
        return True

    @property
    def hidden_note(self) -> str:
        """Message about images that were hidden because they cover this one; else ``""``."""
        if not self._covered:
            return ""
        names = ", ".join(map(repr, self._covered))
        is_one = len(self._covered) == 1
        covers, was = ("covers", "was") if is_one else ("cover", "were")
        return f"{names} {covers} this image and {was} hidden in the layer list."

    @property
    def is_removed(self) -> bool:
        """Whether the user has removed the open image from the layer list."""
        return self.layer is not None and self.layer not in self._viewer.layers

    @property
    def is_reviewed(self) -> bool:
        """Whether samples of the open image are under review."""
        current = self._session.current
        return current is not None and self.layer is not None and current.layer is self.layer

    @property
    def annotation(self) -> Labels | None:
        """The annotation of the open image."""
        if self.is_reviewed:
            # An existing layer may have become the annotation.
            annotation = annotation_of(self._session, create=False)
            self._annotation = annotation or self._annotation
        layers = self._viewer.layers
        if self.layer in layers and self._annotation not in layers:
            # Deleted by the user. A closing window removes the image as well, and its work is kept.
            self._annotation = None
        return self._annotation

    @property
    def touched(self) -> bool:
        """Whether anything was painted or taken in the annotation, even if erased since."""
        layer = self.annotation
        if layer is None:
            return False
        record = record_of(layer)
        return record.strokes > 0 or bool(record.proposals) or bool(layer.data.any())

    def ensure_annotation(self) -> None:
        """Add an empty annotation, if samples of the image are under review."""
        if self.is_reviewed:
            annotation_of(self._session)

    def take_mean_mask(self, none: str) -> str:
        """Make the mean mask the annotation; return "" or the problem (see `take_mean_mask`)."""
        return take_mean_mask(self._session, none) if self.is_reviewed else NOT_SAMPLED

    def snapshot(self, force: bool = False) -> Snapshot | None:
        """Return the annotation if it changed since it was saved, or always with `force`."""
        layer = self.annotation
        if self.name is None or self.layer is None or layer is None:
            return None
        labels = np.array(layer.data)
        digest = labels_digest(labels)
        untouched = not self.digest and not labels.any()
        same = digest == self.digest and record_of(layer).names == self._names
        if not force and (same or untouched):
            return None
        space = space_of(layer.ndim, layer.scale, layer.units, layer.axis_labels)
        pixels = level_zero(self.layer)
        return Snapshot(self.name, labels, digest, facts_of(layer), space, pixels)

    def mark_saved(self, snapshot: Snapshot) -> None:
        """Record that a snapshot was saved."""
        if snapshot.name == self.name:
            self.digest = snapshot.digest
            self._names = {} if snapshot.facts is None else dict(snapshot.facts.names)

    def detach_annotation(self) -> None:
        """Keep the annotation as an ordinary layer when the image is closed."""
        self._annotation = None

    def close_image(self) -> None:
        """Close the image; its layers are hidden, and removed by `remove_previous`.

        Layers of the user stay.
        """
        layer, self.layer, self.name = self.layer, None, None
        annotation, self._annotation, self._kept = self._annotation, None, None
        self.clock.stop()
        if layer is None:
            return
        self._session.closed.emit(layer)
        if self._session.current is not None and self._session.current.layer is layer:
            # Nothing may be written to an image that is not visible.
            self._session.show(None)
        key = str(layer.unique_id)
        own = [each for each in self._viewer.layers if _is_ours(each, key)]
        if annotation is not None:
            own.append(annotation)
        # A linked layer of the user would be hidden, and written to, as well.
        for each in (*own, layer):
            self._viewer.layers.unlink_layers([each])
        self._old += [*own, layer]
        for each in self._old:
            # The names become available for the next image and its results.
            each.name = f"{each.name.removesuffix(BEFORE)}{BEFORE}"
            each.visible = False
            if isinstance(each, Labels):
                each.editable = False

    def _fit_view(self) -> None:
        if self.layer is not None:
            fit_view(self._viewer, self.layer)
            self._view = self._camera()

    def _camera(self) -> tuple[Any, ...]:
        camera = camera_of(self._viewer)
        return (*camera.center, camera.zoom)

    def _on_inserted(self, event: Any) -> None:
        layer = event.value
        if self.layer is None or not isinstance(layer, Labels) or not Record.is_in(layer):
            return
        if record_of(layer).source_id == str(self.layer.unique_id):
            # A closing window removes all layers before the panel is deleted.
            self._annotation = layer
            record_of(layer).names.update(self._session.class_names)
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
                # It is new and empty, and has no undo history.
                layer.data[...] = kept.labels
                layer.refresh()
                remember(layer, current)
                if kept.sidecar is not None:
                    carry(layer, kept.sidecar)
                    record_of(layer).names.update(self._session.class_names)
                    self._session.restored.emit(kept.sidecar)
                self.digest = labels_digest(layer.data)
                self._names = dict(record_of(layer).names)
                if layer.data.any():
                    # Proposals would cover what was accepted before.
                    self._session.taken.emit()
        layer = self.annotation
        if layer is not None:
            remember(layer, current)


def _is_ours(layer: Any, key: str) -> bool:
    if METADATA_KEY in layer.metadata:
        # A result that was edited by hand belongs to the user.
        return own_facts(layer).get("source_id") == key and not is_edited(layer)
    return is_own(layer, key)
