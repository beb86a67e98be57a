"""Controls for the planes of a stack to segment; hidden for 2D images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox

from latentfm_core.errors import ImageError
from napari_latentfm.layers.channels import channel_axis_of
from napari_latentfm.layers.planes import Plane, axes_on_screen, displayed_plane
from napari_latentfm.layers.stacks import (
    PlaneStack,
    all_planes,
    along_choices,
    axis_name,
    plane_choices,
)

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Image

CURRENT = "current"
ON_SCREEN = "on screen"


def code(axes: Sequence[int]) -> str:
    """Return the value of a combo box that encodes axes of a layer."""
    return ",".join(map(str, axes))


class PlaneChoice:
    """Two combo boxes: the planes to segment, and the two axes that form a plane.

    Attributes
    ----------
    planes
        Its value is `CURRENT`, or the `code` of the axes along which all planes are taken.
    axes
        Its value is `ON_SCREEN`, or the `code` of the two axes of a plane.
    """

    def __init__(self) -> None:
        self._layer: Image | None = None
        self._dims: Dims | None = None
        # Functions, since magicgui calls them again when a box is added to a window.
        self.planes = ComboBox(
            choices=lambda _box: self._planes(),
            label="Planes",
            tooltip="The plane on screen, or all planes of the stack one after the other. All have "
            "the same seeds, so that sample n continues from plane to plane.",
        )
        self.axes = ComboBox(
            choices=lambda _box: self._axes(),
            label="Axes",
            tooltip="Which axes of the stack form a plane: those on screen, or others.",
        )
        self.axes.changed.connect(lambda: _refill(self.planes))

    @property
    def rows(self) -> list[ComboBox]:
        """The boxes, for a form."""
        return [self.planes, self.axes]

    def offer(self, layer: Image | None, dims: Dims) -> None:
        """Offer the planes and axes of a layer; choices that still exist are kept."""
        if layer is not self._layer:
            self.axes.value, self.planes.value = ON_SCREEN, CURRENT
        self._layer, self._dims = layer, dims
        for row in self.rows:
            _refill(row)
            row.visible = self._is_stack()

    def stack(self, layer: Image, dims: Dims) -> PlaneStack | None:
        """Return the chosen planes, or None if only the plane on screen is chosen.

        Raises `ImageError` as `displayed_plane` does.
        """
        self.offer(layer, dims)
        if self.planes.value == CURRENT:
            return None
        along = tuple(map(int, self.planes.value.split(",")))
        return all_planes(layer, dims, along, self._pair())

    def on_screen(self, layer: Image, dims: Dims) -> Plane:
        """Return the plane at the position of the sliders, even if all planes are chosen.

        Raises `ImageError` as `displayed_plane` does.
        """
        return displayed_plane(layer, dims, self._pair() if layer is self._layer else None)

    def _is_stack(self) -> bool:
        """Return whether there are planes to choose from; channels alone are not planes."""
        layer = self._layer
        if layer is None:
            return False
        return layer.ndim - (channel_axis_of(layer) is not None) > 2

    def _pair(self) -> tuple[int, int] | None:
        if self.axes.value == ON_SCREEN:
            return None
        first, second = map(int, self.axes.value.split(","))
        return first, second

    def _axes(self) -> list[tuple[str, str]]:
        choices, layer = [(ON_SCREEN, ON_SCREEN)], self._layer
        if layer is not None and layer.ndim > 2:
            pairs = plane_choices(layer.ndim, channel_axis_of(layer))
            choices += [(_names(layer, pair), code(pair)) for pair in pairs]
        return choices

    def _planes(self) -> list[tuple[str, str]]:
        choices, layer, dims = [(CURRENT, CURRENT)], self._layer, self._dims
        if layer is None or dims is None or layer.ndim < 3:
            return choices
        # In 3D display no plane is on screen; a run reports what to do.
        with suppress(ImageError):
            first, second = self._pair() or sorted(axes_on_screen(layer, dims))
            channel = channel_axis_of(layer)
            for along in along_choices(layer.ndim, (first, second), channel):
                name = "all" if len(along) > 1 else f"all along {axis_name(layer, along[0])}"
                choices.append((name, code(along)))
        return choices


def _refill(box: ComboBox) -> None:
    """Update the choices; magicgui alone would append new ones to the old ones."""
    chosen = box.value
    with box.changed.blocked():
        box.native.clear()
        box.reset_choices()
        if chosen in box.choices:
            box.value = chosen


def _names(layer: Any, axes: Sequence[int]) -> str:
    return ", ".join(axis_name(layer, axis) for axis in axes)
