"""Write objects into the annotation, and remove them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from latentfm_core.errors import LatentFMError
from latentfm_core.prompts import Prompt
from napari_latentfm.annotation.layer import annotation_on
from napari_latentfm.annotation.mean_mask import mean_mask_layer
from napari_latentfm.annotation.taking import RENEWING
from napari_latentfm.annotation.writing import (
    PlaneObject,
    write_mean_mask,
    write_objects,
    write_planes,
)
from napari_latentfm.layers.planes import plane_index
from napari_latentfm.prompting.erasing import erase_label
from napari_latentfm.prompting.objects import counted, listed

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_latentfm.prompting.answers import Answers
    from napari_latentfm.prompting.context import PromptContext
    from napari_latentfm.prompting.objects import PromptObject
    from napari_latentfm.prompting.selection import ObjectSelection
    from napari_latentfm.prompting.shown_objects import ShownObjects
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
CUT = (
    "{lost:,} of {all:,} pixels in the outline of {objects} have other labels, which were kept. If "
    "what is on screen now is right, accept again. Otherwise press Ctrl+Z, and tick May cover "
    "other labels in the section Point."
)


class Taking:
    """Writes the mean masks of objects, each with its own label, and deletes objects."""

    def __init__(
        self,
        context: PromptContext,
        answers: Answers,
        selection: ObjectSelection,
        shown: ShownObjects,
    ) -> None:
        self._context, self._answers = context, answers
        self._selection, self._shown = selection, shown

    def take(self) -> None:
        """Write the mean mask of the current object into the annotation."""
        session = self._context.session
        reviewed = session.current
        if reviewed is None or reviewed.label is None:
            self._context.say("No object is selected. Draw a box or click a point first.")
            return
        if self._is_renewing():
            return
        try:
            changed = write_mean_mask(session)
        except LatentFMError as error:
            self._context.say(str(error))
        else:
            self._say_taken(f"Object {reviewed.label}", changed)

    def take_all(self) -> None:
        """Write all objects of the plane into the annotation, as one undo step."""
        place = self._context.place()
        if place is None or self._is_renewing():
            return
        objects = self._answered(place)
        if not objects:
            self._context.say("There are no objects on this plane yet.")
        elif not self._reviews(place):
            # What is written goes to the plane under review.
            first = min(objects, key=lambda each: each.number)
            self._context.book.choose(place.layer, place.plane, first)
            self._answers.show(place, first, then=self.take_all)
        else:
            changed = self._write(place, objects)
            if changed is not None:
                self._say_taken(counted(len(objects), "object"), changed)

    def take_on_all_planes(self) -> None:
        """Write the current object on all planes where it was found, as one undo step.

        Planes on which the user took it already do not change.
        """
        place, one = self._context.current()
        if place is None or one is None or self._is_renewing():
            return
        reviewed = self._context.session.current
        if reviewed is None or reviewed.layer != place.layer:
            # What is written goes to the image under review.
            self._answers.show(place, one, then=self.take_on_all_planes)
            return
        objects = self._found(place, one.number)
        if not objects:
            self._context.say(
                f"Object {one.number} was already taken on every plane where it was found."
            )
            return
        changed = self._write_planes(place, objects)
        if changed is not None:
            self._say_taken(f"Object {one.number} on {counted(len(objects), 'plane')}", changed)

    def take_pending(self) -> str:
        """Write visible objects that were not taken yet into the annotation.

        Objects that were followed through a stack are written on all planes where they were found.
        Returns what to do if other labels on this plane have cut objects, else "".
        """
        place = self._context.place()
        if place is None or not self._reviews_object(place):
            return ""
        pending = self._pending(place)
        if pending and self._write(place, pending) is None:
            return ""
        for number in sorted({one.number for one in self._context.book.all(place.layer)}):
            planes = self._context.book.everywhere(place.layer, number)
            found = [one for one in self._found(place, number) if one.visible and not one.closed]
            if len(planes) > 1 and found:
                self._write_planes(place, found)
        return self._cut(place, pending)

    def _cut(self, place: Place, written: Sequence[PromptObject]) -> str:
        """Return what to do if other labels have cut objects that were written, else ""."""
        layer = annotation_on(self._context.viewer, place.layer, place.plane)
        wanted = np.zeros(place.plane.shape, bool)
        for one in written:
            if one.mask is not None:
                one.mask.paint(wanted, True)
        labels = () if layer is None else layer.data[plane_index(place.plane)][wanted]
        others = ~np.isin(labels, [0, *(one.number for one in written)])
        if not (lost := np.count_nonzero(others)):
            return ""
        return CUT.format(lost=lost, all=np.count_nonzero(wanted), objects=listed(written))

    def outlines_to_take(self) -> list[Layer | None]:
        """Return the layers that show what `take_pending` would write."""
        place, session = self._context.place(), self._context.session
        if place is None or session.current is None:
            return []
        pending, label = {one.number for one in self._pending(place)}, session.current.label
        current = mean_mask_layer(session) if label in pending else None
        return [current, self._shown.outlines(place.layer) if pending - {label} else None]

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
            context.say("Choose an object in the list first.")
            return
        erased = self._erase(place, one)
        context.marks.write(place.layer, one.plane, one.number, Prompt())
        self._selection.clear(place)
        context.book.remove(place.layer, one)
        self._shown.renew()
        undo = " Ctrl+Z restores its pixels in the annotation." if erased else ""
        say = partial(context.say, f"Object {one.number} was removed.{undo}")
        self._show_another(place, then=say)  # which describes the other object
        say()

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
            self._context.say(str(error))
            return False

    def _is_renewing(self) -> bool:
        """Return whether a run will replace the masks, and say so."""
        if self._context.session.renewing:
            self._context.say(RENEWING)
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

    def _write(self, place: Place, objects: list[PromptObject]) -> int | None:
        """Write objects; return the number of changed pixels, None if it failed."""
        masks = {
            each.number: each.mask.whole(place.plane.shape)
            for each in objects
            if each.mask is not None
        }
        try:
            changed = write_objects(self._context.session, masks)
        except LatentFMError as error:
            self._context.say(str(error))
            return None
        self._context.marks.hide(place.layer)
        for each in objects:
            each.take()
        return changed

    def _write_planes(self, place: Place, objects: list[PromptObject]) -> int | None:
        """Write one object on its planes; return as `_write`."""
        shape = place.plane.shape
        planes = [
            PlaneObject(each.plane, each.mask.whole(shape), each.samples, each.domain_score)
            for each in objects
            if each.mask is not None and each.samples is not None
        ]
        try:
            changed = write_planes(self._context.session, objects[0].number, planes)
        except LatentFMError as error:
            self._context.say(str(error))
            return None
        for each in objects:
            each.take()
        return changed

    def _say_taken(self, subject: str, changed: int) -> None:
        hint = ""
        if not self._context.session.cover_others:
            hint = " Pixels of other labels were kept."
        self._context.say(
            f"{subject}: {changed:,} pixels of the annotation changed.{hint} Ctrl+Z undoes it."
        )
