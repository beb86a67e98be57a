"""Order of the layers that belong to an image: directly above it, not below another image."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels

from napari_latentfm.layers.annotation_record import Record, record_of
from napari_latentfm.layers.planes import unit_factor
from napari_latentfm.layers.specs import METADATA_KEY, own_facts

if TYPE_CHECKING:
    from napari.components import LayerList, ViewerModel
    from napari.layers import Layer

STROKES_KEY = "latentfm_strokes"
"""Metadata key of a layer of strokes: the id of their image layer."""
REGION_KEY = "latentfm_region"
"""The same for a drawn region."""
OVERLAY_SOURCE_KEY = "latentfm_overlay_source"
"""The same for a temporary layer."""
PROMPT_KEY = "latentfm_prompt"
"""The same for boxes and points of prompts."""
OWN_KEYS = (STROKES_KEY, REGION_KEY, PROMPT_KEY, OVERLAY_SOURCE_KEY)
"""Keys of layers of an image that are neither its result nor its annotation."""
COVERING = ("opaque", "translucent", "translucent_no_depth")
"""Blendings of an image that hide the layers below."""
SAME_PLACE = 0.5
"""An image that overlaps this share of another one covers it."""

FAINT = 0.05
"""Opacity up to which an outline on an image is practically invisible."""

_HIDDEN: set[str] = set()
"""Ids of layers that were hidden here, not by the user; napari's proxies are other objects."""
_SHOWN_BY_USER: set[str] = set()
"""Ids of images that the user showed again after that; they stay over the images of a work list."""


def source_of(layer: Layer) -> str:
    """Return the id of the image that a layer of this plugin belongs to, "" for other layers."""
    facts = own_facts(layer)
    if facts:
        return str(facts.get("source_id", ""))
    for key in OWN_KEYS:
        if key in layer.metadata:
            return str(layer.metadata[key])
    return record_of(layer).source_id if isinstance(layer, Labels) and Record.is_in(layer) else ""


def is_own(layer: Layer, key: str) -> bool:
    """Return whether a layer, by `OWN_KEYS`, belongs to the image of an id."""
    return any(layer.metadata.get(own) == key for own in OWN_KEYS)


def remove_own(viewer: ViewerModel, key: str) -> None:
    """Remove the marks, strokes and outlines of an image that was removed, by its id."""
    for layer in [layer for layer in viewer.layers if is_own(layer, key)]:
        viewer.layers.remove(layer)


def add_result(viewer: ViewerModel, layer: Layer) -> None:
    """Add a result above its image and other results, below painted layers."""
    _insert(viewer.layers, layer, METADATA_KEY)


def add_below(viewer: ViewerModel, layer: Layer, other: Layer) -> None:
    """Add a result directly below another one; the active layer stays active."""
    if other in viewer.layers:
        with keeping_active(viewer):
            viewer.layers.insert(viewer.layers.index(other), layer)
    else:
        add_result(viewer, layer)


def add_above(viewer: ViewerModel, layer: Layer, source: Layer) -> None:
    """Add a layer above an image and all its layers."""
    _insert(viewer.layers, layer, "", str(source.unique_id))


def raise_above(viewer: ViewerModel, layer: Layer, source: Layer) -> None:
    """Move a layer above all other layers of an image."""
    key, layers = str(source.unique_id), viewer.layers
    top = max((index for index, other in enumerate(layers) if source_of(other) == key), default=-1)
    index = layers.index(layer)
    if top > index:
        layers.move(index, top + 1)


@contextmanager
def keeping_active(viewer: ViewerModel) -> Iterator[None]:
    """Restore the active layer and the selection; a viewer selects each new layer."""
    selection = viewer.layers.selection
    active, others = selection.active, set(selection)
    try:
        yield
    finally:
        select(viewer, others, active)


def select(viewer: ViewerModel, layers: Collection[Layer], active: Layer | None) -> None:
    """Select those of `layers` that the viewer still has, and make one of them active."""
    selection = viewer.layers.selection
    present = [layer for layer in layers if layer in viewer.layers]
    if set(selection) != set(present):
        selection.clear()
        selection.update(present)
    if active in present and selection.active is not active:
        selection.active = active


def is_visible(layer: Layer) -> bool:
    """Return whether a layer is neither hidden nor practically transparent."""
    return bool(layer.visible and layer.opacity > FAINT)


