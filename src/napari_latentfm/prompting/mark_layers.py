"""Layers for boxes and points, separate from the layers of the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from app_model.types import KeyBinding
from napari.layers import Points, Shapes

from latentfm_core.prompts import Box, Point, Prompt
from napari_latentfm.layers.camera import camera_of
from napari_latentfm.layers.placement import place, placement
from napari_latentfm.layers.planes import Plane, to_viewer_units
from napari_latentfm.layers.stacking import PROMPT_KEY, add_above, keeping_active
from napari_latentfm.layers.strokes import POSITIVE_COLOUR
from napari_latentfm.prompting.mark_data import (
    BOX_COLOUR,
    EDGE,
    NEGATIVE_COLOUR,
    NEGATIVE_SYMBOL,
    OBJECT,
    POSITIVE_SYMBOL,
    SIGN,
    box_of,
    is_on,
    line_width,
    opacity,
    owners_of,
    rgba,
    write_boxes,
    write_points,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

BOXES, POINTS = "prompt boxes", "prompt points"
POINTS_PER_SIDE = 40
UNDO = KeyBinding.from_str("Ctrl-Z")
FINAL = ("added", "removed", "changed")
"""Actions of napari's data event after which the marks are as they will stay."""


class MarkLayers:
    """Boxes and points on the images of one viewer.

    The layers have the marks of all objects, distinguished by the column `OBJECT` of the features,
    so that napari's own tools (move, delete) work on them.

    Parameters
    ----------
    marked
        Called after a mark was drawn, moved or deleted by the user.
    undo
        Called when Ctrl+Z is pressed on one of the layers.
    """

    def __init__(
        self, viewer: ViewerModel, marked: Callable[[], None], undo: Callable[[], None]
    ) -> None:
        self._viewer, self._marked, self._undo = viewer, marked, undo
        self._followed: list[Layer] = []
        self._writing = False

    def boxes(self, image: Image, plane: Plane | None = None) -> Shapes | None:
        """Return the layer of boxes on an image; with a plane it is added where missing."""
        found: Shapes | None = self._find(image, Shapes, BOXES)
        if found is None and plane is not None:
            found = self._add(image, plane, BOXES)
        return found

    def points(self, image: Image, plane: Plane | None = None) -> Points | None:
        """Return the layer of points on an image; with a plane it is added where missing."""
        found: Points | None = self._find(image, Points, POINTS)
        if found is None and plane is not None:
            found = self._add(image, plane, POINTS)
        return found

    def there(self, image: Image) -> list[Layer]:
        """Return the layers that an image has."""
        return [each for each in (self.boxes(image), self.points(image)) if each is not None]

    def take_box(self, image: Image, plane: Plane) -> None:
        """Select the tool for boxes."""
        layer = self.boxes(image, plane)
        if layer is not None:
            self._bring_up(layer, image, plane)
            layer.selected_data = set()
            layer.feature_defaults = {OBJECT: 0}
            layer.current_edge_color = BOX_COLOUR
            layer.current_edge_width = line_width(plane)
            layer.mode = "add_rectangle"

    def take_point(self, image: Image, plane: Plane, positive: bool) -> None:
        """Select the tool for points."""
        layer = self.points(image, plane)
        if layer is not None:
            self._bring_up(layer, image, plane)
            layer.selected_data = set()
            layer.feature_defaults = {OBJECT: 0, SIGN: positive}
            layer.current_face_color = POSITIVE_COLOUR if positive else NEGATIVE_COLOUR
            layer.current_symbol = POSITIVE_SYMBOL if positive else NEGATIVE_SYMBOL
            layer.mode = "add"

    def read(self, image: Image, plane: Plane, number: int) -> Prompt:
        """Return box and points of an object on a plane, in its pixels; 0: the newest mark."""
        box: Box | None = None
        boxes, points = self.boxes(image), self.points(image)
        if boxes is not None:
            mine = [
                shape
                for shape, owner in zip(boxes.data, owners_of(boxes), strict=True)
                if owner == number and (not number or is_on(shape, plane))
            ]
            # A second box replaces the first.
            box = box_of(mine[-1], plane) if mine else None
        positive: list[Point] = []
        negative: list[Point] = []
        if points is not None:
            signs = np.asarray(points.features[SIGN], bool) if len(points.data) else ()
            for at, owner, sign in zip(points.data, owners_of(points), signs, strict=True):
                if owner == number and (not number or is_on(at, plane)):
                    row, column = (float(at[axis] + EDGE) for axis in plane.axes)
                    (positive if sign else negative).append((row, column))
        return Prompt(box, tuple(positive), tuple(negative))

    def numbers(self, image: Image) -> set[int]:
        """Return the objects that have marks on an image."""
        return {number for layer in self.there(image) for number in owners_of(layer)} - {0}

    def write(self, image: Image, plane: Plane, number: int, prompt: Prompt) -> None:
        """Make box and points of an object on a plane those of a prompt.

        The mark just drawn is removed.
        """
        with self._own_writing():
            boxes, points = self.boxes(image), self.points(image)
            if boxes is None and prompt.box is not None:
                boxes = self.boxes(image, plane)
            if points is None and (prompt.positive or prompt.negative):
                points = self.points(image, plane)
            if boxes is not None:
                write_boxes(boxes, number, [(plane, prompt.box)])
            if points is not None:
                write_points(points, plane, number, prompt)

    def write_boxes(
        self, image: Image, number: int, boxes: Sequence[tuple[Plane, Box | None]]
    ) -> None:
        """Replace the box of an object on several planes; None removes it."""
        if not boxes:
            return
        with self._own_writing():
            layer = self.boxes(image, boxes[0][0])
            if layer is not None:
                write_boxes(layer, number, boxes)

    def look(self, image: Image, current: int, hidden: set[int]) -> None:
        """Dim the marks of all objects but the current one, and hide those of some."""
        with self._own_writing():
            boxes, points = self.boxes(image), self.points(image)
            if boxes is not None and len(boxes.data):
                colours = np.tile(rgba(BOX_COLOUR), (len(boxes.data), 1))
                colours[:, 3] = [opacity(o, current, hidden) for o in owners_of(boxes)]
                boxes.edge_color = colours
            if points is not None and len(points.data):
                signs = np.asarray(points.features[SIGN], bool)
                colours = np.where(signs[:, None], rgba(POSITIVE_COLOUR), rgba(NEGATIVE_COLOUR))
                border = np.ones((len(signs), 4))
                strengths = [opacity(o, current, hidden) for o in owners_of(points)]
                colours[:, 3] = border[:, 3] = strengths
                points.face_color, points.border_color = colours, border
                points.symbol = [POSITIVE_SYMBOL if sign else NEGATIVE_SYMBOL for sign in signs]

    def hide(self, image: Image) -> None:
        """Hide the marks, and leave their tools."""
        for layer in self.there(image):
            layer.mode = "pan_zoom"
            layer.visible = False

    def is_drawing_click(self, box: Box, image: Image, plane: Plane, pixels: float) -> bool:
        """Return whether a box is so small on screen that a click was meant."""
        sizes = np.abs(image.scale) * to_viewer_units(image, self._viewer.dims)
        side = max(box[2] - box[0], box[3] - box[1])
        on_screen = side * sizes[list(plane.axes)].max() * camera_of(self._viewer).zoom
        return bool(on_screen < pixels or side < 1)

    def release(self) -> None:
        """Stop listening to the layers."""
        for layer in self._followed:
            layer.events.data.disconnect(self._on_data)
            layer.keymap.pop(UNDO, None)
        self._followed.clear()

    @contextmanager
    def _own_writing(self) -> Iterator[None]:
        before, self._writing = self._writing, True
        try:
            yield
        finally:
            self._writing = before

    def _find(self, image: Image, kind: type, title: str) -> Any:
        key = str(image.unique_id)
        for layer in self._viewer.layers:
            if isinstance(layer, kind) and layer.metadata.get(PROMPT_KEY) == key:
                self._follow(layer)
                return layer
        for layer in self._viewer.layers:
            # Saved and opened again: files of napari keep neither identity nor metadata.
            if (
                isinstance(layer, kind)
                and layer.name == f"{image.name} · {title}"
                and PROMPT_KEY not in layer.metadata
                and layer.ndim == image.ndim
            ):
                self._adopt(layer, image)
                return layer
        return None

    def _adopt(self, layer: Any, image: Image) -> None:
        layer.metadata = {**layer.metadata, PROMPT_KEY: str(image.unique_id)}
        count = len(layer.data)
        if OBJECT not in layer.features:
            layer.features = {OBJECT: np.arange(1, count + 1)}
        if isinstance(layer, Points) and SIGN not in layer.features:
            layer.features = {**layer.features, SIGN: np.ones(count, bool)}
        elif isinstance(layer, Points):
            # A table of text.
            signs = [str(sign) in ("True", "1", "1.0") for sign in layer.features[SIGN]]
            layer.features = {OBJECT: owners_of(layer), SIGN: np.array(signs, bool)}
        self._follow(layer)

    def _follow(self, layer: Any) -> None:
        if layer in self._followed:
            return
        self._followed = [one for one in self._followed if one in self._viewer.layers]
        self._followed.append(layer)
        layer.events.data.connect(self._on_data)
        layer.bind_key(UNDO, lambda _layer: self._undo(), overwrite=True)

    def _on_data(self, event: Any) -> None:
        if not self._writing and str(getattr(event, "action", "changed")) in FINAL:
            self._marked()

    def _add(self, image: Image, plane: Plane, title: str) -> Any:
        shared: dict[str, Any] = {
            "ndim": image.ndim,
            "name": f"{image.name} · {title}",
            "metadata": {PROMPT_KEY: str(image.unique_id)},
            **placement(image, plane.first()),
        }
        layer: Any
        if title == BOXES:
            layer = Shapes(
                edge_color=BOX_COLOUR,
                face_color="transparent",
                edge_width=line_width(plane),
                feature_defaults={OBJECT: 0},
                features={OBJECT: np.zeros(0, int)},
                **shared,
            )
        else:
            layer = Points(
                size=max(4.0, max(plane.shape) / POINTS_PER_SIDE),
                border_color="white",
                border_width=0.12,
                feature_defaults={OBJECT: 0, SIGN: True},
                features={OBJECT: np.zeros(0, int), SIGN: np.zeros(0, bool)},
                **shared,
            )
        with keeping_active(self._viewer):
            add_above(self._viewer, layer, image)
        self._follow(layer)
        return layer

    def _bring_up(self, layer: Any, image: Image, plane: Plane) -> None:
        layers = self._viewer.layers
        # The image may have been scaled or moved since.
        place(layer, placement(image, plane.first()))
        for each in self.there(image):
            each.visible = True
        # On top, or the marks would be hidden below the results.
        layers.move(layers.index(layer), len(layers))
        layers.selection.active = layer
