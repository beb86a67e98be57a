"""Put result layers into a viewer: a rerun updates its own layers, but asks about edited ones.

Whether a layer was edited is told by comparing its data with a digest of what was written,
when the next result arrives. Events are no safe sign: undo and redo emit none but
``set_data``, which also fires on every move of a slider, and writes into the array emit
nothing at all. An edit that was undone again is no edit.
"""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.notifications import show_info

from latentfm_core.progress import finish
from napari_latentfm.layers.specs import METADATA_KEY, LayerSpec
from napari_latentfm.layers.stacking import add_result
from napari_latentfm.layers.stacks import PlaneStack, part_indices

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


logger = logging.getLogger(__name__)

_SPACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


class EditedLayers(Enum):
    """What to do with result layers that the user has edited since they were written."""

    KEEP = "keep"
    OVERWRITE = "overwrite"
    CANCEL = "cancel"


AskAboutEdits = Callable[[Sequence[str]], EditedLayers]
"""Called with the names of the edited layers."""


def is_result(layer: Layer) -> bool:
    """Tell whether a layer holds a result of this plugin (or is a copy of one)."""
    return METADATA_KEY in layer.metadata


def digest(data: Any) -> str:
    """Return a fingerprint of an array's shape and content."""
    array = np.ascontiguousarray(data)
    content = hashlib.blake2b(repr((array.shape, array.dtype.str)).encode(), digest_size=16)
    content.update(array.data)
    return content.hexdigest()


def checksum(data: Any) -> str:
    """Return a CRC-32 of an array's content, some four times as fast as `digest`.

    The GUI waits for it, and stacks are large. One edit in 2^32 would pass unseen.
    """
    return f"{zlib.crc32(np.ascontiguousarray(data).data):08x}"


def place(viewer: ViewerModel, specs: Sequence[LayerSpec], ask: AskAboutEdits) -> bool:
    """Update the layers that an earlier run made for the same plane, and add missing ones.

    Parameters
    ----------
    viewer
        The viewer.
    specs
        The results, from bottom to top.
    ask
        Called only if the user has edited one of the layers that would be written.

    Returns
    -------
    bool
        False if the user chose to cancel; then nothing was changed.
    """
    return finish(place_steps(viewer, specs, ask))


def place_steps(
    viewer: ViewerModel, specs: Sequence[LayerSpec], ask: AskAboutEdits
) -> Generator[None, None, bool]:
    """Do what `place` does, one layer at a time.

    napari needs a tenth of a second for each layer, whatever its size, and as much again to find
    and draw its outlines. Between the steps the window can answer; closing the generator leaves the
    viewer as it was.
    """
    targets = [_own_layer(viewer, spec) for spec in specs]
    edited = [layer for layer in targets if layer is not None and is_edited(layer)]
    choice = ask([layer.name for layer in edited]) if edited else EditedLayers.OVERWRITE
    if choice is EditedLayers.CANCEL:
        return False
    kept = edited if choice is EditedLayers.KEEP else []
    # New layers are made before the viewer changes, so that an error leaves it as it was.
    new: list[Layer | None] = []
    for spec, target in zip(specs, targets, strict=True):
        new.append(_make(spec) if target is None or target in kept else None)
        yield
    with _all_or_nothing(viewer, [layer for layer in targets if layer is not None]) as added:
        for layer in kept:
            _release(layer)
        for spec, target, fresh in zip(specs, targets, new, strict=True):
            if fresh is not None:
                added.append(fresh)
                add_result(viewer, fresh)
                yield
                fresh.visible = spec.look.get("visible", True)
            elif target is not None:
                _overwrite(target, spec)
            yield
    return True


