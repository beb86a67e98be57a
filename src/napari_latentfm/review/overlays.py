"""Temporary layers on the image, which never contain work of the user."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Shapes
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal
from qtpy.QtCore import QTimer

from latentfm_core.colours import ROLE_COLOURS
from latentfm_core.uncertainty.contours import AGREEMENT_LEVELS, AgreementContour
from napari_latentfm.layers.placement import placement
from napari_latentfm.layers.pyramid import is_large, pyramid
from napari_latentfm.layers.specs import CONTOURS, OTHER_COLOUR, layer_data
from napari_latentfm.layers.stacking import (
    OVERLAY_SOURCE_KEY,
    add_above,
    keeping_active,
    raise_above,
)
from napari_latentfm.results.session import Reviewed, ReviewSession
from napari_latentfm.review.thumbnails import PREVIEW_COLOUR, outline_colours

if TYPE_CHECKING:
    from latentfm_core.types import Mask

CONTOUR_COLOURS = tuple(ROLE_COLOURS[f"{level:.0%} contour"] for level in AGREEMENT_LEVELS)
"""Light to dark purple for 10, 50 and 90% of the samples, a hue that no outline uses."""
CONTOUR_WIDTHS = (0.7, 1.0, 1.5)
"""Widths in addition to the colours: the more samples agree, the wider the line."""
OVERLAY_KEY = "latentfm_overlay"
"""Metadata key of temporary layers."""
LINES_PER_SIDE = 256
"""Longer side of the image for one unit of width of the contours."""


class Overlays:
    """The preview and the contours of a section, which are hidden when not needed.

    Attributes
    ----------
    removed
        Emitted with ``"preview"`` or ``"contours"`` when the user has removed that layer.
    """

    removed = Signal(str)

    def __init__(
        self, session: ReviewSession, title: str = "preview", colour: str = PREVIEW_COLOUR
    ) -> None:
        self._title, self._colour = title, colour
        self._viewer = session.viewer
        self.layers: dict[str, Any] = {}
        self._dressed: Reviewed | None = None
        self._viewer.layers.events.removed.connect(self._on_removed)

    def preview(self, reviewed: Reviewed, mask: Mask) -> None:
        """Show the outline of a mask ``(H, W)`` on the image."""
        plane = reviewed.plane
        values: Any = plane.embed(layer_data(mask, not is_large(plane.shape)))
        if is_large(plane.shape):
            values = pyramid(values, plane.axes)
        layer = self.layers.get("preview")
        if layer is not None and not self._fits(layer, reviewed):
            self.remove("preview")
            layer = None
        if layer is not None:
            self._dress(layer, reviewed, values)
            return
        layer = Labels(
            values,
            name=self._name(reviewed),
            colormap=_colours(reviewed, self._colour),
            opacity=1.0,
            multiscale=is_large(plane.shape),
            # Hidden until it is complete, so that its outline is computed and drawn once.
            visible=False,
            metadata=_metadata("preview", reviewed),
            **placement(reviewed.layer, reviewed.plane),
        )
        layer.contour = CONTOURS["mean_mask"]
        self._add("preview", layer, reviewed)
        layer.visible = True
        self._dressed = reviewed

    def hide(self, *roles: str, later: bool = False) -> None:
        """Hide layers if they exist; with `later`, after the event in progress.

        Layers that are used again are not removed: napari collects garbage after each removal,
        which takes 0.3 s with PyTorch.
        """
        if later:
            QTimer.singleShot(0, partial(self.hide, *roles))
            return
        for role in roles:
            layer = self.layers.get(role)
            if layer is not None and layer.visible:
                layer.visible = False

    def draw(self, reviewed: Reviewed, contours: tuple[AgreementContour, ...]) -> None:
        """Show contours on the image."""
        self.remove("contours")
        every = [(path, contour.level) for contour in contours for path in contour.paths]
        styles = dict(
            zip(AGREEMENT_LEVELS, zip(CONTOUR_COLOURS, CONTOUR_WIDTHS, strict=True), strict=True)
        )
        plane = reviewed.plane
        width = max(1.0, max(plane.shape) / LINES_PER_SIDE)
        look: dict[str, Any] = {}
        if every:
            look = {
                "shape_type": "path",
                "edge_color": [styles[level][0] for _, level in every],
                "edge_width": [styles[level][1] * width for _, level in every],
                "features": {"share of samples": [level for _, level in every]},
            }
        points = [np.zeros((len(path), len(plane.index))) for path, _ in every]
        for target, (path, _) in zip(points, every, strict=True):
            target[:, plane.axes] = path
        layer = Shapes(
            points or None,
            ndim=len(plane.index),
            name=f"{reviewed.layer.name}{plane.label()} · agreement",
            face_color="transparent",
            opacity=0.9,
            metadata=_metadata("contours", reviewed),
            **look,
            **placement(reviewed.layer, plane),
        )
        self._add("contours", layer, reviewed)

    def remove(self, *roles: str, later: bool = False) -> None:
        """Remove layers if they exist; with `later`, after the event in progress."""
        layers = [self.layers.pop(role) for role in roles if role in self.layers]
        if later:
            QTimer.singleShot(0, partial(self._discard, layers))
        else:
            self._discard(layers)

    def disconnect(self) -> None:
        """Stop listening to the viewer; visible layers stay."""
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self.layers.clear()

    def _discard(self, layers: list[Any]) -> None:
        for layer in layers:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def _add(self, role: str, layer: Labels | Shapes, reviewed: Reviewed) -> None:
        # The active layer of the annotator stays active.
        with keeping_active(self._viewer):
            add_above(self._viewer, layer, reviewed.layer)
            # Painting would be lost when the layer is removed. A viewer makes layers editable when
            # it adds them.
            layer.editable = False
            self.layers[role] = layer

    def _name(self, reviewed: Reviewed) -> str:
        return f"{reviewed.layer.name}{reviewed.plane.label()} · {self._title}"

    def _fits(self, layer: Labels, reviewed: Reviewed) -> bool:
        """Return whether a preview can be reused: its number of levels is that of another mask."""
        same_kind = layer.multiscale == is_large(reviewed.plane.shape)
        return bool(same_kind and layer.ndim == len(reviewed.plane.index))

    def _dress(self, layer: Labels, reviewed: Reviewed, values: Any) -> None:
        """Show another mask in the layer of the preview, possibly on another image or plane."""
        layer.data = values
        if self._dressed is not reviewed:
            self._dressed = reviewed
            layer.name = self._name(reviewed)
            layer.metadata = _metadata("preview", reviewed)
            layer.colormap = _colours(reviewed, self._colour)
            for key, value in placement(reviewed.layer, reviewed.plane).items():
                setattr(layer, key, value)
        if not layer.visible:
            raise_above(self._viewer, layer, reviewed.layer)
            layer.visible = True

    def _on_removed(self, event: Any) -> None:
        source = str(event.value.unique_id)
        for role, layer in list(self.layers.items()):
            if event.value is layer:
                del self.layers[role]
                self.removed.emit(role)
            elif layer.metadata.get(OVERLAY_SOURCE_KEY) == source:
                # The layer list is busy now.
                self.remove(role, later=True)


def _metadata(role: str, reviewed: Reviewed) -> dict[str, Any]:
    return {OVERLAY_KEY: role, OVERLAY_SOURCE_KEY: str(reviewed.layer.unique_id)}


def _colours(reviewed: Reviewed, colour: str) -> DirectLabelColormap:
    colours: dict[int | None, str] = {0: "transparent", None: OTHER_COLOUR, 1: colour}
    if reviewed.result.summary.class_confidence is not None:
        samples = reviewed.result.samples
        colours.update(outline_colours(len(samples.classes), True, samples.colours).items())
    return DirectLabelColormap(color_dict=colours, background_value=0)
