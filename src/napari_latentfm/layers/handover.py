"""Result layers of a closed image, used again for the next one.

napari needs a fifth of a second of the GUI thread to add a layer, and as much to remove one. New
data for a layer take a hundredth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.layers import Labels

from napari_latentfm.layers.edits import is_edited
from napari_latentfm.layers.specs import METADATA_KEY

if TYPE_CHECKING:
    from napari.layers import Image, Layer

    from napari_latentfm.layers.planes import Plane
    from napari_latentfm.layers.specs import LayerSpec

_KEY = "handed_over"


def hand_over(layers: Sequence[Layer], image: Image, plane: Plane) -> list[Layer]:
    """Assign hidden result layers to a plane of another image; `place` writes its results there.

    Parameters
    ----------
    layers
        Hidden layers of an image that was closed. Layers that are not results, or that the user
        has edited, are left alone.
    image, plane
        The other image, of which no result is shown yet.

    Returns
    -------
    list of Layer
        Those that were assigned.
    """
    assigned: list[Layer] = []
    for layer in layers:
        facts = layer.metadata.get(METADATA_KEY)
        if facts is None or "along" in facts or is_edited(layer):
            continue
        facts = {**facts, "source_id": str(image.unique_id), **plane.facts(), _KEY: True}
        layer.metadata = {**layer.metadata, METADATA_KEY: facts}
        assigned.append(layer)
    return assigned


def is_handed_over(layer: Layer) -> bool:
    """Return whether a layer was handed over, and the results of its image are not written."""
    return bool(layer.metadata.get(METADATA_KEY, {}).get(_KEY, False))


def renew_look(layer: Layer, spec: LayerSpec) -> None:
    """Give a layer that was handed over the name and look of a new layer, and show it."""
    layer.name = spec.name
    look: dict[str, Any] = {"visible": True, **spec.look}
    visible = look.pop("visible")
    if isinstance(layer, Labels):
        layer.editable = True
        layer.selected_label = 1
    for key, value in look.items():
        if key == "colormap" or getattr(layer, key) != value:
            setattr(layer, key, value)
    # A hidden layer keeps the extent of its former data, until it is refreshed.
    layer.visible = True
    layer.refresh()
    layer.visible = visible
