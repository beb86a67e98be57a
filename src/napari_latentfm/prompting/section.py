"""Point at an object with a box, a click or a stroke; its outlines follow at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from latentfm_core.correction.strokes import BACKGROUND, FOREGROUND
from latentfm_core.errors import ImageError, LatentFMError
from latentfm_core.prompts import Prompt
from napari_latentfm.annotation.layer import MAX_LABEL, annotation_on, write_mask, write_objects
from napari_latentfm.background.signals import listen
from napari_latentfm.layers.annotation_record import MEAN_MASK
from napari_latentfm.layers.planes import Plane, plane_index, plane_spacing
from napari_latentfm.layers.stacking import keeping_active, source_of
from napari_latentfm.layers.strokes import add_strokes, strokes_of, take_brush
from napari_latentfm.prompting.form import PromptForm
from napari_latentfm.prompting.from_labels import is_scribble, label_on
from napari_latentfm.prompting.layer_keys import LayerKeys
from napari_latentfm.prompting.mark_layers import MarkLayers
from napari_latentfm.prompting.marks import clipped, inside, same, with_marks
from napari_latentfm.prompting.models import card_of, promptable_model, takes_prompts
from napari_latentfm.prompting.object_list import Row
from napari_latentfm.prompting.objects import ObjectBook, PromptObject
from napari_latentfm.prompting.outlines import Outlines, StaleResults
from napari_latentfm.prompting.runner import PromptRunner
from napari_latentfm.results.objects import ObjectsRun
from napari_latentfm.results.session import Reviewed, ReviewSession
from napari_latentfm.sampling.panel import Place, SamplingPanel
from napari_latentfm.ui.units import area_text

READY = "Drag a box around an object (B), or click it (P)."
CLICK = 5.0
"""Pixels on screen below which a dragged box counts as a click."""
SETTLE_MS = 120
"""After the slider moved, before the plane that it shows is looked at."""
STROKE_MS = 40
LAYER_KEYS = ("B", "P", "Shift-P")
"""Which napari's Labels, Points and Shapes layers have taken."""
_STROKE_EVENTS = ("paint", "labels_update", "set_data", "data")


