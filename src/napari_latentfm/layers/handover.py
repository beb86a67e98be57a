"""Result layers of a closed image, reused for the next one.

napari needs a fifth of a second of the GUI thread to add a layer, and as much to remove one. New
data for a layer take a hundredth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.layers import Labels

from napari_latentfm.layers.edits import is_edited
from napari_latentfm.layers.placement import place
from napari_latentfm.layers.specs import METADATA_KEY

if TYPE_CHECKING:
    from napari.layers import Image, Layer

    from napari_latentfm.layers.planes import Plane
    from napari_latentfm.layers.specs import LayerSpec

_KEY = "handed_over"
_TAKES_LEVELS = hasattr(Labels, "locked_data_level")
"""Whether a layer with coarser levels takes those of another image: napari 0.7.1."""
_NEW_LABELS = {
    "show_selected_label": False,
    "selected_label": 1,
    "preserve_labels": False,
    "contiguous": True,
    "n_edit_dimensions": 2,
    "brush_size": 10,
}
_NEW_IMAGE = {"gamma": 1.0, "interpolation2d": "nearest"}
"""What a new layer of napari has; `LayerSpec.look` gives the rest."""


def hand_over(layers: Sequence[Layer], image: Image, plane: Plane) -> list[Layer]:
    """Assign hidden result layers to a plane of another image, for `place_steps`; return them.

    Parameters
    ----------
    layers
        Hidden layers of an image that was closed. Layers that are not results, or that the user
        has edited or locked, are left alone.
    image, plane
        The other image, of which no result is shown yet.
    """
    assigned: list[Layer] = []
    for layer in layers:
        facts = layer.metadata.get(METADATA_KEY)
        locked = getattr(layer, "locked", False) or (layer.multiscale and not _TAKES_LEVELS)
        if facts is None or locked or "along" in facts or is_edited(layer):
            continue
        facts = {**facts, "source_id": str(image.unique_id), **plane.facts(), _KEY: True}
        layer.metadata = {**layer.metadata, METADATA_KEY: facts}
        assigned.append(layer)
    return assigned


def share_units(layers: Sequence[Layer], image: Image) -> None:
    """Give hidden layers the units of the next image; napari warns if those of layers differ."""
    for layer in layers:
        place(layer, {"units": (*layer.units[: -image.ndim], *image.units)})


def is_handed_over(layer: Layer) -> bool:
    """Return whether a layer was handed over, and the results of its image are not written."""
    return bool(layer.metadata.get(METADATA_KEY, {}).get(_KEY, False))


def renew_look(layer: Layer, spec: LayerSpec) -> None:
    """Give a layer that was handed over the name and look of a new layer, and show it."""
    layer.name = spec.name
    kind = _NEW_LABELS if isinstance(layer, Labels) else _NEW_IMAGE
    look: dict[str, Any] = {"visible": True, "blending": "translucent", **kind, **spec.look}
    visible = look.pop("visible")
    for key, value in look.items():
        if key == "colormap" or getattr(layer, key) != value:
            setattr(layer, key, value)
    # A hidden layer keeps the extent of its former data, until it is refreshed.
    layer.visible = True
    layer.refresh()
    # Coarser levels of a large image cannot be painted.
    layer.editable = not layer.multiscale
    # Showing a layer restores the mode in which it was hidden.
    layer.mode = "pan_zoom"
    if not visible:
        layer.visible = False
