"""The Point section: boxes, points and strokes select an object, and its outlines follow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from napari.layers import Image, Layer
from psygnal import Signal
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from latentfm_core.annotation.marks import StoredMarks
from napari_latentfm.annotation.mean_mask import removed_mean_mask
from napari_latentfm.background.signals import NextTurn, listen, pause_timer
from napari_latentfm.layers.stacking import remove_own
from napari_latentfm.prompting.answers import READY, Answers
from napari_latentfm.prompting.context import PromptContext
from napari_latentfm.prompting.drawing import Drawing
from napari_latentfm.prompting.following import Following
from napari_latentfm.prompting.form import PromptForm
from napari_latentfm.prompting.layer_keys import LayerKeys
from napari_latentfm.prompting.mark_layers import MarkLayers
from napari_latentfm.prompting.mark_records import from_record
from napari_latentfm.prompting.object_review import ObjectReview
from napari_latentfm.prompting.objects import PromptObject
from napari_latentfm.prompting.prompt_model import PromptModel
from napari_latentfm.prompting.stacks import FollowedStacks
from napari_latentfm.prompting.taking import Taking
from napari_latentfm.prompting.tools import PromptTools
from napari_latentfm.results.session import ReviewSession
from napari_latentfm.sampling.panel import SamplingPanel
from napari_latentfm.ui.common import on_click

SETTLE_MS = 120
"""Pause after the last move of a slider, before its plane is shown."""
STROKE_MS = 40
STARTED_MS = 5
"""Time after which the worker of a run has started."""
LAYER_KEYS = ("B", "P", "Shift-P")
"""Keys that napari's Labels, Points and Shapes layers bind themselves."""