def activate(viewer: ViewerModel, layer: Layer, mode: str) -> None:
    """Make a layer visible and active, in one of napari's modes."""
    viewer.layers.selection.active = layer
    layer.visible = True
    layer.mode = mode


def _insert(layers: LayerList, layer: Layer, key: str, source: str = "") -> None:
    source = source or source_of(layer)
    indices = [
        index
        for index, other in enumerate(layers)
        if str(other.unique_id) == source
        or (source_of(other) == source and (not key or key in other.metadata))
    ]
    layers.insert(max(indices) + 1 if indices else len(layers), layer)


def bring_forward(viewer: ViewerModel, source: Image) -> int:
    """Hide other images that cover an image, with their layers; return how many are hidden now.

    Layers of this image that were hidden here before are shown again. Blended channels stay
    visible.
    """
    layers, own = list(viewer.layers), str(source.unique_id)
    ids = [str(layer.unique_id) for layer in layers]
    if own not in ids:
        return 0
    for layer in layers:
        if str(layer.unique_id) in _HIDDEN and own in (str(layer.unique_id), source_of(layer)):
            _HIDDEN.discard(str(layer.unique_id))
            layer.visible = True
    if not source.visible:  # setting it draws the layer again
        source.visible = True
    _SHOWN_BY_USER.discard(own)
    above = layers[ids.index(own) + 1 :]
    images = [
        layer
        for layer in above
        if layer.visible and _covers(layer, source) and str(layer.unique_id) not in _SHOWN_BY_USER
    ]
    hidden = {str(image.unique_id) for image in images}
    # Layers of images that are already hidden must not cover this one either.
    hidden |= {
        source_of(layer)
        for layer in above
        if layer.visible and source_of(layer) not in ("", own) and _in_place_of(layer, source)
    }
    _hide(layers, hidden)
    return len(images)


def show_with_image(layers: Iterable[Layer]) -> None:
    """Let `bring_forward` show hidden layers again when it shows their image."""
    _HIDDEN.update(str(layer.unique_id) for layer in layers)


def hide_others(viewer: ViewerModel, source: Image, but: Collection[Layer] = ()) -> tuple[str, ...]:
    """Hide all other images and labels in the place of an image; return their names.

    The layers of a hidden image are hidden as well, and not named. Labels would be taken for those
    of this image.

    Parameters
    ----------
    but
        Layers that are left as they are. A layer that was hidden here before and that the user
        has shown again stays visible, too, and so do labels without any pixel.
    """
    others = [each for each in viewer.layers if each is not source and each not in but]
    images = [each for each in others if each.visible and _is_over(each, source)]
    # What was hidden here and is visible was shown by the user.
    _SHOWN_BY_USER.update(str(each.unique_id) for each in images if str(each.unique_id) in _HIDDEN)
    images = [each for each in images if str(each.unique_id) not in _SHOWN_BY_USER]
    hidden = {str(image.unique_id) for image in images}
    _hide(others, hidden)
    return tuple(image.name for image in images if source_of(image) not in hidden)


def _hide(layers: Collection[Layer], images: Collection[str]) -> None:
    """Hide images, given by their ids, with the layers that belong to them."""
    for layer in layers:
        if layer.visible and (str(layer.unique_id) in images or source_of(layer) in images):
            _HIDDEN.add(str(layer.unique_id))
            layer.visible = False


def _is_over(layer: Layer, source: Image) -> bool:
    if not isinstance(layer, Labels):
        return _covers(layer, source)
    if source_of(layer) in _SHOWN_BY_USER or not _in_place_of(layer, source):
        return False
    return not isinstance(layer.data, np.ndarray) or bool(layer.data.any())


def _covers(layer: Layer, source: Image) -> bool:
    if not isinstance(layer, Image) or source_of(layer) or METADATA_KEY in layer.metadata:
        return False
    if str(layer.blending) not in COVERING or layer.opacity < 1:
        return False
    return _in_place_of(layer, source)


def _in_place_of(layer: Layer, source: Image) -> bool:
    one, other = (np.asarray(each.extent.world)[:, -2:] for each in (layer, source))
    pairs = zip(layer.units[-2:], source.units[-2:], strict=True)
    one = one * [unit_factor(unit, wanted) for unit, wanted in pairs]
    common = np.minimum(one[1], other[1]) - np.maximum(one[0], other[0])
    size = np.maximum(other[1] - other[0], 1e-9)
    return bool(np.prod(np.maximum(common, 0) / size) >= SAME_PLACE)
