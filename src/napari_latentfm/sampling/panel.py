"""The sampling panel: choose an image, draw samples, show them as layers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from psygnal import Signal
from qtpy.QtGui import QShowEvent

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import LatentFMError
from napari_latentfm.annotation.autosave_service import autosave_service_of
from napari_latentfm.background.gl_context import protect_canvas
from napari_latentfm.background.job import Update, job_of
from napari_latentfm.background.signals import abandon, listen
from napari_latentfm.layers.edits import AskAboutEdits, EditedLayers
from napari_latentfm.notices import show_error
from napari_latentfm.results.session import session_of
from napari_latentfm.sampling.form import SamplingForm
from napari_latentfm.sampling.form_memory import FormMemory
from napari_latentfm.sampling.image_choice import ImageChoice, image_layers
from napari_latentfm.sampling.open_panels import open_panel_of
from napari_latentfm.sampling.plane import ObjectsTarget, Place, PlaneTarget
from napari_latentfm.sampling.status_line import StatusLine
from napari_latentfm.sampling.target import SamplingTarget
from napari_latentfm.sampling.target_choice import chosen_image, chosen_target, summary_again
from napari_latentfm.sampling.target_run import CANCELLED, Ending, RunEnd, TargetRun
from napari_latentfm.ui.area import DockPanel
from napari_latentfm.ui.questions import ask_about_edits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import napari

    from latentfm_core.prompts import Prompt
    from latentfm_core.types import SampleSet


class SamplingPanel(DockPanel):
    """Draws samples of an image layer and shows them as layers.

    Parameters
    ----------
    napari_viewer
        The viewer; its images are the choices, and results are added to it.

    Attributes
    ----------
    finished
        Emitted in the GUI thread after every run, with ``"done"``, ``"cancelled"`` or
        ``"failed"``; the panel is idle then.
    ask_about_edits
        Decides about edited result layers; by default it asks the user.
    """

    started = Signal()
    finished = Signal(str)

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._session = session_of(napari_viewer)
        self._renews = False
        self._runs: list[TargetRun[Any]] = []
        self.job = job_of(napari_viewer)
        self.ask_about_edits: AskAboutEdits = partial(ask_about_edits, parent=self)
        self.last_error: str | None = None
        self.form = SamplingForm(partial(image_layers, napari_viewer))
        self.form.run_button.changed.connect(self.run)
        self.form.cancel_button.changed.connect(self._session.work.cancel)
        self.form.unload_button.changed.connect(self.unload)
        self.form.confidence.changed.connect(self._summarise_again)
        self._memory = FormMemory(self.form, self._session, self, lambda: self.running)
        self.fill("LatentFM sampling", self.form.native)
        self.form.native.layout().addStretch(1)
        self.images = ImageChoice(napari_viewer, self.form, self, lambda: self.running)
        self._status = StatusLine(self.form, self._session, lambda: self.running)
        self._follow_viewer()
        self._autosave = autosave_service_of(self._session, self)
        self._status.suggest()
        open_panel_of(self._session).enter(self)

    @property
    def running(self) -> bool:
        """Whether a run of this panel has not ended yet."""
        return bool(self._runs)

    def run(self) -> None:
        """Start a run with the settings on screen; `finished` is emitted at its end."""
        self._run(lambda: chosen_target(self.form, self._viewer), remember=True)

    def run_prompt(self, prompt: Prompt, place: Place | None = None) -> None:
        """Start a run for one object; `finished` is emitted at its end.

        Parameters
        ----------
        prompt
            The object to segment, in pixels of the plane: ``(row, column)``, whatever the
            scale of the layer.
        place
            Its plane; None for the plane on screen of the chosen image.
        """
        self._run(
            lambda: PlaneTarget.at(
                place or self.place_on_screen(), self.form.model_source(), prompt=prompt
            ),
            remember=True,
        )

    def run_objects(self, prompts: Mapping[int, Prompt], place: Place) -> None:
        """Start a run for several objects of one plane in shared batches.

        Parameters
        ----------
        place
            Their plane, and the label of the object whose result is shown; the result holds the
            others, see `ObjectsRun`.
        """
        self._run(lambda: ObjectsTarget.at(place, self.form.model_source(), prompts=prompts))

    def show_samples(self, samples: SampleSet, model: str | Path, place: Place) -> None:
        """Show earlier samples of `model` again; `finished` is emitted when they are shown."""
        target = PlaneTarget.at(place, model, samples=samples)
        self._run(lambda: target, SamplingConfig(**samples.settings))

    def run_target(self, target: SamplingTarget[Any], settings: SamplingConfig) -> None:
        """Start a run of another target; `finished` is emitted at its end."""
        self._run(lambda: target, settings)

    def _run(
        self,
        target: Callable[[], SamplingTarget[Any]],
        settings: SamplingConfig | None = None,
        remember: bool = False,
    ) -> None:
        """Start a run, with the settings on screen if none are given."""
        if self.running:
            return
        self.last_error = None
        with self.form.confidence.changed.blocked():
            self.form.refresh_card()
        try:
            self._start(target(), settings or self.form.settings())
        except LatentFMError as error:
            self._fail(error)
        else:
            if remember:
                self._memory.keep()

    def describe(self) -> None:
        """Describe what is under review again, for example when another mask is on screen."""
        if self._session.current is not None:
            self._status.describe_review()

    def place_on_screen(self) -> Place:
        """Return the plane on screen of the chosen image; raise `ImageError` if there is none."""
        layer = chosen_image(self.form)
        return Place(layer, self.form.plane_choice.on_screen(layer, self._viewer.dims))

    def _summarise_again(self) -> None:
        """Show the last samples with the chosen kind of confidence, if they are available."""
        try:
            again = None if self.running else summary_again(self.form, self._session)
            if again is not None:
                self._start(*again)
        except LatentFMError as error:
            self._fail(error)

    def _start(self, target: SamplingTarget[Any], settings: SamplingConfig) -> None:
        run = TargetRun(self._viewer, target, settings, self._ask)
        run.progressed.connect(self._on_progress)
        run.ended.connect(self._on_end)
        run.start(self.job)
        self._runs.append(run)
        self.form.set_running(True)
        self._session.work.set_running(self.cancel, True)
        self._session.renewing = self._renews = True
        self._status.show_message("starting…")
        self.started.emit()

    def _ask(self, names: Sequence[str]) -> EditedLayers:
        return self.ask_about_edits(names)

    def cancel(self) -> None:
        """Cancel the run; it ends within one ODE step and changes no layer."""
        for run in self._runs:
            self._session.work.set_running(self.cancel, False)
            self._status.show_message("cancelling…")
            run.cancel()

    def unload(self) -> None:
        """Release the memory of the model; results stay."""
        try:
            held = self.job.unload()
        except LatentFMError as error:
            self.form.status.value = str(error)
            return
        self.form.status.value = "Model unloaded." if held else "No model was loaded."

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Protect the canvas of the window in which the panel is shown."""
        super().showEvent(event)
        protect_canvas(self._viewer, self.window())

    def _follow_viewer(self) -> None:
        listen(self, self._session.work.changed, self._offer_cancel)
        self.images.refreshed.connect(self._status.suggest)
        listen(self, self._viewer.layers.events.removed, self._on_layer_removed)
        self.form.image.changed.connect(self._status.clear)
        listen(self, self._session.changed, self._status.describe_review)
        listen(self, self._session.closed, self._on_closed)
        # A closing window deletes the panel without an event; nothing may report to it then.
        runs = self._runs
        self.destroyed.connect(lambda: abandon(runs))

    def _offer_cancel(self) -> None:
        self.form.cancel_button.enabled = self._session.work.busy

    def _on_layer_removed(self, event: Any) -> None:
        if any(event.value is run.target.layer for run in self._runs):
            self.cancel()

    def _on_closed(self, layer: Image) -> None:
        """End a run of an image that is being closed, without showing how it ended."""
        if any(layer is run.target.layer for run in self._runs):
            self.release()

    def _on_progress(self, update: Update) -> None:
        self._status.show_message(update.text)
        self.form.show_update(update)

    def _on_end(self, end: RunEnd) -> None:
        layer = self._runs[0].target.layer
        self._runs.clear()
        if end.error is not None:
            self._fail(end.error)
            return
        if end.device:
            self.form.device_label.value = end.device
        elif end.ending == "done":
            self.form.show_device()
        self._finish(end.ending, end.text)
        if layer is not self.form.image.value:
            self._status.clear()  # another image was opened meanwhile, or none is left

    def _fail(self, error: LatentFMError) -> None:
        self.last_error = self._status.named(str(error))
        show_error(self.last_error)
        self._finish("failed", self.last_error)

    def _finish(self, ending: Ending, text: str) -> None:
        self.form.set_running(False)
        self._session.work.set_running(self.cancel, False)
        if self._renews:
            self._session.renewing = self._renews = False
        if ending == "done":
            self.form.show_done()
        self._status.show_message(text)
        self.finished.emit(ending)

    def release(self) -> None:
        """Cancel the run, since the panel is no longer visible."""
        if self.running:
            abandon(self._runs)
            self._runs.clear()
            self._finish("cancelled", CANCELLED)
