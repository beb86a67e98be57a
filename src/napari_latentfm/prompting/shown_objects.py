"""The list of objects, and the outlines of those that are not current."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QObject

from napari_latentfm.annotation.layer import STROKE_EVENTS, annotation_on
from napari_latentfm.background.signals import listen
from napari_latentfm.layers.pixels import plane_spacing
from napari_latentfm.layers.planes import Plane
from napari_latentfm.prompting.object_list import Row
from napari_latentfm.prompting.outlines import Outlines
from napari_latentfm.ui.units import area_text

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from napari_latentfm.prompting.context import PromptContext
    from napari_latentfm.prompting.objects import PromptObject
    from napari_latentfm.sampling.plane import Place


class ShownObjects(QObject):
    """Shows the objects of the plane on screen in the list and on the image.

    Attributes
    ----------
    annotated
        Emitted after every change of the annotation.
    renewed
        Emitted with the image on screen when its objects were shown again.
    """

    annotated = Signal()
    renewed = Signal(object)

    def __init__(self, context: PromptContext, parent: QObject) -> None:
        super().__init__(parent)
        self._context = context
        self._outlines = Outlines(context.viewer)
        self._annotation: Labels | None = None
        self._endings: list[Callable[[], None]] = []
        listen(self, context.session.renamed, self.renew)

    def clear(self) -> None:
        """Show no objects in the list."""
        self._context.form.objects.fill([], 0)

    def renew(self) -> None:
        """List the objects of the plane on screen, and draw the outlines."""
        context = self._context
        if context.panel.form.image.value is None:
            return
        place, current = context.current()
        if place is None:
            return
        taken = context.taken(place)
        objects = context.book.on(place.layer, place.plane)
        names = context.names(place.layer, place.plane)
        rows = [row_of(place.plane, place.layer, each, taken, names) for each in objects]
        own = next((each.samples.colours for each in objects if each.samples is not None), ())
        context.form.objects.fill(rows, 0 if current is None else current.number, own)
        reviewed = context.session.current
        shown = 0
        if context.reviews_object_of(place.layer) and reviewed is not None:
            shown = int(reviewed.label or 0)
        masks = {
            each.number: each.mask
            for each in objects
            if each.mask is not None
            and each.visible
            and each.number not in taken
            and each.number != shown
        }
        self._outlines.show(place.layer, place.plane, masks, own)
        self._follow_annotation(place)
        self.renewed.emit(place.layer)

    def dim_marks(self, place: Place) -> None:
        """Dim the marks of all objects but the current one; hide those of hidden objects."""
        book = self._context.book
        current = book.current(place.layer, place.plane)
        hidden = {each.number for each in book.all(place.layer) if not each.visible}
        self._context.marks.look(place.layer, 0 if current is None else current.number, hidden)

    def outlines(self, image: Image) -> Labels | None:
        """Return the layer with the outlines of objects that are not current."""
        return self._outlines.layer(image)

    def toggle(self, number: int, on: bool) -> None:
        """Show or hide the marks and the outline of an object."""
        place = self._context.place()
        if place is not None:
            for one in self._context.book.everywhere(place.layer, number):
                one.visible = on
            self.dim_marks(place)
            self.renew()

    def _follow_annotation(self, place: Place) -> None:
        layer = annotation_on(self._context.viewer, place.layer, place.plane)
        if layer != self._annotation:
            for end in self._endings:
                end()
            self._annotation, self._endings = layer, []
            if layer is not None:
                # Any edit may remove an object that was taken.
                emitters = (layer.events.emitters[name] for name in STROKE_EVENTS)
                self._endings = [listen(self, each, self._on_annotated) for each in emitters]

    def _on_annotated(self, _event: Any = None) -> None:
        self.annotated.emit()


def row_of(
    plane: Plane, layer: Image, one: PromptObject, taken: set[int], names: Mapping[int, str]
) -> Row:
    """Return the row of an object in the list.

    Parameters
    ----------
    taken
        Labels in the annotation of the plane.
    names
        Names of labels other than that of the model's class.
    """
    state = area = ""
    if one.number in taken:
        state = "taken"
    elif one.mask is not None:
        state = "not found" if one.not_found else "proposed"
    if one.mask is not None and not one.not_found:
        (height, width), unit = plane_spacing(layer, plane)
        area = area_text(one.mask.pixels * height * width, unit)
    return Row(one.number, names.get(one.number, one.name), area, state, one.visible)
