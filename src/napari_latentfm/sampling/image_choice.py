"""Choices of image and plane that follow the viewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from psygnal import Signal

from napari_latentfm.background.signals import listen
from napari_latentfm.layers.edits import is_result

if TYPE_CHECKING:
    import napari
    from qtpy.QtWidgets import QWidget

    from napari_latentfm.sampling.form import SamplingForm


class ImageChoice:
    """Keeps the choices of a form in step with the layers and axes of a viewer.

    Parameters
    ----------
    owner
        Widget whose deletion ends this.
    is_locked
        Returns whether the chosen image must not follow the active layer.

    Attributes
    ----------
    refreshed
        Emitted when the images were offered again.
    """

    refreshed = Signal()

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        form: SamplingForm,
        owner: QWidget,
        is_locked: Callable[[], bool],
    ) -> None:
        self._viewer, self._form, self._is_locked = viewer, form, is_locked
        layers = viewer.layers
        for name in ("inserted", "removed", "reordered"):
            listen(owner, layers.events.emitters[name], self._refresh_images)
        if "renamed" in layers.events.emitters:
            listen(owner, layers.events.renamed, self._refresh_images)
        else:  # napari before 0.7 forwards the events of its layers
            listen(owner, layers.events, self._on_any_event)
        listen(owner, layers.selection.events.active, self._on_active_layer)
        form.image.changed.connect(self.offer_planes)
        for name in ("order", "ndisplay", "ndim", "axis_labels"):
            listen(owner, viewer.dims.events.emitters[name], self.offer_planes)
        self.offer_planes()

    def offer_planes(self, _event: Any = None) -> None:
        """Offer the planes of the chosen image again, for example when its channels are known."""
        self._form.plane_choice.offer(self._form.image.value, self._viewer.dims)

    def _refresh_images(self) -> None:
        # The combo box stores its choice by name, and would lose it when the layer is renamed.
        image = self._form.image
        chosen = image.value
        image.reset_choices()
        if chosen is not None and chosen in image.choices:
            image.value = chosen
        elif chosen is not None and image.value is None:
            image.changed.emit(None)  # magicgui does not report that no choice is left
        self.refreshed.emit()

    def _on_any_event(self, event: Any) -> None:
        if event.type == "name":
            self._refresh_images()

    def _on_active_layer(self, event: Any) -> None:
        if not self._is_locked() and event.value in self._form.image.choices:
            self._form.image.value = event.value


def image_layers(viewer: napari.viewer.Viewer, _widget: Any = None) -> list[tuple[str, Image]]:
    """Return the images of a viewer by name, without results."""
    images = [layer for layer in viewer.layers if isinstance(layer, Image)]
    return [(layer.name, layer) for layer in images if not is_result(layer)]
