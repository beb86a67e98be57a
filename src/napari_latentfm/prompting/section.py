"""Point at an object with a box, a click or a stroke; its outlines follow at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from napari.layers import Image
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from latentfm_core.correction.strokes import BACKGROUND, FOREGROUND
from latentfm_core.prompts import Prompt
from napari_latentfm.background.signals import listen
from napari_latentfm.layers.stacking import OWN_KEYS, source_of
from napari_latentfm.layers.strokes import strokes_of
from napari_latentfm.prompting.answers import READY, Answers
from napari_latentfm.prompting.context import PromptContext
from napari_latentfm.prompting.drawing import Drawing
from napari_latentfm.prompting.following import Following
from napari_latentfm.prompting.form import PromptForm
from napari_latentfm.prompting.layer_keys import LayerKeys
from napari_latentfm.prompting.mark_layers import MarkLayers
from napari_latentfm.prompting.objects import ObjectBook
from napari_latentfm.prompting.prompt_model import PromptModel
from napari_latentfm.prompting.selection import ObjectSelection
from napari_latentfm.prompting.shown_objects import ShownObjects
from napari_latentfm.prompting.stroke_marks import StrokeMarks
from napari_latentfm.prompting.taking import Taking
from napari_latentfm.results.session import ReviewSession
from napari_latentfm.sampling.panel import SamplingPanel

SETTLE_MS = 120
"""Pause after the last move of a slider, before its plane is shown."""
STROKE_MS = 40
WAITS = (
    "The box or point has no outline yet. Choose a model that takes it under Point, or remove it "
    "with Undo."
)
LAYER_KEYS = ("B", "P", "Shift-P")
"""Keys that napari's Labels, Points and Shapes layers bind themselves."""
TOOL_MODES = ("add_rectangle", "add", "paint")
"""Modes of the mark and stroke layers while a tool is selected."""


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
    model_missing
        Emitted with a message when a prompt needs another model than the chosen one.
    """

    def __init__(
        self, session: ReviewSession, panel: SamplingPanel, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._panel = session, panel
        self._viewer = session.viewer
        self.form = PromptForm()
        self._tool = ""
        self._look = self._timer(0, self._read_marks)
        self._stroked = self._timer(STROKE_MS, self._read_strokes)
        self._settle = self._timer(SETTLE_MS, self._sync)
        self._refresh = self._timer(SETTLE_MS, self._renew)
        self._book = ObjectBook()
        # napari's event comes in the middle of its own work on the layer.
        self._marks = MarkLayers(self._viewer, self._look.start, self.undo)
        self._context = PromptContext(session, panel, self.form, self._book, self._marks)
        self._shown = ShownObjects(self._context, self._refresh.start, self)
        self._strokes = StrokeMarks(self._context, self._stroked.start, self)
        self._selection = ObjectSelection(self._context, self._shown, self._strokes)
        self._model = PromptModel(self._context)
        self.model_missing = self._model.missing
        self._answers = Answers(self._context, self._shown, self._selection, self._model, self)
        self._runner = self._answers.runner
        self._drawing = Drawing(
            self._context, self._shown, self._strokes, self._selection, self._answers
        )
        self._taking = Taking(self._context, self._answers)
        self._following = Following(self._context, self._answers)
        self.form.add_below_objects(self._following.button, self._following.take_button)
        self._keys = LayerKeys(self._viewer, LAYER_KEYS, self)
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
        """Select the tool that draws a box around an object."""
        self._select_tool("box")

    def add_point(self) -> None:
        """Select the tool for points in the current object."""
        self._select_tool("point")

    def add_negative_point(self) -> None:
        """Select the tool for points outside the current object."""
        self._select_tool("not_point")

    def paint(self) -> None:
        """Select the brush for pixels that are certainly in the current object."""
        self._select_tool("stroke")

    def paint_background(self) -> None:
        """Select the brush for pixels that are certainly outside the current object."""
        self._select_tool("not_stroke")

    def use_labels(self) -> None:
        """Make the chosen label of the selected Labels layer a rough mask, or strokes."""
        self._drawing.use_labels()

    def undo(self) -> None:
        """Remove the last mark of the current object."""
        self._drawing.undo()

    def clear(self) -> None:
        """Remove all marks of the current object."""
        self._drawing.clear()

    # --- objects --------------------------------------------------------------------------

    def new_object(self) -> None:
        """Let the next mark begin another object."""
        place = self._context.place()
        if place is None:
            return
        self._selection.clear(place)
        number = self._context.next_number(place)
        self.form.say(f"Object {number}: {READY[0].lower()}{READY[1:]}")
        self._select_tool(self._tool or "box")

    def choose(self, number: int) -> None:
        """Make an object the current one, with its marks and its outlines."""
        place = self._context.place()
        one = None if place is None else self._book.find(place.layer, number, place.plane)
        if place is None or one is None:
            return
        one.closed = False
        self._book.choose(place.layer, place.plane, one)
        self._selection.restore_marks(place, one)
        for layer in self._marks.there(place.layer):
            layer.visible = True
        if one.samples is not None:
            self._answers.show(place, one)
        elif not one.prompt.is_empty:
            self._answers.run(place, one)

    def delete(self) -> None:
        """Remove the current object: its marks, its result, and its pixels in the annotation."""
        place, one = self._context.current()
        if place is None or one is None:
            self.form.say("Choose an object in the list first.")
            return
        erased = self._taking.erase(place, one)
        self._marks.write(place.layer, one.plane, one.number, Prompt())
        self._selection.clear(place)
        self._book.remove(place.layer, one)
        self._shown.renew()
        undo = " Ctrl+Z restores its pixels in the annotation." if erased else ""
        self.form.say(f"Object {one.number} was removed.{undo}")

    def take(self) -> None:
        """Write the mean mask of the current object into the annotation."""
        self._taking.take()

    def take_all(self) -> None:
        """Write all objects of the plane into the annotation, as one undo step."""
        self._taking.take_all()

    def take_pending(self) -> None:
        """Write visible objects that were not taken yet into the annotation."""
        self._taking.take_pending()

    def waits_for_model(self) -> str:
        """Return a message if a prompt on this plane waits for a model that takes prompts."""
        place = self._context.place()
        waits = place is not None and self._answers.waits_for_model(place)
        return WAITS if waits else ""

    def draw_all_again(self) -> None:
        """Draw the samples of all objects of the plane, with the current model and settings."""
        self._answers.run_all()

    def follow(self) -> None:
        """Follow the current object through the other planes of its stack."""
        self._following.start()

    def cancel(self) -> None:
        """Cancel the run; it ends within one ODE step."""
        self._runner.cancel()
        self._answers.show_running()

    def release(self) -> None:
        """Cancel the run, and stop listening to layers; the objects stay."""
        self._runner.cancel()
        self._keys.release()

    # --- events ---------------------------------------------------------------------------

    def _select_tool(self, tool: str) -> None:
        place = self._context.place()
        if place is None:
            return
        one = self._book.current(place.layer, place.plane)
        if one is not None and one.closed:
            self._selection.clear(place)
        self._tool = tool
        if "stroke" in tool:
            if not self._model.may_paint(place.layer):
                return
            self._strokes.take_brush(place, FOREGROUND if tool == "stroke" else BACKGROUND)
        elif tool == "box":
            self._model.is_usable()
            self._marks.take_box(place.layer, place.plane)
        else:
            self._model.is_usable()
            self._marks.take_point(place.layer, place.plane, tool == "point")
        self._shown.look_at_marks(place)
        self.form.hold(tool)

    def _read_marks(self) -> None:
        self._drawing.read_marks()

    def _read_strokes(self) -> None:
        self._drawing.read_strokes("stroke" in self._tool)

    def _renew(self) -> None:
        self._shown.renew()

    def _sync(self) -> None:
        """Show the current object of the plane on screen."""
        if self._panel.form.image.value is None:
            self._shown.clear()
            self._following.renew()
            return
        place, one = self._context.current()
        if place is None:
            return
        self._selection.adopt(place)
        reviewed = self._session.current
        if self._context.reviews_object_of(place.layer) and reviewed is not None:
            if reviewed.plane.index != place.plane.index and not self._runner.running:
                if one is not None and one.samples is not None:
                    self._answers.show(place, one)
                else:
                    self._session.show(None)
        elif reviewed is None and one is not None and not self._runner.busy:
            self._answers.show(place, one)
        self._shown.renew()
        self._following.renew()

    def _on_reviewed(self) -> None:
        reviewed = self._session.current
        if reviewed is None:
            return
        self._selection.stale.show_again()
        if reviewed.label is not None:
            self._answers.keep(reviewed)
            if (strokes := strokes_of(self._viewer, reviewed.layer)) is not None:
                self._strokes.follow(strokes)
            # Another plane may be on screen by now.
            self._settle.start()
        self._shown.renew()
        self._following.renew()

    def _on_redraw_asked(self) -> None:
        place, one = self._context.current()
        if place is not None and one is not None:
            self._answers.run(place, one)

    def _on_taken(self) -> None:
        reviewed = self._session.current
        if reviewed is not None and reviewed.label is not None:
            one = self._book.find(reviewed.layer, reviewed.label, reviewed.plane)
            if one is not None:
                one.closed = True
            self._marks.hide(reviewed.layer)
            strokes = strokes_of(self._viewer, reviewed.layer)
            if strokes is not None:
                strokes.visible = False
            self.form.hold("")
        self._refresh.start()

    def _on_finished(self, ending: str) -> None:
        self._answers.on_finished(ending)
        self._following.on_finished(ending)

    def _on_model(self) -> None:
        """Go on with marks that waited for a model."""
        if not self.form.notice.isHidden() and self._model.is_usable():
            self._answers.go_on(self._context.place())

    def _use_better_model(self) -> None:
        if self._model.use_better():
            self._on_model()

    def _on_image(self, _value: Any = None) -> None:
        """Show nothing of another image any more."""
        self._tool = ""
        self.form.hold("")
        self.form.notice.hide()
        self.form.say(READY)
        self._settle.start()

    def _on_dims(self, _event: Any = None) -> None:
        self._settle.start()

    def _on_active(self, event: Any) -> None:
        layer = event.value
        has_tool = layer is not None and str(getattr(layer, "mode", "")) in TOOL_MODES
        self.form.hold(self._tool if self._tool and has_tool and source_of(layer) else "")

    def _on_removed(self, event: Any) -> None:
        self._strokes.forget(event.value)
        if isinstance(event.value, Image) and self._book.all(event.value):
            self._runner.cancel()
            self._book.forget(event.value)
            # The list of layers is busy now.
            key = str(event.value.unique_id)
            QTimer.singleShot(0, partial(_remove_orphans, self._viewer, key))
        self._settle.start()

    def _timer(self, pause: int, slot: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(pause)
        timer.timeout.connect(slot)
        return timer

    def _connect(self) -> None:
        form = self.form
        for tool, button in form.tools.items():
            button.clicked.connect(partial(_call, self._select_tool, tool))
        for button, slot in (
            (form.labels_button, self.use_labels),
            (form.undo_button, self.undo),
            (form.clear_button, self.clear),
            (form.new_button, self.new_object),
            (form.delete_button, self.delete),
            (form.take_button, self.take),
            (form.take_all_button, self.take_all),
            (form.again_button, self.draw_all_again),
            (self._following.button, self.follow),
            (self._following.take_button, self._taking.take_on_all_planes),
            (form.cancel_button, self.cancel),
            (form.notice.button, self._use_better_model),
        ):
            button.clicked.connect(partial(_call, slot))
        form.cover.toggled.connect(partial(setattr, self._session, "cover_others"))
        form.objects.chosen.connect(self.choose)
        form.objects.toggled.connect(self._shown.toggle)
        listen(self, self._session.changed, self._on_reviewed)
        listen(self, self._session.taken, self._on_taken)
        listen(self, self._session.redraw_asked, self._on_redraw_asked)
        listen(self, self._panel.finished, self._on_finished)
        listen(self, self._panel.form.model.changed, self._on_model)
        listen(self, self._panel.form.folder.changed, self._on_model)
        listen(self, self._panel.form.image.changed, self._on_image)
        for name in ("current_step", "order", "ndisplay"):
            listen(self, self._viewer.dims.events.emitters[name], self._on_dims)
        listen(self, self._viewer.layers.selection.events.active, self._on_active)
        listen(self, self._viewer.layers.events.removed, self._on_removed)
        marks = self._marks
        self.destroyed.connect(lambda: marks.release())


def _call(slot: Callable[..., None], *arguments: Any) -> None:
    """Call a slot without the state that Qt passes for a button."""
    slot(*[each for each in arguments if not isinstance(each, bool)])


def _remove_orphans(viewer: Any, key: str) -> None:
    """Remove the marks, strokes and outlines of an image that was removed."""
    doomed = [
        layer for layer in viewer.layers if any(layer.metadata.get(own) == key for own in OWN_KEYS)
    ]
    for layer in doomed:
        viewer.layers.remove(layer)
