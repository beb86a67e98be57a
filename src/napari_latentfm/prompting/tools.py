"""Tools of the Point section: box, points and brushes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from latentfm_core.correction.strokes import BACKGROUND, FOREGROUND
from napari_latentfm.layers.stacking import source_of
from napari_latentfm.prompting.answers import READY

if TYPE_CHECKING:
    from napari_latentfm.prompting.context import PromptContext
    from napari_latentfm.prompting.prompt_model import PromptModel

TOOL_MODES = ("add_rectangle", "add", "paint")
"""Modes of the mark and stroke layers while a tool is selected."""


class PromptTools:
    """Selects a tool: its layer, the mode of the layer, and the button in the form."""

    def __init__(self, context: PromptContext, model: PromptModel) -> None:
        self._context, self._model, self._tool = context, model, ""

    @property
    def is_painting(self) -> bool:
        """Whether a brush is selected."""
        return "stroke" in self._tool

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
        """Select the tool that draws a box around an object."""
        self.select("box")

    def add_point(self) -> None:
        """Select the tool for points in the current object."""
        self.select("point")

    def add_negative_point(self) -> None:
        """Select the tool for points outside the current object."""
        self.select("not_point")

    def paint(self) -> None:
        """Select the brush for pixels that are certainly in the current object."""
        self.select("stroke")

    def paint_background(self) -> None:
        """Select the brush for pixels that are certainly outside the current object."""
        self.select("not_stroke")

    def new_object(self) -> None:
        """Let the next mark begin another object."""
        place = self._context.place(is_asked=True)
        if place is None:
            return
        self._context.selection.clear(place)
        number = self._context.next_number(place)
        self._context.show_message(f"Object {number}: {READY[0].lower()}{READY[1:]}")
        self.select(self._tool or "box")

    def select(self, tool: str) -> None:
        """Select a tool by its name in `napari_latentfm.prompting.form.TOOLS`."""
        place = self._context.place(is_asked=True)
        if place is None:
            return
        one = self._context.book.current(place.layer, place.plane)
        if one is not None and one.closed:
            self._context.selection.clear(place)
        self._tool = tool
        if self.is_painting:
            if not self._model.may_paint(place.layer):
                return
            label = FOREGROUND if tool == "stroke" else BACKGROUND
            self._context.strokes.take_brush(place, label)
        else:
            self._model.is_usable()  # shows a notice if it does not take prompts
            marks = self._context.marks
            if tool == "box":
                marks.take_box(place.layer, place.plane)
            else:
                marks.take_point(place.layer, place.plane, tool == "point")
        self._context.shown.dim_marks(place)
        self._context.form.hold(tool)

    def drop(self) -> None:
        """Select no tool."""
        self._tool = ""
        self._context.form.hold("")

    def on_active(self, event: Any) -> None:
        """Show the tool while one of its layers is active."""
        layer = event.value
        has_tool = layer is not None and str(getattr(layer, "mode", "")) in TOOL_MODES
        shown = self._tool and has_tool and source_of(layer)
        self._context.form.hold(self._tool if shown else "")
