"""Turn marks that the user draws into the prompt of an object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels

from latentfm_core.correction.strokes import FOREGROUND
from latentfm_core.errors import ImageError
from latentfm_core.prompts import Prompt
from napari_latentfm.layers.stacking import source_of
from napari_latentfm.prompting.from_labels import is_scribble, label_on
from napari_latentfm.prompting.mark_data import clipped, inside, same, with_marks

if TYPE_CHECKING:
    from napari_latentfm.prompting.answers import Answers
    from napari_latentfm.prompting.context import PromptContext
    from napari_latentfm.prompting.objects import PromptObject
    from napari_latentfm.sampling.plane import Place

CLICK = 5.0
"""Pixels on screen below which a dragged box counts as a click."""


class Drawing:
    """Reads mark layers, strokes and Labels layers, and starts the run that follows.

    Parameters
    ----------
    write_later
        Causes a call of `write_marks` after the run has started.
    """

    def __init__(
        self, context: PromptContext, answers: Answers, write_later: Callable[[], None]
    ) -> None:
        self._context, self._answers, self._write_later = context, answers, write_later
        self._selection, self._strokes = context.selection, context.strokes
        self._unwritten: Callable[[], None] | None = None

    def read_marks(self) -> None:
        """Read boxes and points: a new mark, or one that was moved or deleted."""
        self.write_marks()
        context = self._context
        place = context.place()
        if place is None:
            return
        drawn = context.marks.read(place.layer, place.plane, 0)
        if not drawn.is_empty:
            self._add(place, drawn)
            return
        changed = []
        for one in context.book.on(place.layer, place.plane):
            marks = context.marks.read(place.layer, place.plane, one.number)
            now = with_marks(one.prompt, marks)
            if not same(now, one.prompt):
                changed.append((one, now))
        # Marks of several objects may be deleted at once; the last one with marks left is drawn.
        for one, now in sorted(changed, key=lambda each: not each[1].is_empty):
            context.book.choose(place.layer, place.plane, one)
            one.closed = False
            self._change(place, one, now)

    def read_strokes(self, is_painting: bool) -> None:
        """Read the strokes; `is_painting` is whether the brush of the section is selected."""
        place, one = self._context.current()
        if place is None or not self._strokes.follows(place.layer):
            return
        strokes = self._strokes.read(place)
        if one is None or one.closed:
            reviewed = self._context.session.current
            guides_result = reviewed is not None and reviewed.label is None
            if strokes is None or guides_result or not is_painting:
                return
            one = self._selection.for_mark(place, keep_strokes=True)
            if one is None:
                return
        self._change(place, one, replace(one.prompt, strokes=strokes))

    def use_labels(self) -> None:
        """Use the chosen label of the selected Labels layer as a rough mask, or as strokes."""
        context = self._context
        place = context.place()
        layer = context.viewer.layers.selection.active
        if place is None:
            return
        if not isinstance(layer, Labels) or source_of(layer):
            context.show_message("Select a Labels layer of your own in the layer list first.")
            return
        try:
            mask = label_on(layer, place.plane, place.layer.name)
        except ImageError as error:
            context.show_message(str(error))
            return
        one = self._selection.for_mark(place)
        if one is None:
            return
        kind = context.form.labels_as.currentText()
        if kind == "strokes" or (kind == "automatic" and is_scribble(mask)):
            strokes = np.where(mask, FOREGROUND, 0).astype(np.uint8)
            self._strokes.put(place, strokes)
            self._change(place, one, replace(one.prompt, strokes=strokes))
        else:
            self._change(place, one, replace(one.prompt, mask=mask))

    def undo(self) -> None:
        """Remove the last mark of the current object."""
        self.write_marks()
        place, one = self._context.current()
        if place is None or one is None or not one.history:
            self._context.show_message("There is no mark to undo.")
            return
        one.prompt = one.history.pop()
        self._selection.restore_marks(place, one)
        self._answers.run(place, one)

    def clear(self) -> None:
        """Remove all marks of the current object."""
        self.write_marks()
        place, one = self._context.current()
        if place is not None and one is not None and not one.prompt.is_empty:
            one.remember()
            one.prompt = Prompt()
            self._selection.restore_marks(place, one)
            self._answers.run(place, one)

    def _add(self, place: Place, drawn: Prompt) -> None:
        context = self._context
        drawn, complaint = self._checked(place, drawn)
        one = None if drawn.is_empty else self._selection.for_mark(place)
        if one is None:
            # Removes the mark from its layer.
            context.marks.write(place.layer, place.plane, 0, Prompt())
            context.shown.dim_marks(place)
            if complaint:
                self._context.report(complaint)
            return
        now = replace(
            one.prompt,
            box=drawn.box or one.prompt.box,
            positive=(*one.prompt.positive, *drawn.positive),
            negative=(*one.prompt.negative, *drawn.negative),
        )
        # Napari starts the worker in a later turn of the event loop, and writing the marks and
        # painting them takes longer than the image encoder.
        self._unwritten = partial(self._write, place, one.number, now)
        self._write_later()
        self._change(place, one, now, replaces=bool(drawn.box and one.prompt.box))

    def write_marks(self) -> None:
        """Write the newest marks into the layers of the object that they belong to."""
        write, self._unwritten = self._unwritten, None
        if write is not None:
            write()

    def _write(self, place: Place, number: int, prompt: Prompt) -> None:
        if place.layer in self._context.viewer.layers:
            self._context.marks.write(place.layer, place.plane, number, prompt)
            self._context.shown.dim_marks(place)

    def _checked(self, place: Place, drawn: Prompt) -> tuple[Prompt, str]:
        """Return the marks that lie in the image, and a message about the others."""
        shape, name = place.plane.shape, place.layer.name
        complaint, box = "", None
        if drawn.box is not None:
            box = clipped(drawn.box, shape)
            if self._context.marks.is_drawing_click(drawn.box, place.layer, place.plane, CLICK):
                box, complaint = None, "Drag to draw a box. To click an object, use Point + (P)."
            elif box is None:
                complaint = f"The box is outside {name!r}. Draw it over the image."
        positive = tuple(point for point in drawn.positive if inside(point, shape))
        negative = tuple(point for point in drawn.negative if inside(point, shape))
        if (positive, negative) != (drawn.positive, drawn.negative):
            complaint = f"The point is outside {name!r}. Click a place in the image."
        return Prompt(box, positive, negative), complaint

    def _change(
        self, place: Place, one: PromptObject, prompt: Prompt, replaces: bool = False
    ) -> None:
        """Replace the prompt of an object, and run; `replaces` is whether its box is a new one."""
        if same(prompt, one.prompt):
            return
        if one.history and same(prompt, one.history[-1]):
            # Undone by the layer's own Ctrl+Z.
            one.history.pop()
        else:
            one.remember()
        one.prompt, one.followed = prompt, False
        self._answers.run(place, one, replaces)