@contextmanager
def _all_or_nothing(viewer: ViewerModel, layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    """Write to result layers so that after an error all of them are as before.

    The list that it gives takes the layers that are added; others may come meanwhile.

    Links are removed first: each layer that is linked takes over whatever is written to another,
    its metadata and transform included.
    """
    _unlink(viewer, layers)
    added: list[Layer] = []
    before = [(layer, _state(layer)) for layer in layers]
    try:
        yield added
    except BaseException:
        with getattr(viewer.layers, "batched_update", nullcontext)():
            for layer in [layer for layer in added if layer in viewer.layers]:
                viewer.layers.remove(layer)
        for layer, state in before:
            _restore(layer, state)
        raise


def _state(layer: Layer) -> dict[str, Any]:
    values = {key: getattr(layer, key) for key in ("data", *_SPACE)}
    return {**values, "metadata": dict(layer.metadata)}


def _restore(layer: Layer, state: dict[str, Any]) -> None:
    for key, value in state.items():
        try:
            with _without_history(layer):
                setattr(layer, key, value)
        except Exception:
            # What listens to the layer fails once more; the value itself is set by then.
            logger.debug("%s of %r is restored in part", key, layer.name, exc_info=True)


def _unlink(viewer: ViewerModel, layers: Sequence[Layer]) -> None:
    """Remove the links of result layers to other layers, and say so."""
    linked = []
    for layer in layers:
        before = len(layer.events.opacity.callbacks)
        viewer.layers.unlink_layers([layer])
        if len(layer.events.opacity.callbacks) < before:
            linked.append(layer.name)
    if linked:
        show_info(f"No longer linked, so that the result can be written: {', '.join(linked)}.")


def place_part(
    viewer: ViewerModel,
    specs: Sequence[LayerSpec],
    planes: PlaneStack,
    number: int,
    ask: AskAboutEdits,
) -> bool:
    """Write the results of one plane into the layers that hold a whole stack.

    Layers that the user has removed stay away.

    Parameters
    ----------
    viewer, ask
        As for `place`; only edits in this plane count.
    specs
        The results of the plane.
    planes, number
        The stack, and which of its planes this is.

    Returns
    -------
    bool
        False if the user chose to cancel; then nothing was changed.
    """
    of_stack = {"plane": list(planes.index), "along": list(planes.along)}
    found = [(_find(viewer, {**s.metadata, **of_stack}, s.data.ndim), s) for s in specs]
    targets = [(layer, spec) for layer, spec in found if layer is not None]
    edited = [layer for layer, _ in targets if _part_is_edited(layer, number)]
    choice = ask([layer.name for layer in edited]) if edited else EditedLayers.OVERWRITE
    if choice is EditedLayers.CANCEL:
        return False
    _unlink(viewer, [layer for layer, _ in targets])
    for layer, spec in targets:
        if choice is EditedLayers.OVERWRITE or layer not in edited:
            _overwrite_part(layer, spec, number)
    return True


def _own_layer(viewer: ViewerModel, spec: LayerSpec) -> Layer | None:
    return _find(viewer, spec.metadata, spec.data.ndim, _is_pyramid(spec))


def _find(
    viewer: ViewerModel, facts: dict[str, Any], ndim: int, multiscale: bool = False
) -> Layer | None:
    wanted = ("role", "source_id", "plane", "along")
    for layer in viewer.layers:
        found = layer.metadata.get(METADATA_KEY, {})
        if (
            found.get("layer_id") == str(layer.unique_id)
            and all(found.get(key) == facts.get(key) for key in wanted)
            and layer.ndim == ndim
            and layer.multiscale == multiscale
        ):
            return layer
    return None


def is_edited(layer: Layer) -> bool:
    """Tell whether a result layer was edited since it was written.

    A pyramid, of a large image, cannot be edited: hashing it would freeze the window.
    """
    facts = layer.metadata[METADATA_KEY]
    if layer.multiscale and facts["digest"] is None:
        return False
    return bool(facts["digest"] != _fingerprint(facts, layer.data))


def _part_is_edited(layer: Layer, number: int) -> bool:
    facts = layer.metadata[METADATA_KEY]
    parts = _parts(facts, layer.data)
    if len(parts) != len(facts["digest"]):
        return True
    return bool(facts["digest"][number] != checksum(layer.data[parts[number]]))


def _parts(facts: dict[str, Any], data: Any) -> list[tuple[slice, ...]]:
    return part_indices(facts["along"], len(facts["plane"]), data.shape)


def _fingerprint(facts: dict[str, Any], data: Any) -> str | list[str]:
    """Return the digest of a result, or a checksum of each plane, which may change alone."""
    if "along" not in facts:
        return digest(data)
    return [checksum(data[part]) for part in _parts(facts, data)]


def _release(layer: Layer) -> None:
    """Leave a layer to the user: later runs do not find it any more."""
    kept = {**layer.metadata[METADATA_KEY], "layer_id": None}
    layer.metadata = {**layer.metadata, METADATA_KEY: kept}


def _make(spec: LayerSpec) -> Layer:
    """Return a new layer, hidden at first, so that nothing is drawn of it yet."""
    layer: Layer
    look = {**spec.look, "visible": False}
    if spec.kind == "labels":
        contour = look.pop("contour")
        layer = Labels(
            spec.levels, name=spec.name, multiscale=_is_pyramid(spec), **spec.space, **look
        )
        # The constructor takes no contour.
        layer.contour = contour
    else:
        layer = Image(
            spec.levels, name=spec.name, multiscale=_is_pyramid(spec), **spec.space, **look
        )
    _stamp(layer, spec)
    return layer


def _is_pyramid(spec: LayerSpec) -> bool:
    return spec.pyramid_axes is not None


def _stamp(layer: Layer, spec: LayerSpec) -> None:
    # A duplicate of the layer carries the same metadata but has another id: it is the user's.
    stamp = {
        "layer_id": str(layer.unique_id),
        "digest": None if _is_pyramid(spec) else _fingerprint(spec.metadata, spec.data),
    }
    layer.metadata = {**layer.metadata, METADATA_KEY: {**spec.metadata, **stamp}}


def _overwrite(layer: Layer, spec: LayerSpec) -> None:
    with _without_history(layer):
        layer.data = spec.levels
        for key, value in spec.space.items():
            if not _equal(getattr(layer, key), value):
                setattr(layer, key, value)
    _stamp(layer, spec)


def _overwrite_part(layer: Layer, spec: LayerSpec, number: int) -> None:
    facts = layer.metadata[METADATA_KEY]
    part = _parts(facts, layer.data)[number]
    with _without_history(layer):
        layer.data[part] = spec.data
        layer.refresh()
    digests = [*facts["digest"]]
    digests[number] = checksum(layer.data[part])
    layer.metadata = {**layer.metadata, METADATA_KEY: {**facts, "digest": digests}}


@contextmanager
def _without_history(layer: Layer) -> Iterator[None]:
    """Let data be replaced, and forget the undo history of a Labels layer.

    Ctrl+Z would paint pixels of the old data into the new. Making a layer uneditable empties
    its history.
    """
    editable, mode = layer.editable, layer.mode
    layer.editable = False
    try:
        yield
    finally:
        layer.editable = editable
        layer.mode = mode


def _equal(old: Any, new: Any) -> bool:
    if isinstance(new, tuple):
        return tuple(map(str, old)) == tuple(map(str, new))
    return np.array_equal(np.asarray(old), new)
