"""Write objects into the annotation, and remove them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from latentfm_core.errors import LatentFMError
from latentfm_core.names import counted
from latentfm_core.prompts import Prompt
from napari_latentfm.annotation.layer import annotation_of, annotation_on
from napari_latentfm.annotation.mean_mask import mean_mask_layer
from napari_latentfm.annotation.taking import RENEWING
from napari_latentfm.annotation.writing import (
    PlaneObject,
    write_mean_mask,
    write_objects,
)
from napari_latentfm.layers.planes import plane_index
from napari_latentfm.prompting.cutting import cut_by_others
from napari_latentfm.prompting.erasing import erase_label
from napari_latentfm.prompting.objects import listed

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_latentfm.prompting.answers import Answers
    from napari_latentfm.prompting.context import PromptContext
    from napari_latentfm.prompting.objects import PromptObject
    from napari_latentfm.sampling.plane import Place

BESIDE_ANOTHER = (
    "The mask of the whole image and the outline of {objects} are on screen. Press Take all in the "
    "section Point to accept the outline, or untick it there to accept the mask."
)
CLICK_ONE = (
    "The outline of {objects} is not in the annotation yet. Click it in the section Point, then "
    "accept; or untick it there."
)
REFINED = (
    "The outline of {objects} has changed since it was taken. Press Take all in the section Point "
    "to take it again, or Undo mark to return to the annotation."
)
UNDOES = "Ctrl+Z undoes it."


class Taking:
    """Writes the mean masks of objects, each with its own label, and deletes objects.

    Attributes
    ----------
    left
        How much of the objects written last by `take_pending` was left to other labels, or "".
    """

    def __init__(self, context: PromptContext, answers: Answers) -> None:
        self._context, self._answers = context, answers
        self.left = ""

    def take(self) -> None:
        """Write the mean mask of the current object into the annotation."""
        session = self._context.session
        reviewed = session.current
        if reviewed is None or reviewed.label is None:
            self._context.show_message("No object is selected. Draw a box or click a point first.")
            return
        if self._is_renewing():
            return
        try:
            changed = write_mean_mask(session)
        except LatentFMError as error:
            self._context.show_message(str(error))
        else:
            one = self._context.book.find(reviewed.layer, reviewed.label, reviewed.plane)
            self._show_taken(f"Object {reviewed.label}", changed, [] if one is None else [one])

    def take_all(self) -> None:
        """Write all objects of the plane into the annotation, as one undo step."""
        place = self._context.place()
        if place is None or self._is_renewing():
            return
        objects = self._answered(place)
        if not objects:
            self._context.show_message("There are no objects on this plane yet.")
        elif not self._reviews(place):
            # What is written goes to the plane under review.
            first = min(objects, key=lambda each: each.number)
            self._context.book.choose(place.layer, place.plane, first)
            self._answers.show(place, first, then=self.take_all)
        else:
            self._take(place, objects, counted(len(objects), "object"))

    def take_on_all_planes(self) -> None:
        """Write the current object on all planes where it was found, as one undo step.

        Planes on which the user took it already do not change.
        """
        place, one = self._context.current()
        if place is None or one is None or self._is_renewing():
            return
        reviewed = self._context.session.current
        if reviewed is None or reviewed.layer != place.layer:
            self._answers.show(place, one, then=self.take_on_all_planes)
            return
        objects = self._found(place, one.number)
        if not objects:
            self._context.show_message(
                f"Object {one.number} was already taken on every plane where it was found."
            )
            return
        self._take(place, objects, f"Object {one.number} on {counted(len(objects), 'plane')}")

    def take_pending(self) -> str:
        """Write visible objects that were not taken yet into the annotation, as one undo step.

        Objects that were followed through a stack are written on all planes where they were found.
        Returns why that failed, or what to do if an object lost much to others, else "".
        """
        place = self._context.place()
        if place is None or not self._reviews_object(place):
            return ""
        pending = self._pending(place)
        for number in sorted({one.number for one in self._context.book.all(place.layer)}):
            planes = self._context.book.everywhere(place.layer, number)
            found = [one for one in self._found(place, number) if one.visible and not one.closed]
            if len(planes) > 1:
                pending += [one for one in found if one not in pending]
        if not pending:
            return ""
        try:
            self._write(place, pending)
        except LatentFMError as error:
            return str(error)
        loss, advice = self._lost(pending)
        self.left = "" if advice else loss
        return loss + advice if advice else ""

    def outlines_to_take(self) -> list[Layer | None]:
        """Return the layers that show what `take_pending` would write."""
        place, session = self._context.place(), self._context.session
        if place is None or session.current is None:
            return []
        pending, label = {one.number for one in self._pending(place)}, session.current.label
        current = mean_mask_layer(session) if label in pending else None
        others = self._context.shown.outlines(place.layer) if pending - {label} else None
        return [current, others]

    def uncertain(self) -> str:
        """Return what to do if it is not certain which outlines on screen to accept, or ""."""
        place = self._context.place()
        if place is None:
            return ""
        taken, objects = self._context.taken(place), self._answered(place)
        refined = [one for one in objects if one.number in taken and one.refined]
        pending = [] if self._reviews_object(place) else self._pending(place)
        if refined:
            return REFINED.format(objects=listed(refined))
        if pending and self._context.session.current is None:
            return CLICK_ONE.format(objects=listed(pending))
        return BESIDE_ANOTHER.format(objects=listed(pending)) if pending else ""

    def delete(self) -> None:
        """Remove the current object: its marks, its result, and its pixels in the annotation."""
        context = self._context
        place, one = context.current()
        if place is None or one is None:
            context.show_message("Choose an object in the list first.")
            return
        erased = self._erase(place, one)
        context.marks.write(place.layer, one.plane, one.number, Prompt())
        context.selection.clear(place)
        context.book.remove(place.layer, one)
        context.shown.renew()
        undo = " Ctrl+Z restores its pixels in the annotation." if erased else ""
        show = partial(context.show_message, f"Object {one.number} was removed.{undo}")
        self._show_another(place, then=show)  # which describes the other object
        show()

    def _show_another(self, place: Place, then: Callable[[], None]) -> None:
        """Put another answered object of the plane under review, if there is one, then call."""
        context = self._context
        others = self._answered(place)
        if others and context.session.current is None:
            context.book.choose(place.layer, place.plane, others[0])
            self._answers.show(place, others[0], then)

    def _erase(self, place: Place, one: PromptObject) -> bool:
        """Remove an object's pixels from the annotation; return whether there were any."""
        if one.number not in self._context.taken(place):
            return False
        try:
            return erase_label(self._context.session, place, one.number, self._reviews(place))
        except LatentFMError as error:
            self._context.show_message(str(error))
            return False

    def _is_renewing(self) -> bool:
        """Return whether a run will replace the masks, and say so."""
        if self._context.session.renewing:
            self._context.show_message(RENEWING)
        return self._context.session.renewing

    def _answered(self, place: Place) -> list[PromptObject]:
        """Return the visible objects of a plane that have a result."""
        objects = self._context.book.on(place.layer, place.plane)
        return [each for each in objects if each.mask is not None and each.visible]

    def _pending(self, place: Place) -> list[PromptObject]:
        """Return the visible objects of a plane with an outline that was not taken yet."""
        taken = self._context.taken(place)
        return [
            each
            for each in self._answered(place)
            if not each.closed and each.number not in taken and each.mask and each.mask.pixels
        ]

    def _reviews(self, place: Place) -> bool:
        """Return whether a result of a plane is under review."""
        reviewed = self._context.session.current
        return (
            reviewed is not None
            and reviewed.layer == place.layer
            and reviewed.plane.index == place.plane.index
        )

    def _reviews_object(self, place: Place) -> bool:
        """Return whether an object of a plane is under review."""
        return self._reviews(place) and self._context.reviews_object_of(place.layer)

    def _found(self, place: Place, number: int) -> list[PromptObject]:
        """Return an object on the planes that have it and on which it was not taken yet."""
        layer = annotation_on(self._context.viewer, place.layer, place.plane)
        return [
            each
            for each in self._context.book.everywhere(place.layer, number)
            if each.mask is not None
            and each.mask.pixels
            and each.samples is not None
            and not (layer is not None and np.any(layer.data[plane_index(each.plane)] == number))
        ]

    def _take(self, place: Place, objects: list[PromptObject], subject: str) -> None:
        """Write objects, and say how that has ended."""
        try:
            self._show_taken(subject, self._write(place, objects), objects)
        except LatentFMError as error:
            self._context.show_message(str(error))

    def _write(self, place: Place, objects: list[PromptObject]) -> int:
        """Write objects on their planes; return the number of changed pixels."""
        planes = [
            PlaneObject(
                each.number,
                each.plane,
                each.mask.whole(each.plane.shape),
                each.samples,
                each.domain_score,
            )
            for each in objects
            if each.mask is not None and each.samples is not None
        ]
        changed = write_objects(self._context.session, planes)
        self._context.marks.hide(place.layer)
        for each in objects:
            each.take()
        return changed

    def _lost(self, written: list[PromptObject]) -> tuple[str, str]:
        """Return what objects that were just written lost; see `cut_by_others`."""
        layer = annotation_of(self._context.session, create=False)
        return ("", "") if layer is None else cut_by_others(layer, written)

    def _show_taken(self, subject: str, changed: int, written: list[PromptObject]) -> None:
        text = f"{subject}: {changed:,} pixels of the annotation changed."
        self._context.show_message(" ".join(filter(None, (text, self._lost(written)[0], UNDOES))))
