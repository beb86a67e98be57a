"""Outlines of objects that are not current, and results that belong to no object any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_latentfm.annotation.layer import label_colours
from napari_latentfm.layers.placement import placement
from napari_latentfm.layers.planes import Plane, plane_index
from napari_latentfm.layers.specs import CONTOURS, own_facts
from napari_latentfm.layers.stacking import OVERLAY_SOURCE_KEY, add_above, keeping_active, source_of
from napari_latentfm.layers.strokes import COLOURS_KEY

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

OBJECTS_KEY = "latentfm_objects"


class Outlines:
    """Mean masks of objects, each with its label, as outlines in a layer of their own."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer

    def layer(self, image: Image) -> Labels | None:
        """Return the layer of an image, or None."""
        key = str(image.unique_id)
        for layer in self._viewer.layers:
            if isinstance(layer, Labels) and layer.metadata.get(OBJECTS_KEY) == key:
                return layer
        return None

    def show(
        self,
        image: Image,
        plane: Plane,
        masks: Mapping[int, NDArray[Any]],
        own: Sequence[str] = (),
    ) -> None:
        """Show masks ``(H, W)`` on a plane by label, and no others there.

        `own` are the model's own colours of its classes, as in the annotation.
        """
        layer = self.layer(image)
        if layer is not None and tuple(layer.data.shape) != plane.layer_shape:
            # The image has got other pixels.
            self._viewer.layers.remove(layer)
            layer = None
        if layer is None:
            if not masks:
                return
            layer = self._add(image, plane, own)
        self._dress(layer, own)
        values = np.zeros(plane.shape, np.uint8)
        for label in sorted(masks, reverse=True):
            values[masks[label]] = label
        part = plane_index(plane)
        if not np.array_equal(layer.data[part], values):
            layer.data[part] = values
            layer.refresh()

    def _dress(self, layer: Labels, own: Sequence[str]) -> None:
        colours = list(own)
        if layer.metadata.get(COLOURS_KEY, []) != colours:
            layer.metadata = {**layer.metadata, COLOURS_KEY: colours}
            layer.colormap = label_colours(own)

    def _add(self, image: Image, plane: Plane, own: Sequence[str]) -> Labels:
        key = str(image.unique_id)
        layer = Labels(
            np.zeros(plane.layer_shape, np.uint8),
            name=f"{image.name} · objects",
            colormap=label_colours(own),
            opacity=0.9,
            metadata={OBJECTS_KEY: key, OVERLAY_SOURCE_KEY: key, COLOURS_KEY: list(own)},
            **placement(image, plane.first()),
        )
        layer.contour = CONTOURS["mean_mask"]
        with keeping_active(self._viewer):
            add_above(self._viewer, layer, image)
            # Not for painting: that would be lost.
            layer.editable = False
        return layer


class StaleResults:
    """Hides the results of an object that is no longer current until there are new ones."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._hidden: list[Layer] = []

    def hide(self, image: Image, plane: Plane) -> None:
        """Hide the visible results of a plane."""
        for layer in self._viewer.layers:
            facts = own_facts(layer)
            if (
                layer.visible
                and facts.get("source_id") == str(image.unique_id)
                and facts.get("plane") == list(plane.index)
            ):
                layer.visible = False
                self._hidden.append(layer)

    def show_again(self, image: Image) -> None:
        """Show the hidden layers of an image: they hold another result now."""
        key = str(image.unique_id)
        for layer in self._hidden:
            if source_of(layer) == key:
                layer.visible = True
        self._hidden = [layer for layer in self._hidden if source_of(layer) != key]
