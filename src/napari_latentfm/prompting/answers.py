"""Run the model for objects, and keep the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_latentfm.prompting.objects import listed, on_planes
from napari_latentfm.prompting.runner import PromptRunner
from napari_latentfm.prompting.shown_objects import row_of
from napari_latentfm.results.objects import ObjectsRun

if TYPE_CHECKING:
    from latentfm_core.prompts import Prompt
    from latentfm_core.types import SampleSet
    from napari_latentfm.prompting.context import PromptContext
    from napari_latentfm.prompting.objects import PromptObject
    from napari_latentfm.prompting.prompt_model import PromptModel
    from napari_latentfm.prompting.stacks import FollowedStacks
    from napari_latentfm.results.session import Reviewed
    from napari_latentfm.sampling.plane import Place

READY = "Drag a box around an object (B), or click it (P)."
NOT_FOUND = "No {name} was found at the marks of {objects}. Add a point there, or draw another box."
WAITS = (
    "The box or point has no outline yet. Choose a model that takes prompts, or remove it with "
    "Undo mark."
)
REPLACED = (
    "The new box replaced that of object {}; Ctrl+Z restores it. To mark another object, press "
    "Shift+O before its box."
)
UNANSWERED = (
    "Object {} has no outline for its last mark yet. Click it in the section Point to draw it, "
    "or remove the mark with Undo mark."
)
UNDRAWN = (
    "The outlines of {objects}{planes} are not drawn yet. Go there with the slider, and press Draw "
    "all again in the section Point; or untick the objects there."
)


class Answers:
    """Starts a run after every change of an object's marks, and keeps the result.

    Attributes
    ----------
    runner
        Starts the runs; the newest request replaces the others.
    """

    def __init__(
        self,
        context: PromptContext,
        model: PromptModel,
        stacks: FollowedStacks,
        parent: QObject,
    ) -> None:
        self._context, self._model, self._stacks = context, model, stacks
        self._shown, self._selection = context.shown, context.selection
        self.runner = PromptRunner(context.panel, parent)
        self._waiting: PromptObject | None = None
        self._note = ""
        self._then: Callable[[], None] | None = None
        self._drawn: Mapping[PromptObject, Prompt] = {}
        self._restored: set[PromptObject] = set()

    def run(self, place: Place, one: PromptObject, replaces: bool = False) -> None:
        """Draw the samples of an object, or show none if it has no marks.

        `replaces` is whether a new box has taken the place of another one.
        """
        self._waiting = None
        self._note = REPLACED.format(one.number) if replaces else ""
        if one.prompt.is_empty:
            self.runner.cancel()
            one.forget_answer()
            self._selection.show_no_result(place)
            self._context.show_message(f"Object {one.number} has no marks. {READY}")
        elif not self._model.is_usable():
            self._waiting = one
            # What was on screen stays the result until the object has one.
            self._selection.stale.show_again(place.layer)
            self._shown.renew()
        else:
            at = replace(place, label=one.number)
            self._want({one: one.prompt}, partial(self._context.panel.run_prompt, one.prompt, at))
            self._shown.renew()
            self.show_running()

    def run_all(self) -> None:
        """Draw the samples of all objects of the plane, with the current model and settings."""
        place, one = self._context.current()
        if place is None:
            return
        book = self._context.book
        objects = [each for each in book.on(place.layer, place.plane) if not each.prompt.is_empty]
        if not objects or not self._model.is_usable():
            return
        one = one if one in objects else objects[0]
        book.choose(place.layer, place.plane, one)
        prompts = {each.number: each.prompt for each in objects}
        at = replace(place, label=one.number)
        drawn = {each: each.prompt for each in objects}
        self._want(drawn, partial(self._context.panel.run_objects, prompts, at))
        self.show_running()

    def draw_restored(self, objects: Sequence[PromptObject] = ()) -> None:
        """Draw objects whose marks were restored, those of each plane once it is on screen."""
        self._restored.update(objects)
        place = self._context.place()
        here = [] if place is None else self._context.book.on(place.layer, place.plane)
        if self._restored.intersection(here):
            self._restored.difference_update(here)
            self.run_all()

    def show(self, place: Place, one: PromptObject, then: Callable[[], None] | None = None) -> None:
        """Show the samples of an object again, and call `then` when they are under review.

        One that was followed through a stack is shown on all its planes.
        """
        reviewed = self._context.session.current
        shown = None if reviewed is None else reviewed.result.samples
        if one.samples is not None and shown is one.samples:
            self._shown.renew()
        elif one.samples is not None:
            self._then = then
            self._want({}, partial(self._show_again, place, one, one.samples))
            self._shown.renew()

    def _show_again(self, place: Place, one: PromptObject, samples: SampleSet) -> None:
        panel, review = self._context.panel, self._stacks.review_of(place, one)
        if review is not None:
            self._context.session.follow(review)
            self.on_finished("done")
        elif (again := self._stacks.target(place, one)) is not None:
            panel.run_target(*again)
        else:
            panel.show_samples(samples, one.model, replace(place, label=one.number))

    def unanswered(self, place: Place) -> str:
        """Return what to do about visible objects whose marks have no outline yet, or ""."""
        every = self._context.book.all(place.layer)
        open_ones = [each for each in every if not (each.answered or each.prompt.is_empty)]
        elsewhere = []
        for one in filter(lambda each: each.visible, open_ones):
            if one.plane.index == place.plane.index:
                waits = one is self._waiting and not self._context.form.notice.isHidden()
                return WAITS if waits else UNANSWERED.format(one.number)
            elsewhere += [one] * (not one.closed)
        if not elsewhere:
            return ""
        return UNDRAWN.format(objects=listed(elsewhere), planes=on_planes(elsewhere))

    def go_on(self, place: Place | None) -> None:
        """Run the object that waited for a model, if it is on screen."""
        one = self._waiting
        here = [] if place is None else self._context.book.on(place.layer, place.plane)
        if place is not None and one is not None and one in here:
            self.run(place, one)

    def on_finished(self, ending: str) -> None:
        """Show how a run has ended."""
        then, self._then = self._then, None
        drawn, self._drawn = self._drawn, {}
        self.show_running()
        panel = self._context.panel
        if ending == "failed" and panel.last_error is not None:
            self._context.show_message(panel.last_error)
        elif ending == "done":
            self._report_note([one for one in drawn if one.not_found])
            if then is not None:
                then()

    def keep(self, reviewed: Reviewed) -> None:
        """Keep the result under review with its object, and describe it."""
        if reviewed.label is None:
            return
        result = reviewed.result
        answers = {reviewed.label: (result.samples, result.summary.mean_mask)}
        if isinstance(result, ObjectsRun):
            answers.update(result.objects)
        for number, (samples, mask) in answers.items():
            one = self._context.book.find(reviewed.layer, number, reviewed.plane)
            if one is not None:
                score, prompt = result.summary.domain_score, self._drawn.get(one)
                one.answer(samples, mask, reviewed.model, score, prompt)
                one.name = samples.classes[0]
        self._describe(reviewed)

    def cancel(self) -> None:
        """Cancel the run; it ends within one ODE step."""
        self.runner.cancel()
        self.show_running()

    def show_running(self) -> None:
        """Show whether a run can be cancelled, or is waited for."""
        self._context.session.work.set_running(self.cancel, self.runner.busy)
        if self.runner.waiting and not self.runner.running:
            self._context.show_message("Another run is in progress. The prompt runs when it ends.")

    def _want(self, drawn: Mapping[PromptObject, Prompt], start: Callable[[], None]) -> None:
        """Start a run as soon as possible, and note which prompts it draws."""

        def begin() -> None:
            self._drawn = drawn
            start()

        self.runner.want(begin)

    def _report_note(self, missing: Sequence[PromptObject]) -> None:
        note, self._note = self._note, ""
        if missing:
            about = NOT_FOUND.format(name=missing[0].name, objects=listed(missing))
            note = f"{about} {note}".strip()
        if note:
            self._context.report(note)

    def _describe(self, reviewed: Reviewed) -> None:
        number = int(reviewed.label or 0)
        one = self._context.book.find(reviewed.layer, number, reviewed.plane)
        if one is None or one.mask is None:
            return
        if one.not_found:
            self._context.show_message(NOT_FOUND.format(name=one.name, objects=listed([one])))
            return
        layer, plane = reviewed.layer, reviewed.plane
        row = row_of(plane, layer, one, set(), self._context.names(layer, plane))
        self._context.show_message(
            f"Object {one.number} ({row.name}): {row.area}. Points and strokes refine it; "
            "Shift+M takes it, Shift+O begins the next one."
        )
