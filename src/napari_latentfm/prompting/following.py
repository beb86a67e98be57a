"""Follow the current object through the planes of its stack."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import LatentFMError
from latentfm_core.prompts import Box, Prompt
from napari_latentfm.annotation.layer import annotation_on
from napari_latentfm.layers.channels import channel_axis_of
from napari_latentfm.layers.planes import plane_index
from napari_latentfm.layers.stacks import PlaneStack, along_choices
from napari_latentfm.prompting.stacks import DRAWN, fitting
from napari_latentfm.sampling.following import FollowRun, FollowTarget
from napari_latentfm.sampling.plane_choice import CURRENT
from napari_latentfm.ui.common import push_button

if TYPE_CHECKING:
    from latentfm_core.inference.following import KnownPlane
    from latentfm_core.types import Bool, SampleSet
    from napari_latentfm.layers.planes import Plane
    from napari_latentfm.prompting.answers import Answers
    from napari_latentfm.prompting.context import PromptContext
    from napari_latentfm.prompting.objects import PromptObject
    from napari_latentfm.sampling.plane import Place

NO_OBJECT = "Draw a box around an object, or click it, before it can be followed."


class Following:
    """Follows the current object from the plane on screen through the others.

    Planes on which the object was taken into the annotation, or prompted by the user, do not
    change; following continues from their masks.

    Attributes
    ----------
    button
        Starts it; shown for stacks, and enabled when the current object has a mask.
    take_button
        Takes the object on all planes; shown when it was found on several.
    """

    def __init__(self, context: PromptContext, answers: Answers) -> None:
        self._context, self._answers = context, answers
        self.button = push_button(
            "Follow through planes",
            "Find this object on the planes before and after this one. Planes on which you took "
            "or corrected it do not change.",
        )
        self.take_button = push_button(
            "Take on all planes",
            "Write the object into the annotation on every plane where it was found, as one step "
            "that Ctrl+Z undoes. Planes on which you have already taken it do not change.",
        )
        self.button.hide()
        self.take_button.hide()
        self._message = ""

    def renew(self) -> None:
        """Show whether the object on screen can be followed."""
        context = self._context
        if context.panel.form.image.value is None:
            self.button.hide()
            self.take_button.hide()
            return
        place, one = context.current()
        planes = None if place is None else self._planes(place)
        found = []
        if place is not None and one is not None:
            found = context.book.everywhere(place.layer, one.number)
        self.take_button.setVisible(planes is not None and len(found) > 1)
        self.take_button.setEnabled(not self._answers.runner.busy)
        self.button.setVisible(planes is not None)
        ready = one is not None and one.mask is not None and one.mask.pixels > 0
        self.button.setEnabled(planes is not None and ready and not self._answers.runner.busy)

    def start(self) -> None:
        """Follow the current object; the result is shown in layers of the whole stack."""
        place, one = self._context.current()
        planes = None if place is None else self._planes(place)
        if place is None or planes is None:
            return
        if one is None or one.samples is None or one.mask is None or not one.mask.pixels:
            self._context.show_message(NO_OBJECT)
            return
        number = planes.number_of(place.plane)
        if number is None:
            return
        known = self._known(place, planes, one, number)
        keep = partial(self._keep, place, planes, one, set(known))
        target = FollowTarget(place.layer, planes, one.model, one.number, number, known, keep)
        try:
            settings = self._context.panel.form.settings()
        except LatentFMError as error:
            self._context.show_message(str(error))
            return
        # Sample n continues from plane to plane only with the same seeds, steps and solver.
        drawn = SamplingConfig(**one.samples.settings)
        same = settings.model_copy(update={name: getattr(drawn, name) for name in DRAWN})
        self._message = ""
        self._context.show_message(
            f"Object {one.number} is being followed through {len(planes)} planes."
        )
        self._answers.runner.want(partial(self._context.panel.run_target, target, same))
        self._answers.show_running()
        self.button.setEnabled(False)

    def on_finished(self, ending: str) -> None:
        """Describe where the object was found, after a run that followed it."""
        message, self._message = self._message, ""
        if message and ending == "done":
            self._context.show_message(message)
        self.renew()

    def _planes(self, place: Place) -> PlaneStack | None:
        """Return the planes along the chosen axis, else along the last one; None for one plane."""
        layer, axes = place.layer, place.plane.axes
        chosen = self._context.panel.form.plane_choice.planes.value
        single = [
            along
            for along in along_choices(layer.ndim, axes, channel_axis_of(layer))
            if len(along) == 1 and place.plane.layer_shape[along[0]] > 1
        ]
        if not single:
            return None
        wanted = [along for along in single if chosen != CURRENT and chosen == str(along[0])]
        return PlaneStack(place.plane, (wanted or single)[-1])

    def _known(
        self, place: Place, planes: PlaneStack, one: PromptObject, start: int
    ) -> dict[int, KnownPlane]:
        """Return the planes that do not change: taken, or prompted by the user."""
        from latentfm_core.inference.following import KnownPlane

        known: dict[int, KnownPlane] = {}
        objects: dict[int, PromptObject] = {}
        for each in self._context.book.everywhere(place.layer, one.number):
            number = planes.number_of(each.plane)
            if number is not None:
                objects[number] = each
                if each.mask is not None and not each.followed:
                    mask = each.mask.whole(place.plane.shape)
                    known[number] = KnownPlane(mask, fitting(each.samples, one.samples))
        for number, mask in self._taken(place, planes, one.number).items():
            there = objects.get(number)
            samples = None if there is None else fitting(there.samples, one.samples)
            known[number] = KnownPlane(mask, samples)
        if start not in known and one.mask is not None:
            known[start] = KnownPlane(one.mask.whole(place.plane.shape), one.samples)
        return known

    def _taken(self, place: Place, planes: PlaneStack, label: int) -> dict[int, Bool]:
        """Return the masks of an object in the annotation, by number of the plane."""
        layer = annotation_on(self._context.viewer, place.layer, place.plane)
        if layer is None:
            return {}
        views = (layer.data[plane_index(planes.at(number))] for number in range(len(planes)))
        masks = {number: np.asarray(view == label) for number, view in enumerate(views)}
        return {number: mask for number, mask in masks.items() if mask.any()}

    def _keep(
        self,
        place: Place,
        planes: PlaneStack,
        one: PromptObject,
        known: Collection[int],
        run: FollowRun,
    ) -> None:
        """Keep the object on each plane, with the box in which it was found."""
        book, followed = self._context.book, run.followed
        boxes: list[tuple[Plane, Box | None]] = []
        for number in set(range(len(planes))) - set(known):
            plane, samples = planes.at(number), followed.stack.samples[number]
            there = book.find(place.layer, one.number, plane)
            if there is not None and not there.followed and not there.prompt.is_empty:
                continue  # marks of the user, whose outline was not drawn yet
            if samples is not None:
                there = there or book.add(place.layer, plane, one.name, 0, one.number)
                there.prompt, there.history, there.followed = _prompt_of(samples), [], True
                summary = followed.stack.summary_of(number)
                score, mask = summary.domain_score, summary.mean_mask
                there.answer(samples, mask, one.model, score, there.prompt)
                boxes.append((plane, there.prompt.box))
            elif there is not None:
                book.remove(place.layer, there)
                boxes.append((plane, None))
        self._context.marks.write_boxes(place.layer, one.number, boxes)
        self._message = _summary(one.number, followed.found, followed.missed)


def _prompt_of(samples: SampleSet) -> Prompt:
    """Return the box with which samples were drawn."""
    top, left, bottom, right = samples.prompt["box"]
    return Prompt(box=(top, left, bottom, right))


def _summary(number: int, found: tuple[int, ...], missed: tuple[int, ...]) -> str:
    """Return a sentence about the planes of an object."""
    between = [plane for plane in missed if found[0] < plane < found[-1]]
    gaps = f", not on {', '.join(map(str, between))}" if between else ""
    return (
        f"Object {number} is on {len(found)} planes, {found[0]} to {found[-1]}{gaps}. Check them "
        "with the slider; correct a plane with a box or points, then follow it again from there."
    )
