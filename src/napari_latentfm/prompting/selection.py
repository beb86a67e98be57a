"""Select the current object, to which the next mark belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_latentfm.annotation.layer import MAX_LABEL
from napari_latentfm.layers.annotation_record import PlaneIndex
from napari_latentfm.layers.strokes import strokes_of
from napari_latentfm.prompting.outlines import StaleResults

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentfm.prompting.context import PromptContext
    from napari_latentfm.prompting.objects import PromptObject
    from napari_latentfm.sampling.plane import Place


class ObjectSelection:
    """Selects objects, with their marks and strokes.

    Attributes
    ----------
    stale
        Results of objects that are no longer current.
    """

    def __init__(self, context: PromptContext) -> None:
        self._context, self._shown, self._strokes = context, context.shown, context.strokes
        self.stale = StaleResults(context.viewer)

    def for_mark(self, place: Place, keep_strokes: bool = False) -> PromptObject | None:
        """Return the object that a new mark belongs to, perhaps a new one.

        None, with a message, if there is no label left.
        """
        context = self._context
        one = context.book.current(place.layer, place.plane)
        if one is not None and not one.closed:
            return one
        number = context.next_number(place)
        if number > MAX_LABEL:
            context.show_message(
                f"An annotation can have at most {MAX_LABEL} labels. Delete an object."
            )
            return None
        self.clear(place, keep_strokes)
        return context.book.add(place.layer, place.plane, context.class_name(), number - 1)

    def clear(self, place: Place, keep_strokes: bool = False) -> None:
        """Select no object: the next mark begins one."""
        self._context.book.choose(place.layer, place.plane, None)
        if not keep_strokes:
            self._strokes.put(place, None)
        self.show_no_result(place)

    def show_no_result(self, place: Place) -> None:
        """Show no result of an object: it does not belong to the current marks.

        Samples of the whole image stay, on screen and under review, until the object has its own.
        """
        session = self._context.session
        if self._context.reviews_object_of(place.layer):
            session.show(None)
        if session.current is None:
            self.stale.hide(place.layer, place.plane)
        self._shown.renew()

    def restore_marks(self, place: Place, one: PromptObject) -> None:
        """Show the marks and strokes of an object."""
        self._context.marks.write(place.layer, one.plane, one.number, one.prompt)
        self._strokes.put(place, one.prompt.strokes)
        self._shown.dim_marks(place)

    def close_taken(self) -> None:
        """Close the object under review, which was written into the annotation."""
        context = self._context
        reviewed = context.session.current
        if reviewed is None or reviewed.label is None:
            return
        one = context.book.find(reviewed.layer, reviewed.label, reviewed.plane)
        if one is not None:
            one.take()
        context.marks.hide(reviewed.layer)
        strokes = strokes_of(context.viewer, reviewed.layer)
        if strokes is not None:
            strokes.visible = False
        context.form.hold("")

    def reopen_untaken(self) -> None:
        """Propose objects again after Undo has removed them from the annotation."""
        context = self._context
        place = context.place()
        if place is not None:
            # One step may have taken an object on many planes.
            for one in context.book.all(place.layer):
                if one.closed and one.number not in context.taken_on(place.layer, one.plane):
                    one.reopen()
            for layer in context.marks.there(place.layer):
                layer.visible = True

    def untaken(self, image: Image) -> list[PromptObject]:
        """Return the visible objects of an image that are not in its annotation, without results.

        Those for which the model found nothing are left out.
        """
        context, taken = self._context, dict[PlaneIndex, set[int]]()
        shown = [
            one
            for one in context.book.all(image)
            if one.visible and not one.prompt.is_empty and (one.mask is None or one.mask.pixels)
        ]
        for one in shown:
            if one.plane.index not in taken:
                taken[one.plane.index] = context.taken_on(image, one.plane)
        return [one.without_arrays() for one in shown if one.number not in taken[one.plane.index]]

    def bring_back(self, place: Place, objects: list[PromptObject]) -> None:
        """Add objects of an earlier layer of the same image again, with their marks."""
        context, numbers = self._context, dict[int, int]()
        for one in objects:
            used = context.book.find(place.layer, one.number, one.plane) is not None
            if used or one.number in context.taken_on(place.layer, one.plane):
                one.number = numbers.setdefault(one.number, context.next_number(place))
            context.book.put(place.layer, one)
            self.restore_marks(place, one)

    def adopt(self, place: Place) -> None:
        """Add the objects of marks that were saved and opened again."""
        book, marks = self._context.book, self._context.marks
        for number in marks.numbers(place.layer):
            if book.find(place.layer, number, place.plane) is None:
                found = marks.read(place.layer, place.plane, number)
                if found.is_empty:
                    continue  # its marks are on other planes
                name = self._context.class_name()
                one = book.add(place.layer, place.plane, name, 0, number)
                one.prompt = found
