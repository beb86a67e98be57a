"""Write to layers, and undo everything after an error."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from napari.experimental import unlink_layers
from napari.layers import Labels
from napari.utils.notifications import show_info

from napari_latentfm.layers.stacking import select

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

logger = logging.getLogger(__name__)

_SPACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


@contextmanager
def all_or_nothing(viewer: ViewerModel, layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    """Write to result layers, and undo everything after an error.

    The yielded list must receive the layers that are added; others may be added meanwhile.

    Links are removed first: a linked layer copies everything that is written to another one,
    including its metadata and transform.
    """
    unlink(viewer, layers)
    added: list[Layer] = []
    selected, active = set(viewer.layers.selection), viewer.layers.selection.active
    before = [(layer, _state(layer)) for layer in layers]
    try:
        yield added
    except BaseException:
        with getattr(viewer.layers, "batched_update", nullcontext)():
            for layer in [layer for layer in added if layer in viewer.layers]:
                viewer.layers.remove(layer)
        for layer, state in before:
            _restore(layer, state)
        # A viewer selects each new layer, and nothing once it is removed.
        if not viewer.layers.selection:
            select(viewer, selected, active)
        raise


def _state(layer: Layer) -> dict[str, Any]:
    colours = ("colormap",) if isinstance(layer, Labels) else ()
    values = {key: getattr(layer, key) for key in ("data", "name", "visible", *_SPACE, *colours)}
    return {**values, "metadata": dict(layer.metadata)}


def _restore(layer: Layer, state: dict[str, Any]) -> None:
    for key, value in state.items():
        try:
            with without_history(layer):
                setattr(layer, key, value)
        except Exception:
            # A listener of the layer may fail again; the value itself is set by then.
            logger.debug("%s of %r is partly restored", key, layer.name, exc_info=True)


def unlink(viewer: ViewerModel, layers: Sequence[Layer]) -> None:
    """Remove links of result layers to other layers, and notify the user."""
    linked = []
    for layer in layers:
        before = len(layer.events.opacity.callbacks)
        unlink_layers([layer])
        if len(layer.events.opacity.callbacks) < before:
            linked.append(layer)
    if linked:
        viewer.layers.unlink_layers(linked)  # napari's menus follow, which takes 5 ms a call
        names = ", ".join(layer.name for layer in linked)
        show_info(f"No longer linked, so that the result can be written: {names}.")


@contextmanager
def without_history(layer: Layer) -> Iterator[None]:
    """Replace data, and clear the undo history of a Labels layer.

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
