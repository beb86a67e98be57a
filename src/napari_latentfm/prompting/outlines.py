"""Outlines of objects that are not current, and results of objects that are no longer current."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_latentfm.annotation.layer import label_colours
from napari_latentfm.layers.placement import placement
from napari_latentfm.layers.planes import Plane, plane_index
from napari_latentfm.layers.specs import CONTOURS, own_facts
from napari_latentfm.layers.stacking import OVERLAY_SOURCE_KEY, add_above, keeping_active, source_of
from napari_latentfm.layers.strokes import COLOURS_KEY

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

    from napari_latentfm.prompting.objects import Patch
    from napari_latentfm.results.session import ReviewSession

OBJECTS_KEY = "latentfm_objects"


class Outlines:
    """Mean masks of objects, each with its label, as outlines in a separate layer."""

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
        masks: Mapping[int, Patch],
        own: Sequence[str] = (),
    ) -> None:
        """Show masks on a plane by label, and no others there.

        `own` are the model's own colours of its classes, as in the annotation.
        """
        layer = self.layer(image)
        if layer is not None and tuple(layer.data.shape) != plane.layer_shape:
            # The pixels of the image have changed.
            self._viewer.layers.remove(layer)
            layer = None
        if layer is None:
            if not masks:
                return
            layer = self._add(image, plane, own)
        self._apply_colours(layer, own)
        values = np.zeros(plane.shape, np.uint8)
        for label in sorted(masks, reverse=True):
            masks[label].paint(values, label)
        part = plane_index(plane)
        if not np.array_equal(layer.data[part], values):
            layer.data[part] = values
            layer.refresh()

    def _apply_colours(self, layer: Labels, own: Sequence[str]) -> None:
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
        """Hide the visible results of a plane, and of an object on all planes."""
        for layer in self._viewer.layers:
            facts = own_facts(layer)
            if _source(facts) == str(image.unique_id) and (
                facts["plane"] == list(plane.index) or _is_of_followed(facts)
            ):
                self._hide(layer)

    def follow(self, session: ReviewSession) -> None:
        """Show the layers of what is under review, and none of an object that is not."""
        reviewed, is_stack = session.current, session.stack is not None
        if reviewed is None:
            return
        for layer in self._viewer.layers:
            facts = own_facts(layer)
            if _source(facts) != str(reviewed.layer.unique_id):
                continue
            index = list(reviewed.plane.index)
            if is_stack == ("along" in facts) and (is_stack or facts["plane"] == index):
                if layer in self._hidden:
                    self._hidden.remove(layer)
                    layer.visible = True
            elif reviewed.label is not None and (is_stack or _is_of_followed(facts)):
                self._hide(layer)

    def show_again(self, image: Image) -> None:
        """Show the hidden layers of an image, since nothing else takes their place."""
        key = str(image.unique_id)
        for layer in self._hidden:
            if source_of(layer) == key:
                layer.visible = True
        self._hidden = [layer for layer in self._hidden if source_of(layer) != key]

    def _hide(self, layer: Layer) -> None:
        if layer.visible:
            layer.visible = False
            self._hidden.append(layer)


def _source(facts: dict[str, Any]) -> str:
    return str(facts.get("source_id", ""))


def _is_of_followed(facts: dict[str, Any]) -> bool:
    """Return whether a result is that of an object that was followed through a stack."""
    return "along" in facts and bool(facts.get("prompt"))