class PromptSection(QWidget):
    """Tools that point at objects, and the objects that were pointed at.

    Parameters
    ----------
    session
        Of the viewer.
    panel
        The viewer's sampling panel, which chooses image, model and settings, and does the runs.
    parent
        Parent widget.

    Attributes
    ----------
    form
        The controls.
    """

    def __init__(
        self, session: ReviewSession, panel: SamplingPanel, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._panel = session, panel
        self._viewer = session.viewer
        self._book = ObjectBook()
        self._marks = MarkLayers(self._viewer, self._on_drawn, self.undo)
        self._outlines = Outlines(self._viewer)
        self._stale = StaleResults(self._viewer)
        self._runner = PromptRunner(panel, self)
        self._keys = LayerKeys(self._viewer, LAYER_KEYS, self)
        self._strokes: Labels | None = None
        self._annotation: Labels | None = None
        self._tool = ""
        self._painting = False
        self._waiting: PromptObject | None = None
        self._look = self._timer(0, self._read_marks)
        self._stroked = self._timer(STROKE_MS, self._read_strokes)
        self._settle = self._timer(SETTLE_MS, self._sync)
        self._refresh = self._timer(SETTLE_MS, self._list)
        self.form = PromptForm()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.form)
        self._connect()
        self.form.say(READY)
        self._sync()

    # --- tools ----------------------------------------------------------------------------

    def key_actions(self) -> dict[str, Callable[[], None]]:
        """Return napari key strings and what they do."""
        return {
            "B": self.draw_box,
            "P": self.add_point,
            "Shift-P": self.add_negative_point,
            "G": self.paint,
            "Shift-G": self.paint_background,
            "Shift-O": self.new_object,
        }

    def draw_box(self) -> None:
        """Take the tool for boxes in hand."""
        self._take_tool("box")

    def add_point(self) -> None:
        """Take the tool for places in the object in hand."""
        self._take_tool("point")

    def add_negative_point(self) -> None:
        """Take the tool for places outside the object in hand."""
        self._take_tool("not_point")

    def paint(self) -> None:
        """Take the brush for what is surely in the object in hand."""
        self._take_tool("stroke")

    def paint_background(self) -> None:
        """Take the brush for what is surely not in the object in hand."""
        self._take_tool("not_stroke")

    def use_labels(self) -> None:
        """Make the chosen label of the selected Labels layer a rough mask, or strokes."""
        place = self._place()
        layer = self._viewer.layers.selection.active
        if place is None:
            return
        if not isinstance(layer, Labels) or source_of(layer):
            self.form.say("Select a Labels layer of your own in the list of layers first.")
            return
        try:
            mask = label_on(layer, place.plane, place.layer.name)
        except ImageError as error:
            self.form.say(str(error))
            return
        one = self._object_for_mark(place)
        if one is None:
            return
        kind = self.form.labels_as.currentText()
        if kind == "strokes" or (kind == "automatic" and is_scribble(mask)):
            strokes = np.where(mask, FOREGROUND, 0).astype(np.uint8)
            self._put_strokes(place, strokes)
            self._change(place, one, replace(one.prompt, strokes=strokes))
        else:
            self._change(place, one, replace(one.prompt, mask=mask))

    def undo(self) -> None:
        """Take the last mark of the object in hand back."""
        place, one = self._in_hand()
        if place is None or one is None or not one.history:
            self.form.say("There is no mark to take back.")
            return
        one.prompt = one.history.pop()
        self._restore_marks(place, one)
        self._run(place, one)

    def clear(self) -> None:
        """Remove all marks of the object in hand."""
        place, one = self._in_hand()
        if place is not None and one is not None and not one.prompt.is_empty:
            one.remember()
            one.prompt = Prompt()
            self._restore_marks(place, one)
            self._run(place, one)

    # --- objects --------------------------------------------------------------------------

    def new_object(self) -> None:
        """Let the next mark begin another object."""
        place = self._place()
        if place is None:
            return
        self._put_down(place)
        self.form.say(f"Object {self._next_number(place)}: {READY[0].lower()}{READY[1:]}")
        self._take_tool(self._tool or "box")

    def choose(self, number: int) -> None:
        """Take an object in hand again, with its marks and its outlines."""
        place = self._place()
        one = None if place is None else self._book.find(place.layer, number)
        if place is None or one is None or one.plane.index != place.plane.index:
            return
        one.closed = False
        self._book.choose(place.layer, place.plane, one)
        self._restore_marks(place, one)
        for layer in self._marks.there(place.layer):
            layer.visible = True
        if one.samples is not None:
            self._show_answer(place, one)
        elif not one.prompt.is_empty:
            self._run(place, one)

    def delete(self) -> None:
        """Remove the object in hand: its marks, its answer, and its pixels in the annotation."""
        place, one = self._in_hand()
        if place is None or one is None:
            self.form.say("Choose an object in the list first.")
            return
        erased = self._erase(place, one)
        self._marks.write(place.layer, one.plane, one.number, Prompt())
        self._put_down(place)
        self._book.remove(place.layer, one)
        self._list()
        undo = " Ctrl+Z brings its pixels in the annotation back." if erased else ""
        self.form.say(f"Object {one.number} was removed.{undo}")

    def take(self) -> None:
        """Write the mean mask of the object in hand into the annotation."""
        reviewed = self._session.current
        if reviewed is None or reviewed.label is None:
            self.form.say("No object is in hand. Draw a box or click a point first.")
            return
        try:
            mask = reviewed.result.summary.mean_mask
            changed = write_mask(self._session, mask, origin=MEAN_MASK)
        except LatentFMError as error:
            self.form.say(str(error))
        else:
            self._say_taken(f"Object {reviewed.label}", changed)

    def take_all(self) -> None:
        """Write all objects of the plane into the annotation, as one undo step."""
        place = self._place()
        if place is None:
            return
        objects = self._answered(place)
        if not objects:
            self.form.say("There are no objects on this plane yet.")
        elif self._session.current is None:
            # Writing needs an object under review.
            first = min(objects, key=lambda each: each.number)
            self._book.choose(place.layer, place.plane, first)
            self._show_answer(place, first, then=self.take_all)
        else:
            changed = self._write(place, objects)
            if changed is not None:
                self._say_taken(f"{len(objects)} objects", changed)

    def take_pending(self) -> None:
        """Write objects that are shown but were not taken yet into the annotation."""
        place, reviewed = self._place(), self._session.current
        if place is None or reviewed is None or reviewed.label is None:
            return
        if reviewed.layer != place.layer or reviewed.plane.index != place.plane.index:
            return
        taken = self._taken(place)
        pending = [
            each
            for each in self._answered(place)
            if not each.closed and each.number not in taken and each.mask and each.mask.pixels
        ]
        if pending:
            self._write(place, pending)

    def _answered(self, place: Place) -> list[PromptObject]:
        """Return the objects of a plane that are shown and have an answer."""
        objects = self._book.on(place.layer, place.plane)
        return [each for each in objects if each.mask is not None and each.visible]

    def _write(self, place: Place, objects: list[PromptObject]) -> int | None:
        """Write objects into the annotation; return the changed pixels, None if it failed."""
        masks = {
            each.number: each.mask.whole(place.plane.shape)
            for each in objects
            if each.mask is not None
        }
        try:
            changed = write_objects(self._session, masks)
        except LatentFMError as error:
            self.form.say(str(error))
            return None
        for each in objects:
            each.closed = True
        return changed

    def draw_all_again(self) -> None:
        """Draw all objects of the plane anew, with the model and settings of now."""
        place, one = self._in_hand()
        if place is None:
            return
        objects = [
            each for each in self._book.on(place.layer, place.plane) if not each.prompt.is_empty
        ]
        if not objects or not self._model_takes_prompts():
            return
        one = one if one in objects else objects[0]
        self._book.choose(place.layer, place.plane, one)
        prompts = {each.number: each.prompt for each in objects}
        at = replace(place, label=one.number)
        self._runner.want(partial(self._panel.run_objects, prompts, at))
        self._show_running()

    def cancel(self) -> None:
        """Cancel the run; it ends within one ODE step."""
        self._runner.cancel()
        self._show_running()

    def release(self) -> None:
        """Cancel the run, and stop listening to layers; the objects stay."""
        self._runner.cancel()
        self._keys.release()

    # --- marks ----------------------------------------------------------------------------

    def _take_tool(self, tool: str) -> None:
        place = self._place()
        if place is None:
            return
        one = self._book.current(place.layer, place.plane)
        if one is not None and one.closed:
            self._put_down(place)
        self._tool = tool
        if "stroke" in tool:
            if not self._may_paint(place):
                return
            label = FOREGROUND if tool == "stroke" else BACKGROUND
            take_brush(self._viewer, self._stroke_layer(place), label)
        elif tool == "box":
            self._model_takes_prompts()
            self._marks.take_box(place.layer, place.plane)
        else:
            self._model_takes_prompts()
            self._marks.take_point(place.layer, place.plane, tool == "point")
        self._look_at_marks(place)
        self.form.hold(tool)

    def _may_paint(self, place: Place) -> bool:
        """Return whether strokes have an effect: without prompts they guide what is reviewed."""
        reviewed = self._session.current
        if reviewed is not None and reviewed.layer == place.layer:
            if takes_prompts(self._panel.form.model_source()):
                return self._model_takes_prompts()
            return True
        return self._model_takes_prompts()

    def _on_drawn(self) -> None:
        # The event comes in the middle of napari's own work on the layer.
        self._look.start()

    def _read_marks(self) -> None:
        place = self._place()
        if place is None:
            return
        drawn = self._marks.read(place.layer, place.plane, 0)
        if not drawn.is_empty:
            self._take_drawn(place, drawn)
            return
        for one in self._book.on(place.layer, place.plane):
            now = with_marks(one.prompt, self._marks.read(place.layer, place.plane, one.number))
            if not same(now, one.prompt):
                self._book.choose(place.layer, place.plane, one)
                one.closed = False
                self._change(place, one, now)
                return

    def _take_drawn(self, place: Place, drawn: Prompt) -> None:
        drawn, complaint = self._checked(place, drawn)
        one = None if drawn.is_empty else self._object_for_mark(place)
        if one is None:
            # Takes what was drawn off the layers.
            self._marks.write(place.layer, place.plane, 0, Prompt())
            self._look_at_marks(place)
            self.form.say(complaint or self.form.status.text())
            return
        now = replace(
            one.prompt,
            box=drawn.box or one.prompt.box,
            positive=(*one.prompt.positive, *drawn.positive),
            negative=(*one.prompt.negative, *drawn.negative),
        )
        # The run first: it goes on while the layers are written.
        self._change(place, one, now)
        self._marks.write(place.layer, place.plane, one.number, now)
        self._look_at_marks(place)

    def _checked(self, place: Place, drawn: Prompt) -> tuple[Prompt, str]:
        """Return what of the marks lies in the image, and what to say of the rest."""
        shape, name = place.plane.shape, place.layer.name
        complaint, box = "", None
        if drawn.box is not None:
            box = clipped(drawn.box, shape)
            if self._marks.is_drawing_click(drawn.box, place.layer, CLICK):
                box, complaint = None, "Drag to draw a box. To click an object, use Point + (P)."
            elif box is None:
                complaint = f"The box is outside {name!r}. Draw it over the image."
        positive = tuple(point for point in drawn.positive if inside(point, shape))
        negative = tuple(point for point in drawn.negative if inside(point, shape))
        if (positive, negative) != (drawn.positive, drawn.negative):
            complaint = f"The point is outside {name!r}. Click a place in the image."
        return Prompt(box, positive, negative), complaint

    def _read_strokes(self) -> None:
        place, one = self._in_hand()
        if place is None or self._strokes is None or self._painting:
            return
        painted = np.asarray(self._strokes.data[plane_index(place.plane)])
        strokes = painted.astype(np.uint8) if painted.any() else None
        if one is None or one.closed:
            reviewed = self._session.current
            guided = reviewed is not None and reviewed.label is None
            if strokes is None or guided or "stroke" not in self._tool:
                return
            one = self._object_for_mark(place, keep_strokes=True)
            if one is None:
                return
        self._change(place, one, replace(one.prompt, strokes=strokes))

    def _change(self, place: Place, one: PromptObject, prompt: Prompt) -> None:
        """Note what an object's marks have become, and draw it."""
        if same(prompt, one.prompt):
            return
        if one.history and same(prompt, one.history[-1]):
            # Undone by the layer's own Ctrl+Z.
            one.history.pop()
        else:
            one.remember()
        one.prompt = prompt
        self._run(place, one)

    def _object_for_mark(self, place: Place, keep_strokes: bool = False) -> PromptObject | None:
        """Return the object in hand, or begin one; None if there is no label left."""
        one = self._book.current(place.layer, place.plane)
        if one is not None and not one.closed:
            return one
        number = self._next_number(place)
        if number > MAX_LABEL:
            self.form.say(f"An annotation has no more than {MAX_LABEL} labels. Delete an object.")
            return None
        self._put_down(place, keep_strokes)
        return self._book.add(place.layer, place.plane, self._class_name(), number - 1)

    def _put_down(self, place: Place, keep_strokes: bool = False) -> None:
        """Have no object in hand."""
        self._book.choose(place.layer, place.plane, None)
        if not keep_strokes:
            self._put_strokes(place, None)
        self._blank(place)

    def _blank(self, place: Place) -> None:
        """Show no result: what is on screen is not about the marks in hand."""
        reviewed = self._session.current
        if self._is_object_of(reviewed, place.layer):
            self._session.show(None)
        self._stale.hide(place.layer, place.plane)
        self._list()

    def _restore_marks(self, place: Place, one: PromptObject) -> None:
        self._marks.write(place.layer, one.plane, one.number, one.prompt)
        self._put_strokes(place, one.prompt.strokes)
        self._look_at_marks(place)

    def _look_at_marks(self, place: Place) -> None:
        one = self._book.current(place.layer, place.plane)
        hidden = {each.number for each in self._book.all(place.layer) if not each.visible}
        self._marks.look(place.layer, 0 if one is None else one.number, hidden)

    def _stroke_layer(self, place: Place) -> Labels:
        found = strokes_of(self._viewer, place.layer)
        if found is None:
            with keeping_active(self._viewer):
                found = add_strokes(self._viewer, place.layer, place.plane)
        self._follow_strokes(found)
        return found

    def _put_strokes(self, place: Place, strokes: NDArray[np.uint8] | None) -> None:
        """Paint the strokes of the object in hand, and no others, as one undo step."""
        layer = strokes_of(self._viewer, place.layer)
        if layer is None and strokes is not None:
            layer = self._stroke_layer(place)
        if layer is None:
            return
        wanted = layer.data.copy()
        wanted[plane_index(place.plane)] = 0 if strokes is None else strokes
        changed = np.nonzero(wanted != layer.data)
        if changed[0].size:
            self._painting = True
            try:
                with layer.block_history():
                    layer.data_setitem(changed, wanted[changed])
            finally:
                self._painting = False

    def _follow_strokes(self, layer: Labels | None) -> None:
        if layer == self._strokes:
            return
        if self._strokes is not None:
            for name in _STROKE_EVENTS:
                self._strokes.events.emitters[name].disconnect(self._on_stroke)
        self._strokes = layer
        if layer is not None:
            for name in _STROKE_EVENTS:
                listen(self, layer.events.emitters[name], self._on_stroke)

    def _on_stroke(self, _event: Any = None) -> None:
        self._stroked.start()

    # --- runs -----------------------------------------------------------------------------

    def _run(self, place: Place, one: PromptObject) -> None:
        if one.prompt.is_empty:
            self._runner.cancel()
            one.forget_answer()
            self._blank(place)
            self.form.say(f"Object {one.number} has no marks. {READY}")
        elif not self._model_takes_prompts():
            self._waiting = one
            self._list()
        else:
            at = replace(place, label=one.number)
            self._runner.want(partial(self._panel.run_prompt, one.prompt, at))
            self._list()
            self._show_running()

    def _show_answer(
        self, place: Place, one: PromptObject, then: Callable[[], None] | None = None
    ) -> None:
        reviewed = self._session.current
        shown = None if reviewed is None else reviewed.result.samples
        if one.samples is not None and shown is one.samples:
            self._list()
        elif one.samples is not None:
            at = replace(place, label=one.number)
            self._then = then
            self._runner.want(partial(self._panel.show_samples, one.samples, one.model, at))
            self._list()

    def _on_finished(self, ending: str) -> None:
        then, self._then = self._then, None
        self._show_running()
        if ending == "failed" and self._panel.last_error is not None:
            self.form.say(self._panel.last_error)
        elif ending == "done" and then is not None:
            then()

    def _on_reviewed(self) -> None:
        reviewed = self._session.current
        if reviewed is None:
            return
        self._stale.show_again()
        if reviewed.label is None:
            self._list()
            return
        result = reviewed.result
        answers = {reviewed.label: (result.samples, result.summary.mean_mask)}
        if isinstance(result, ObjectsRun):
            answers.update(result.objects)
        for number, (samples, mask) in answers.items():
            one = self._book.find(reviewed.layer, number)
            if one is not None:
                one.answer(samples, mask, reviewed.model)
                one.name = samples.classes[0]
        if strokes_of(self._viewer, reviewed.layer) is not None:
            self._follow_strokes(strokes_of(self._viewer, reviewed.layer))
        self._say_answer(reviewed)
        # A result may come when another plane is on screen by now.
        self._settle.start()
        self._list()

    def _on_redraw_asked(self) -> None:
        place, one = self._in_hand()
        if place is not None and one is not None:
            self._run(place, one)

    def _on_taken(self) -> None:
        reviewed = self._session.current
        if reviewed is not None and reviewed.label is not None:
            one = self._book.find(reviewed.layer, reviewed.label)
            if one is not None:
                one.closed = True
            self._marks.hide(reviewed.layer)
            strokes = strokes_of(self._viewer, reviewed.layer)
            if strokes is not None:
                strokes.visible = False
            self.form.hold("")
        self._refresh.start()

    def _erase(self, place: Place, one: PromptObject) -> bool:
        """Take an object's pixels out of the annotation; return whether there were any."""
        if one.number not in self._taken(place) or self._session.current is None:
            return False
        try:
            nothing = np.zeros(place.plane.shape, bool)
            return write_mask(self._session, nothing, label=one.number, origin="mask") > 0
        except LatentFMError as error:
            self.form.say(str(error))
            return False

    def _model_takes_prompts(self) -> bool:
        """Return whether the chosen model takes prompts; say which one does if not."""
        try:
            source = self._panel.form.model_source()
        except LatentFMError as error:
            self.form.say(str(error))
            return False
        if takes_prompts(source):
            self.form.notice.hide()
            return True
        card = card_of(source)
        self.form.notice.show_for(str(source) if card is None else card.id, promptable_model())
        return False

    def _use_better_model(self) -> None:
        better = promptable_model()
        if better is None:
            return
        self._panel.form.model.value = better
        self._on_model()

    def _on_model(self) -> None:
        """Go on with marks that waited for a model."""
        if not self.form.notice.isHidden() and self._model_takes_prompts():
            one, self._waiting = self._waiting, None
            place = self._place()
            if place is not None and one is not None:
                self._run(place, one)

    # --- what is on screen ----------------------------------------------------------------

    def _place(self) -> Place | None:
        try:
            return self._panel.place_on_screen()
        except LatentFMError as error:
            self.form.say(str(error))
            return None

    def _in_hand(self) -> tuple[Place | None, PromptObject | None]:
        place = self._place()
        if place is None:
            return None, None
        return place, self._book.current(place.layer, place.plane)

    def _is_object_of(self, reviewed: Reviewed | None, layer: Image) -> bool:
        return reviewed is not None and reviewed.label is not None and reviewed.layer == layer

    def _sync(self) -> None:
        """Have the object of the plane on screen in hand, whichever was in hand before."""
        if self._panel.form.image.value is None:
            self.form.objects.fill([], 0)
            return
        place, one = self._in_hand()
        if place is None:
            return
        self._adopt(place)
        reviewed = self._session.current
        if self._is_object_of(reviewed, place.layer) and reviewed is not None:
            if reviewed.plane.index != place.plane.index and not self._runner.running:
                if one is not None and one.samples is not None:
                    self._show_answer(place, one)
                else:
                    self._session.show(None)
        elif reviewed is None and one is not None and not self._runner.busy:
            self._show_answer(place, one)
        self._list()

    def _adopt(self, place: Place) -> None:
        """Take objects over whose marks were saved and opened again."""
        for number in self._marks.numbers(place.layer):
            if self._book.find(place.layer, number) is None:
                found = self._marks.read(place.layer, place.plane, number)
                self._book.add(place.layer, place.plane, self._class_name(), 0, number)
                self._book.find(place.layer, number).prompt = found  # type: ignore[union-attr]

    def _list(self) -> None:
        """List the objects of the plane on screen, and show the outlines of those not in hand."""
        if self._panel.form.image.value is None:
            return
        place, one = self._in_hand()
        if place is None:
            return
        taken = self._taken(place)
        objects = self._book.on(place.layer, place.plane)
        rows = [self._row(place.plane, place.layer, each, taken) for each in objects]
        self.form.objects.fill(rows, 0 if one is None else one.number)
        reviewed = self._session.current
        shown = 0
        if self._is_object_of(reviewed, place.layer) and reviewed is not None:
            shown = int(reviewed.label or 0)
        masks = {
            each.number: each.mask.whole(place.plane.shape)
            for each in objects
            if each.mask is not None
            and each.visible
            and each.number not in taken
            and each.number != shown
        }
        self._outlines.show(place.layer, place.plane, masks)
        self._follow_annotation(place)

    def _row(self, plane: Plane, layer: Image, one: PromptObject, taken: set[int]) -> Row:
        state = "taken" if one.number in taken else "proposed" if one.mask is not None else ""
        area = ""
        if one.mask is not None:
            (height, width), unit = plane_spacing(layer, plane)
            area = area_text(one.mask.pixels * height * width, unit)
        return Row(one.number, one.name, area, state, one.visible)

    def _taken(self, place: Place) -> set[int]:
        """Return which labels the annotation of a plane has."""
        layer = annotation_on(self._viewer, place.layer, place.plane)
        if layer is None:
            return set()
        counts = np.bincount(
            np.asarray(layer.data[plane_index(place.plane)], np.uint8).ravel(),
            minlength=MAX_LABEL + 1,
        )
        return {int(label) for label in np.flatnonzero(counts)} - {0}

    def _next_number(self, place: Place) -> int:
        layer = annotation_on(self._viewer, place.layer, place.plane)
        marked = 0 if layer is None else int(layer.data.max(initial=0))
        return max([marked, *(one.number for one in self._book.all(place.layer))]) + 1

    def _class_name(self) -> str:
        try:
            card = card_of(self._panel.form.model_source())
        except LatentFMError:
            card = None
        return "object" if card is None else card.config.model.classes[0]

    def _toggle(self, number: int, on: bool) -> None:
        place = self._place()
        one = None if place is None else self._book.find(place.layer, number)
        if place is not None and one is not None:
            one.visible = on
            self._look_at_marks(place)
            self._list()

    def _follow_annotation(self, place: Place) -> None:
        layer = annotation_on(self._viewer, place.layer, place.plane)
        if layer != self._annotation:
            self._annotation = layer
            if layer is not None:
                # Undo emits no more than this; what was taken may be taken back.
                listen(self, layer.events.set_data, self._on_annotated)

    def _on_annotated(self, _event: Any = None) -> None:
        self._refresh.start()

    def _on_dims(self, _event: Any = None) -> None:
        self._settle.start()

    def _on_active(self, event: Any) -> None:
        layer = event.value
        ours = (
            self._tool
            and layer is not None
            and str(getattr(layer, "mode", ""))
            in (
                "add_rectangle",
                "add",
                "paint",
            )
        )
        self.form.hold(self._tool if ours and source_of(layer) else "")

    def _on_removed(self, event: Any) -> None:
        if event.value == self._strokes:
            self._strokes = None
        if isinstance(event.value, Image) and self._book.all(event.value):
            self._runner.cancel()
            self._book.forget(event.value)
            # The list of layers is busy now.
            key = str(event.value.unique_id)
            QTimer.singleShot(0, partial(_remove_orphans, self._viewer, key))
        self._settle.start()

    def _show_running(self) -> None:
        self.form.cancel_button.setEnabled(self._runner.busy)
        if self._runner.waiting and not self._runner.running:
            self.form.say("Another run is going on; the prompt follows when it has ended.")

    def _say_answer(self, reviewed: Reviewed) -> None:
        one = self._book.find(reviewed.layer, int(reviewed.label or 0))
        if one is None or one.mask is None:
            return
        taken: set[int] = set()
        area = self._row(reviewed.plane, reviewed.layer, one, taken).area
        if not one.mask.pixels:
            self.form.say(
                f"No {one.name} was found at these marks. Add a point, or draw another box."
            )
            return
        self.form.say(
            f"Object {one.number} ({one.name}): {area}. Points and strokes refine it; "
            "Shift+M takes it, Shift+O begins the next one."
        )

    def _say_taken(self, what: str, changed: int) -> None:
        hint = ""
        if not self._session.cover_others:
            hint = " Pixels of other labels were kept."
        self.form.say(
            f"{what}: {changed:,} pixels of the annotation changed.{hint} Ctrl+Z takes it back."
        )

    def _timer(self, pause: int, slot: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(pause)
        timer.timeout.connect(slot)
        return timer

    def _connect(self) -> None:
        form, self._then = self.form, None
        for tool, button in form.tools.items():
            button.clicked.connect(partial(_call, self._take_tool, tool))
        for button, slot in (
            (form.labels_button, self.use_labels),
            (form.undo_button, self.undo),
            (form.clear_button, self.clear),
            (form.new_button, self.new_object),
            (form.delete_button, self.delete),
            (form.take_button, self.take),
            (form.take_all_button, self.take_all),
            (form.again_button, self.draw_all_again),
            (form.cancel_button, self.cancel),
            (form.notice.button, self._use_better_model),
        ):
            button.clicked.connect(partial(_call, slot))
        form.cover.toggled.connect(partial(setattr, self._session, "cover_others"))
        form.objects.chosen.connect(self.choose)
        form.objects.toggled.connect(self._toggle)
        listen(self, self._session.changed, self._on_reviewed)
        listen(self, self._session.taken, self._on_taken)
        listen(self, self._session.redraw_asked, self._on_redraw_asked)
        listen(self, self._panel.finished, self._on_finished)
        listen(self, self._panel.form.model.changed, self._on_model)
        listen(self, self._panel.form.folder.changed, self._on_model)
        listen(self, self._panel.form.image.changed, self._on_dims)
        for name in ("current_step", "order", "ndisplay"):
            listen(self, self._viewer.dims.events.emitters[name], self._on_dims)
        listen(self, self._viewer.layers.selection.events.active, self._on_active)
        listen(self, self._viewer.layers.events.removed, self._on_removed)
        marks = self._marks
        self.destroyed.connect(lambda: marks.release())


def _call(slot: Callable[..., None], *arguments: Any) -> None:
    """Call without Qt's word on whether a button is checked."""
    slot(*[each for each in arguments if not isinstance(each, bool)])


def _remove_orphans(viewer: Any, key: str) -> None:
    """Remove what lay on an image that is gone: marks, strokes and outlines of its objects."""
    from napari_latentfm.layers.stacking import OWN_KEYS

    doomed = [
        layer for layer in viewer.layers if any(layer.metadata.get(own) == key for own in OWN_KEYS)
    ]
    for layer in doomed:
        viewer.layers.remove(layer)