class PromptSection(QWidget):
    """Tools for prompts, and the objects that were prompted.

    Parameters
    ----------
    panel
        The viewer's sampling panel, which chooses image, model and settings, and runs the model.

    Attributes
    ----------
    model_missing
        Emitted with a message when a prompt needs another model than the chosen one.
    reported
        Emitted with what the user should know after an answer.
    marked
        Emitted with an image after its objects, or what is taken of them, may have changed.
    """

    marked = Signal(object)

    def __init__(self, session: ReviewSession, panel: SamplingPanel) -> None:
        super().__init__()
        self._session, self._panel = session, panel
        self._viewer = session.viewer
        self.form = PromptForm()
        self._look = NextTurn(self, lambda: self._drawing.read_marks())
        self._written = pause_timer(self, STARTED_MS, lambda: self._drawing.write_marks())
        self._stroked = pause_timer(self, STROKE_MS, self._read_strokes)
        self._settle = pause_timer(self, SETTLE_MS, lambda: self._review.show_current())
        self._refresh = pause_timer(self, SETTLE_MS, lambda: self._shown.renew())
        # napari emits its event while it is still changing the layer.
        self._marks = MarkLayers(self._viewer, self._look.start, lambda: self._drawing.undo())
        self._context = context = PromptContext(session, panel, self.form, self._marks, self)
        self._book, self._selection = context.book, context.selection
        self._shown, self._strokes = context.shown, context.strokes
        self._model = PromptModel(context)
        self.tools = PromptTools(context, self._model)
        self.model_missing, self.reported = self._model.missing, context.reported
        self._stacks = FollowedStacks(session, self._book)
        self._answers = Answers(context, self._model, self._stacks, self)
        self._runner = self._answers.runner
        self._drawing = Drawing(context, self._answers, self._written.start)
        self._taking = Taking(context, self._answers)
        self._following = Following(context, self._answers)
        self._review = ObjectReview(context, self._answers, self._stacks, self._following)
        self.form.add_below_objects(self._following.button, self._following.take_button)
        self._keys = LayerKeys(self._viewer, LAYER_KEYS, self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.form)
        self._connect()
        self.form.show_message(READY)
        self._review.show_current()

    def key_actions(self) -> dict[str, Callable[[], None]]:
        """Return napari key strings and what they do."""
        return self.tools.key_actions()

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
        if one.answered:
            self._answers.show(place, one)
        elif not one.prompt.is_empty:
            self._answers.run(place, one)

    def take_pending(self) -> str:
        """Write visible objects that were not taken yet; return what to do if they were cut."""
        return self._taking.take_pending()

    def left_to_others(self) -> str:
        """Return, once, how much of the objects taken last was left to other labels, or ""."""
        left, self._taking.left = self._taking.left, ""
        return left

    def outlines_to_take(self) -> list[Layer | None]:
        """Return the layers that show what `take_pending` would write."""
        return self._taking.outlines_to_take()

    def untaken(self, image: Image) -> list[PromptObject]:
        """Return the visible objects of an image that are not in its annotation, without result."""
        return self._selection.untaken(image)

    def has_objects(self, image: Image) -> bool:
        """Return whether objects were pointed at on an image."""
        return bool(self._book.all(image))

    def restore(self, image: Image, marks: StoredMarks) -> None:
        """Add objects whose marks were saved, and draw their outlines."""
        place = self._context.place()
        if place is not None and place.layer == image:
            self.bring_back(image, from_record(marks, place.plane, self._context.class_name()))

    def bring_back(self, image: Image, objects: list[PromptObject]) -> None:
        """Add objects of an earlier layer of an image again, and draw their outlines."""
        place = self._context.place() if objects else None
        if place is not None and place.layer == image:
            self._selection.bring_back(place, objects)
            self._answers.draw_restored(objects)

    def unanswered(self) -> str:
        """Return what to do about marks or outlines that could not be accepted now, or ""."""
        place, one = self._context.current()
        if place is None:
            return ""
        shown = self._context.reviews_object_of(place.layer)
        removed = removed_mean_mask(self._session) if shown else ""
        is_open = one is not None and not one.closed
        problem = self._answers.unanswered(place) or (removed if is_open else "")
        return problem or self._taking.uncertain()

    def cancel(self) -> None:
        """Cancel the run; it ends within one ODE step."""
        self._answers.cancel()

    def release(self) -> None:
        """Cancel the run, and stop listening to layers; the objects stay."""
        self._runner.cancel()
        self._keys.release()

    def _read_strokes(self) -> None:
        self._drawing.read_strokes(self.tools.is_painting)

    def _on_reviewed(self) -> None:
        if self._review.keep():
            # Another plane may be on screen by now.
            self._settle.start()

    def _on_redraw_asked(self) -> None:
        place, one = self._context.current()
        if place is not None and one is not None:
            self._answers.run(place, one)

    def _on_taken(self) -> None:
        self._selection.close_taken()
        self._refresh.start()

    def _on_untaken(self) -> None:
        self._selection.reopen_untaken()
        self._refresh.start()

    def _on_finished(self, ending: str) -> None:
        self._answers.on_finished(ending)
        self._following.on_finished(ending)

    def _on_model(self) -> None:
        """Run the marks that waited for a model."""
        if not self.form.notice.isHidden() and self._model.is_usable():
            self._answers.go_on(self._context.place())

    def _use_better_model(self) -> None:
        if self._model.use_better():
            self._on_model()

    def _on_image(self, _value: Any = None) -> None:
        """Clear what belongs to the previous image."""
        self.tools.drop()
        self._taking.left = ""
        self.form.notice.hide()
        self.form.show_message(READY)
        self._settle.start()

    def _on_dims(self, _event: Any = None) -> None:
        self._settle.start()

    def _on_removed(self, event: Any) -> None:
        self._strokes.forget(event.value)
        if isinstance(event.value, Image) and self._book.forget(event.value):
            self._stacks.forget(event.value)
            self._runner.cancel()
            # napari is still changing its list of layers.
            key = str(event.value.unique_id)
            QTimer.singleShot(0, partial(remove_own, self._viewer, key))
        self._settle.start()

    def _connect(self) -> None:
        form = self.form
        for tool, button in form.tools.items():
            on_click(button, partial(self.tools.select, tool))
        for button, slot in (
            (form.labels_button, self._drawing.use_labels),
            (form.undo_button, self._drawing.undo),
            (form.clear_button, self._drawing.clear),
            (form.new_button, self.tools.new_object),
            (form.delete_button, self._taking.delete),
            (form.take_button, self._taking.take),
            (form.take_all_button, self._taking.take_all),
            (form.again_button, self._answers.run_all),
            (self._following.button, self._following.start),
            (self._following.take_button, self._taking.take_on_all_planes),
            (form.notice.button, self._use_better_model),
        ):
            on_click(button, slot)
        form.cover.toggled.connect(partial(setattr, self._session, "cover_others"))
        form.objects.chosen.connect(self.choose)
        form.objects.toggled.connect(self._shown.toggle)
        self._shown.renewed.connect(self.marked.emit)
        self._shown.annotated.connect(lambda: self._refresh.start())
        self._strokes.painted.connect(lambda: self._stroked.start())
        listen(self, self._session.changed, self._on_reviewed)
        listen(self, self._session.taken, self._on_taken)
        listen(self, self._session.untaken, self._on_untaken)
        listen(self, self._session.redraw_asked, self._on_redraw_asked)
        listen(self, self._panel.finished, self._on_finished)
        self._panel.form.model.changed.connect(self._on_model)
        listen(self, self._panel.form.image.changed, self._on_image)
        for name in ("current_step", "order", "ndisplay"):
            listen(self, self._viewer.dims.events.emitters[name], self._on_dims)
        listen(self, self._viewer.layers.selection.events.active, self.tools.on_active)
        listen(self, self._viewer.layers.events.removed, self._on_removed)
        marks = self._marks
        self.destroyed.connect(lambda: marks.release())
