"""The panel under Plugins > LatentFM: choose an image, draw samples, see the layers."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakSet

from napari.layers import Image
from napari.utils.notifications import show_error, show_warning
from psygnal import Signal
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QScrollArea

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ImageError, LatentFMError
from napari_latentfm import preferences
from napari_latentfm.annotation.keeper import keeper_of
from napari_latentfm.background.job import Outcome, Request, Result, Run, Update, explain, job_of
from napari_latentfm.background.signals import abandon, listen
from napari_latentfm.background.turns import Turns
from napari_latentfm.layers.planes import Plane
from napari_latentfm.layers.specs import CALIBRATED_ROLES
from napari_latentfm.layers.stacking import keeping_active
from napari_latentfm.layers.stacks import PlaneStack
from napari_latentfm.layers.update import AskAboutEdits, is_result
from napari_latentfm.results.objects_job import objects_request
from napari_latentfm.results.session import session_of
from napari_latentfm.results.show import Drawn, last_drawn, show_drawn_steps
from napari_latentfm.results.stack_job import request_for
from napari_latentfm.sampling.form import CALIBRATED, TILES, VISIBLE, SamplingForm
from napari_latentfm.sampling.open_panels import open_panel_of
from napari_latentfm.sampling.status import describe, warning
from napari_latentfm.sampling.tiled import TiledPlane, show_tiles, tiled_plane, tiled_request
from napari_latentfm.sampling.viewport import (
    FieldRun,
    VisibleField,
    field_layer,
    field_request,
    keeping_view,
    visible_field,
)
from napari_latentfm.ui.area import fill_dock
from napari_latentfm.ui.choices import FOLDER_CHOICE
from napari_latentfm.ui.questions import ask_about_edits

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    import napari

    from latentfm_core.prediction.large import LargeResult
    from latentfm_core.prompts import Prompt
    from latentfm_core.types import SampleSet

logger = logging.getLogger(__name__)

SECTION = "sampling"
"""Of the preferences."""
RECALLED = ("n_samples", "steps", "solver", "seed")

Ending = Literal["done", "cancelled", "failed"]


Part = Plane | PlaneStack | VisibleField | TiledPlane
"""What of a layer is segmented."""


@dataclass(frozen=True)
class Place:
    """Where an object is that was pointed at.

    Attributes
    ----------
    layer, plane
        The plane of an image.
    label
        Label with which the object is written into the annotation; None: that of its class.
    """

    layer: Image
    plane: Plane
    label: int | None = None


@dataclass(frozen=True)
class _Target:
    """What a run is about: the plane of a layer, a part or more of them, and the model.

    The data are those at the start: what another array looks like, the run cannot tell.
    """

    layer: Image
    plane: Part
    model: str | Path
    data: Any
    label: int | None = None
    keeps_tool: bool = False
    """Whether the layer in hand stays in hand when the result is shown."""


class SamplingPanel(QScrollArea):
    """Draws samples of an image layer and shows them as layers.

    Parameters
    ----------
    napari_viewer
        The viewer; its images are offered, and the results are added to it.

    Attributes
    ----------
    finished
        Emitted in the GUI thread after every run, with ``"done"``, ``"cancelled"`` or
        ``"failed"``; the panel is idle then.
    form
        The controls.
    job
        The viewer's job.
    ask_about_edits
        Answers what to do with edited layers; by default a question on screen.
    last_error
        Message of the error that ended the last run, or None.
    """

    finished = Signal(str)

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._target: _Target | None = None
        self._session = session_of(napari_viewer)
        self._maps_only = False
        self._warned: WeakSet[Image] = WeakSet()
        self._runs: list[Run | Turns[bool]] = []
        self.job = job_of(napari_viewer)
        self.ask_about_edits: AskAboutEdits = partial(ask_about_edits, parent=self)
        self.last_error: str | None = None
        self.form = SamplingForm(self._image_choices)
        self.form.run_button.changed.connect(self.run)
        self.form.cancel_button.changed.connect(self.cancel)
        self.form.unload_button.changed.connect(self.unload)
        self.form.confidence.changed.connect(self._summarise_again)
        self.form.restore(preferences.get(SECTION))
        self._lay_out()
        self._follow_viewer()
        self._keeper = keeper_of(self._session, self)
        self._offer_planes()
        self._suggest()
        open_panel_of(self._session).enter(self)

    @property
    def running(self) -> bool:
        """Whether a run of this panel has not ended yet."""
        return bool(self._runs)

    def run(self) -> None:
        """Start a run with the settings on screen; `finished` tells when it has ended."""
        if self._is_ready():
            try:
                layer, plane = self._choose_plane()
                model = self.form.model_source()
                request = _request(layer, plane, model, self.form.settings())
                self._start(_Target(layer, plane, model, layer.data), request)
            except LatentFMError as error:
                self._fail(error)
            else:
                preferences.put(SECTION, self.form.state())

    def run_prompt(self, prompt: Prompt, place: Place | None = None) -> None:
        """Start a run for one object; `finished` tells when it has ended.

        Parameters
        ----------
        prompt
            Which object is meant, in pixels of the plane: ``(row, column)``, whatever the
            scale of the layer.
        place
            Where it is; None: on the plane on screen of the chosen image.
        """
        if self._is_ready():
            try:
                at = place or self.place_on_screen()
                model = self.form.model_source()
                request = request_for(at.layer, at.plane, model, self.form.settings())
                # Strokes have a way of their own, which notes them in the provenance.
                rest = replace(prompt, strokes=None)
                request = replace(request, prompt=rest, strokes=prompt.strokes)
                self._start(self._target_at(at, model), request)
            except LatentFMError as error:
                self._fail(error)
            else:
                preferences.put(SECTION, self.form.state())

    def run_objects(self, prompts: Mapping[int, Prompt], place: Place) -> None:
        """Start a run for several objects of one plane in shared batches.

        Parameters
        ----------
        prompts
            Which objects are meant, by label.
        place
            Their plane, and the label of the object whose result is shown; the result holds the
            others, see `ObjectsRun`.
        """
        if self._is_ready():
            shown = min(prompts) if place.label is None else place.label
            try:
                model, settings = self.form.model_source(), self.form.settings()
                request = objects_request(place.layer, place.plane, model, settings, prompts, shown)
                self._start(self._target_at(place, model), request)
            except LatentFMError as error:
                self._fail(error)

    def show_samples(self, samples: SampleSet, model: str | Path, place: Place) -> None:
        """Show samples again that `model` drew before; `finished` tells when they are there."""
        if self._is_ready():
            try:
                settings = SamplingConfig(**samples.settings)
                request = request_for(place.layer, place.plane, model, settings)
                request = replace(request, samples=samples)
                self._start(self._target_at(place, model), request)
            except LatentFMError as error:
                self._fail(error)

    def place_on_screen(self) -> Place:
        """Return the plane on screen of the chosen image.

        Raises
        ------
        ImageError
            If there is none.
        """
        layer = self.form.image.value
        if layer is None:
            raise ImageError(_NO_IMAGE)
        return Place(layer, self.form.plane_choice.on_screen(layer, self._viewer.dims))

    def _target_at(self, place: Place, model: str | Path) -> _Target:
        layer = place.layer
        return _Target(layer, place.plane, model, layer.data, place.label, keeps_tool=True)

    def _is_ready(self) -> bool:
        """Return whether a run can start, and forget the error of the last one."""
        if self.running:
            return False
        self.last_error = None
        with self.form.confidence.changed.blocked():
            self.form.refresh_card()
        return True

    def _recall(self, settings: dict[str, Any]) -> None:
        """Sample the next time as an annotation that was opened again was made."""
        if not self.running:
            self.form.restore({name: settings.get(name) for name in RECALLED if name in settings})

    def _take_model(self, folder: Path) -> None:
        """Sample the next time with a model that was learned in this window."""
        if not self.running:
            self.form.restore({"folder": str(folder), "model": FOLDER_CHOICE})

    def _summarise_again(self) -> None:
        """Show the last samples with the confidence that is chosen now, if they are there."""
        last = last_drawn(self._session)
        if last is None or self.running:
            return
        target = _Target(last.layer, last.plane, last.model, last.layer.data, last.label)
        result = last.result
        wanted = self.form.confidence.value == CALIBRATED
        try:
            if self.form.model_source() != target.model or wanted == result.summary.calibrated:
                return
            settings = SamplingConfig(**result.samples.settings).model_copy(
                update={"calibrated": wanted}
            )
            request = request_for(last.layer, last.plane, last.model, settings, result)
            self._start(target, request, again=True)
        except LatentFMError as error:
            self._fail(error)

    def _start(self, target: _Target, request: Request, again: bool = False) -> None:
        run = self.job.start(request)
        run.progressed.connect(self._on_progress)
        run.ended.connect(self._on_end)
        self._runs.append(run)
        self._target = target
        self._maps_only = again
        self.form.set_running(True)
        self.form.status.value = "Starting…"

    def cancel(self) -> None:
        """Cancel the run; it ends within one ODE step and changes no layer."""
        for run in list(self._runs):
            self.form.cancel_button.enabled = False
            self.form.status.value = "Cancelling…"
            run.cancel()

    def unload(self) -> None:
        """Give the memory of the model back; results stay."""
        try:
            held = self.job.unload()
        except LatentFMError as error:
            self.form.status.value = str(error)
            return
        self.form.status.value = "Model unloaded." if held else "No model was loaded."

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Give up a run when the panel is taken out of its dock, which sends no close event."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.release()

    def _lay_out(self) -> None:
        fill_dock(self, "LatentFM sampling", self.form.native)
        self.form.native.layout().addStretch(1)

    def _follow_viewer(self) -> None:
        layers = self._viewer.layers
        for name in ("inserted", "removed", "reordered"):
            listen(self, layers.events.emitters[name], self._refresh_images)
        if "renamed" in layers.events.emitters:
            listen(self, layers.events.renamed, self._refresh_images)
        else:  # napari before 0.7 passes the events of its layers on
            listen(self, layers.events, self._on_any_event)
        listen(self, layers.events.removed, self._on_layer_removed)
        listen(self, layers.selection.events.active, self._on_active_layer)
        self.form.image.changed.connect(self._offer_planes)
        for name in ("order", "ndisplay", "ndim", "axis_labels"):
            listen(self, self._viewer.dims.events.emitters[name], self._offer_planes)
        listen(self, self._session.changed, self._on_reviewed)
        listen(self, self._session.recalled, self._recall)
        listen(self, self._session.model_kept, self._take_model)
        # The window's end deletes the panel without a word; nothing may report to it then.
        runs = self._runs
        self.destroyed.connect(lambda: abandon(runs))

    def _image_choices(self, _widget: Any) -> list[tuple[str, Image]]:
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image)]
        return [(layer.name, layer) for layer in images if not is_result(layer)]

    def _refresh_images(self) -> None:
        # The box knows its choice by name only, and would lose it when the layer is renamed.
        chosen = self.form.image.value
        self.form.image.reset_choices()
        if chosen is not None and chosen in self.form.image.choices:
            self.form.image.value = chosen
        if not self.running:
            self._suggest()

    def _on_any_event(self, event: Any) -> None:
        if event.type == "name":
            self._refresh_images()

    def _suggest(self) -> None:
        if self.form.image.value is None:
            self.form.status.value = _NO_IMAGE
        elif self.form.status.value in ("", _NO_IMAGE):
            self.form.status.value = _READY

    def _offer_planes(self, _event: Any = None) -> None:
        self.form.plane_choice.offer(self.form.image.value, self._viewer.dims)

    def _on_active_layer(self, event: Any) -> None:
        if not self.running and event.value in self.form.image.choices:
            self.form.image.value = event.value

    def _on_layer_removed(self, event: Any) -> None:
        if self._target is not None and event.value is self._target.layer:
            self.cancel()

    def _choose_plane(self) -> tuple[Image, Part]:
        layer = self.form.image.value
        if layer is None:
            raise ImageError(_NO_IMAGE)
        if self.form.field.value == VISIBLE:
            return layer, visible_field(self._viewer, layer)
        if self.form.field.value == TILES:
            folder = self.form.results.line_edit.value
            return layer, tiled_plane(self._viewer, layer, self.form.tiling(), folder)
        return layer, self.form.plane_choice.choose(layer, self._viewer.dims)

    def _on_progress(self, update: Update) -> None:
        self.form.status.value = update.text
        self.form.show_progress(update.done, update.total)

    def _on_end(self, outcome: Outcome) -> None:
        target, self._target = self._target, None
        self._runs.clear()
        if outcome.error is not None:
            self._fail(outcome.error)
        elif target is None or target.layer not in self._viewer.layers or _is_empty(outcome):
            self._finish("cancelled", _CANCELLED)
        elif target.layer.data is not target.data:
            self._fail(ImageError(f"{target.layer.name!r} was changed during the run. Run again."))
        elif outcome.written is not None:
            self._show_tiles(target, outcome.written)
        elif outcome.result is not None:
            self._show(target, outcome.result)

    def _show(self, target: _Target, result: Result) -> None:
        self._target = target
        self.form.status.value = "Showing the layers…"
        self.form.show_progress(0, 0)
        steps = self._place_kept(target, result)
        done = partial(self._on_placed, target.layer, result)
        failed = partial(self._on_not_placed, result)
        self._runs.append(Turns(steps, done, failed))

    def _on_placed(self, layer: Image, result: Result, placed: bool | None) -> None:
        self._target = None
        self._runs.clear()
        self.form.device_label.value = result.device
        if placed:
            self._warn_once(layer, result)
            self._finish("done", self._told())
        elif placed is None:
            self._finish("cancelled", _CANCELLED)
        else:
            self._finish("cancelled", "Your layers were kept; the new result was dropped.")

    def _on_not_placed(self, result: Result, error: Exception) -> None:
        self._target = None
        self._runs.clear()
        self._fail(explain(error, SamplingConfig(**result.samples.settings)))

    def _warn_once(self, layer: Image, result: Result) -> None:
        """Warn of an image that is unlike the training images, the first time it is seen."""
        text = warning(result)
        if text and layer not in self._warned:
            self._warned.add(layer)
            show_warning(f"{layer.name}: {text}")

    def _told(self) -> str:
        """Return what is said of the result under review."""
        last = last_drawn(self._session)
        return _READY if last is None else describe(last.layer, last.plane, last.result)

    def _on_reviewed(self) -> None:
        """Tell the figures of what is on screen now, as after strokes."""
        if not self.running and self.form.image.value is not None:
            self.form.status.value = self._told()

    def _place_kept(self, target: _Target, result: Result) -> Generator[None, None, bool]:
        """Place a result; after a prompt the tool in hand and the view stay as they are."""
        if not target.keeps_tool:
            return (yield from self._place(target, result))
        with keeping_active(self._viewer), keeping_view(self._viewer):
            return (yield from self._place(target, result))

    def _place(self, target: _Target, result: Result) -> Generator[None, None, bool]:
        if isinstance(target.plane, TiledPlane):
            raise TypeError("the result of tiles is written, not held")
        if isinstance(target.plane, VisibleField):
            return (yield from self._show_field(target, target.plane, result))
        roles = CALIBRATED_ROLES if self._maps_only else None
        drawn = Drawn(target.layer, target.plane, target.model, result, target.label)
        return (yield from show_drawn_steps(self._viewer, drawn, self.ask_about_edits, roles))

    def _show_field(
        self, target: _Target, field: VisibleField, result: Result
    ) -> Generator[None, None, bool]:
        if not isinstance(result, FieldRun):
            raise TypeError("the result of a visible field is a FieldRun")
        with keeping_view(self._viewer):
            crop = field_layer(self._viewer, target.layer, field, result.pixels)
            # The viewer selects a new layer, but the next field is one of the same image.
            self.form.image.value = target.layer
            drawn = Drawn(crop, field.own_plane, target.model, result)
            return (yield from show_drawn_steps(self._viewer, drawn, self.ask_about_edits))

    def _show_tiles(self, target: _Target, written: LargeResult) -> None:
        if not isinstance(target.plane, TiledPlane):
            raise TypeError("what was written belongs to tiles")
        chosen = self.form.image.value
        try:
            show_tiles(self._viewer, target.layer, target.plane, written)
        except LatentFMError as error:
            self._fail(error)
            return
        self.form.image.value = chosen
        self.form.show_device()
        drawn = written.drawn.record
        self._finish(
            "done",
            f"{written.drawn.tiles} tiles, {len(drawn.seeds)} samples in {drawn.seconds:.0f} s, "
            f"seed {drawn.seeds[0]}, {drawn.model_id}. Written to {written.folder}.",
        )

    def _fail(self, error: LatentFMError) -> None:
        self.last_error = str(error)
        show_error(self.last_error)
        self._finish("failed", self.last_error)

    def _finish(self, ending: Ending, text: str) -> None:
        self.form.set_running(False)
        if ending == "done":
            self.form.show_done()
        self.form.status.value = text
        self.finished.emit(ending)

    def release(self) -> None:
        """Give up what runs, since nobody sees the panel any more."""
        if self.running:
            abandon(self._runs)
            self._runs.clear()
            self._target = None
            self._finish("cancelled", _CANCELLED)


_READY = "Ready."
_CANCELLED = "Cancelled; nothing was changed."
_NO_IMAGE = "Open an image first (File > Open File, or File > Open Sample > LatentFM)."


def _is_empty(outcome: Outcome) -> bool:
    return outcome.result is None and outcome.written is None


def _request(layer: Image, plane: Part, model: str | Path, settings: SamplingConfig) -> Request:
    if isinstance(plane, VisibleField):
        return field_request(layer, plane, model, settings)
    if isinstance(plane, TiledPlane):
        return tiled_request(layer, plane, model, settings)
    return request_for(layer, plane, model, settings)
