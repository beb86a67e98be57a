"""State that the parts of the Point section share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from latentfm_core.errors import LatentFMError
from latentfm_core.images.intensity import different_values
from napari_latentfm.annotation.layer import annotation_on
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.layers.planes import Plane, plane_index
from napari_latentfm.prompting.objects import ObjectBook
from napari_latentfm.prompting.selection import ObjectSelection
from napari_latentfm.prompting.shown_objects import ShownObjects
from napari_latentfm.prompting.stroke_marks import StrokeMarks
from napari_latentfm.ui.choices import card_of

if TYPE_CHECKING:
    from napari.layers import Image
    from qtpy.QtCore import QObject

    from napari_latentfm.prompting.form import PromptForm
    from napari_latentfm.prompting.mark_layers import MarkLayers
    from napari_latentfm.prompting.objects import PromptObject
    from napari_latentfm.results.session import ReviewSession
    from napari_latentfm.sampling.panel import SamplingPanel
    from napari_latentfm.sampling.plane import Place


class PromptContext:
    """The plane on screen, its objects, and the result under review.

    Parameters
    ----------
    parent
        The section, with which all ends.

    Attributes
    ----------
    book, selection, shown
        All objects; the current one; the list of those on screen, with their outlines.
    marks, strokes
        The layers of boxes and points, and those of strokes.
    reported
        Emitted with what the user should know though the section may be out of sight.
    """

    reported = Signal(str)

    def __init__(
        self,
        session: ReviewSession,
        panel: SamplingPanel,
        form: PromptForm,
        marks: MarkLayers,
        parent: QObject,
    ) -> None:
        self.session, self.panel, self.viewer = session, panel, session.viewer
        self.form, self.marks, self.book = form, marks, ObjectBook()
        self.shown, self.strokes = ShownObjects(self, parent), StrokeMarks(self, parent)
        self.selection = ObjectSelection(self)

    def show_message(self, text: str) -> None:
        """Show a text in the status line."""
        self.form.show_message(text)

    def report(self, text: str) -> None:
        """Show a text in the status line, and emit `reported`."""
        self.show_message(text)
        self.reported.emit(text)

    def place(self, is_asked: bool = False) -> Place | None:
        """Return the plane on screen; None, with a message, if there is none.

        `is_asked` is whether the user has pressed a key or button that needs it.
        """
        try:
            return self.panel.place_on_screen()
        except LatentFMError as error:
            (self.report if is_asked else self.show_message)(str(error))
            return None

    def current(self) -> tuple[Place | None, PromptObject | None]:
        """Return the plane on screen and its current object."""
        place = self.place()
        if place is None:
            return None, None
        return place, self.book.current(place.layer, place.plane)

    def reviews_object_of(self, layer: Image) -> bool:
        """Return whether an object of an image is under review."""
        reviewed = self.session.current
        return reviewed is not None and reviewed.label is not None and reviewed.layer == layer

    def taken(self, place: Place) -> set[int]:
        """Return the labels in the annotation of the plane on screen."""
        return self.taken_on(place.layer, place.plane)

    def taken_on(self, image: Image, plane: Plane) -> set[int]:
        """Return the labels in the annotation of a plane."""
        layer = annotation_on(self.viewer, image, plane)
        if layer is None:
            return set()
        return {int(label) for label in different_values(layer.data[plane_index(plane)])} - {0}

    def next_number(self, place: Place) -> int:
        """Return a label above all labels and objects of an image, which is not another class."""
        layer = annotation_on(self.viewer, place.layer, place.plane)
        marked = 0 if layer is None else int(layer.data.max(initial=0))
        number = max([marked, *(one.number for one in self.book.all(place.layer))]) + 1
        names = self.names(place.layer, place.plane)
        while number > 1 and number in names:
            number += 1
        return number

    def names(self, image: Image, plane: Plane) -> dict[int, str]:
        """Return the names that labels of an image have, other than that of the model's class."""
        layer = annotation_on(self.viewer, image, plane)
        return self.session.class_names | ({} if layer is None else record_of(layer).names)

    def class_name(self) -> str:
        """Return the first class of the chosen model."""
        try:
            card = card_of(self.panel.form.model_source())
        except LatentFMError:
            card = None
        return "object" if card is None else card.config.model.classes[0]
