"""The fine-tuning panel: train a copy of a model on accepted masks, and compare both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari.utils.notifications import show_error
from psygnal import Signal

from latentfm_core.errors import LatentFMError
from latentfm_core.finetuning.messages import Doing, Event, Step, Stopped, Validated, Verdict
from latentfm_core.finetuning.request import LearningRequest
from latentfm_core.finetuning.stopped import StoppedRun, stopped_run
from latentfm_core.worker import Failed
from napari_latentfm import preferences
from napari_latentfm.background.signals import abandon
from napari_latentfm.finetuning.form import START_TIP, STOPPED_TIP, LearningForm
from napari_latentfm.finetuning.process import LearningRun
from napari_latentfm.notices import without_options
from napari_latentfm.results.session import session_of
from napari_latentfm.ui.area import DockPanel
from napari_latentfm.ui.common import show_progress

if TYPE_CHECKING:
    import napari

SECTION = "learning"

Ending = Literal["done", "stopped", "failed"]


class LearningPanel(DockPanel):
    """Fine-tunes a model on accepted masks.

    Attributes
    ----------
    kept
        Emitted with the folder of the new model when the user keeps it.
    finished
        Emitted in the GUI thread after every run, with ``"done"``, ``"stopped"`` or
        ``"failed"``; the panel is idle then.
    overrides
        ``section.key=value`` settings that differ from the recipe, for use from Python.
    """

    kept = Signal(Path)
    finished = Signal(str)

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._runs: list[LearningRun] = []
        self._out: Path | None = None
        self.overrides: tuple[str, ...] = ()
        self.verdict: Verdict | None = None
        self.last_error: str | None = None
        self.form = LearningForm()
        self._restore_choices()
        self.fill("LatentFM learning", self.form)
        form = self.form
        form.start.clicked.connect(lambda: self.start())
        form.stop.clicked.connect(lambda: self.stop())
        form.resume.clicked.connect(lambda: self.resume())
        form.finish.clicked.connect(lambda: self.make_model())
        form.keep_new.clicked.connect(lambda: self.keep_new())
        form.keep_old.clicked.connect(lambda: self.keep_old())
        form.name.textChanged.connect(lambda _: self._on_name())
        for folder in (form.images, form.masks):
            folder.changed.connect(lambda: self._on_images())
        # A closing window deletes the panel without an event; nothing may report to it then.
        runs = self._runs
        self.destroyed.connect(lambda: abandon(runs))
        form.status.setText("Ready.")
        self._enable()

    @property
    def running(self) -> bool:
        """Whether a run of this panel has not ended yet."""
        return bool(self._runs)

    def start(self) -> None:
        """Start a run with the settings on screen; `finished` is emitted at its end."""
        self._run(lambda: self.form.request(self.overrides))

    def resume(self) -> None:
        """Continue the stopped run whose name is on screen."""
        self._run(lambda: LearningRequest(action="resume", out=self.form.out()))

    def make_model(self) -> None:
        """Make a model from the last checkpoint of the stopped run."""
        self._run(lambda: LearningRequest(action="finish", out=self.form.out()))

    def stop(self) -> None:
        """Stop the run within one training step; its checkpoint is kept."""
        for run in self._runs:
            run.stop()
            self.form.stop.setEnabled(False)
            self.form.status.setText("Stopping…")

    def keep_new(self) -> None:
        """Use the new model in the plugin."""
        if self._out is None or self.verdict is None:
            return
        out = self._out
        self._decide(f"Kept: {out.name}. Choose it as the model for sampling.")
        self.form.model.refresh()
        self.kept.emit(out)
        session_of(self._viewer).model_kept.emit(out)

    def keep_old(self) -> None:
        """Keep using the old model; nothing is deleted."""
        if self._out is not None and self.verdict is not None:
            self._decide(f"The old model stays in use. The new one is in {self._out}.")

    def _restore_choices(self) -> None:
        kept = preferences.get(SECTION)
        self.form.model.restore(kept)
        index = self.form.device.findText(str(kept.get("device", "")))
        if index >= 0:
            self.form.device.setCurrentIndex(index)
        for name in ("images", "masks"):
            if isinstance(kept.get(name), str):
                getattr(self.form, name).set_path(kept[name])
        if isinstance(kept.get("minutes"), int | float):
            self.form.minutes.setValue(float(kept["minutes"]))

    def _keep_choices(self, request: LearningRequest) -> None:
        form = self.form
        values = {
            **form.model.state(),
            "images": str(request.images),
            "masks": str(form.masks.path() or ""),
            "minutes": form.minutes.value(),
            "device": form.device.currentText(),
        }
        preferences.put(SECTION, values)

    def _run(self, chosen: Callable[[], LearningRequest]) -> None:
        """Start a run with the settings on screen, unless one of them cannot be used."""
        if self.running:
            return
        self.last_error = None
        try:
            request = chosen()
        except LatentFMError as error:
            self._fail(str(error))
            return
        if request.action == "learn":
            self._keep_choices(request)
            self.form.loss.clear()
        self.form.dice.clear()
        self.form.verdict.clear()
        self.verdict, self._out = None, request.out
        run = LearningRun(request)
        run.progressed.connect(self._on_event)
        run.ended.connect(self._on_end)
        self._runs.append(run)
        self.form.status.setText("Starting…")
        show_progress(self.form.progress, 0, 0)
        self._enable()
        run.start()

    def _on_event(self, event: Event) -> None:
        form = self.form
        stopping = not form.stop.isEnabled()
        if isinstance(event, Doing) and not stopping:
            form.status.setText(event.text)
        elif isinstance(event, Step):
            show_progress(form.progress, event.step, event.total)
            for plot in (form.loss, form.dice):
                plot.set_end(event.step)
            form.loss.add(event.step, event.loss)
            if not stopping:
                form.status.setText(_describe(event))
        elif isinstance(event, Validated) and event.step == 0:
            form.dice.set_level(event.dice, "old")
        elif isinstance(event, Validated):
            form.dice.add(event.step, event.dice)

    def _on_end(self, ending: Event) -> None:
        self._runs.clear()
        if isinstance(ending, Verdict):
            self.verdict = ending
            # The last validation need not be the best one; the final figure replaces it.
            self.form.dice.settle(ending.new)
            self.form.verdict.setText(f"{ending.text()} {_ADVICE[ending.better]}")
            self._finish("done", f"Done. The new model is {self.form.name.text()}.")
        elif isinstance(ending, Failed):
            self._fail(ending.message)
        else:
            resumable = isinstance(ending, Stopped) and ending.resumable
            self._finish("stopped", _STOPPED if resumable else _NOTHING)

    def _decide(self, text: str) -> None:
        self.verdict = None
        self.form.status.setText(text)
        self.form.suggest_name()
        self._enable()

    def _fail(self, message: str) -> None:
        message = without_options(message)
        self.last_error = message
        show_error(message)
        self._finish("failed", message)

    def _finish(self, ending: Ending, text: str) -> None:
        show_progress(self.form.progress, 0, 1)
        self.form.status.setText(text)
        self._enable()
        self.finished.emit(ending)

    def _enable(self) -> None:
        """Enable the controls that can be used now."""
        form, idle = self.form, not self.running
        for control in form.choice_widgets():
            control.setEnabled(idle)
        open_run = self._stopped_run() if idle else None
        can_resume = open_run is not None and self._is_of_images(open_run)
        form.start.setEnabled(idle and open_run is None)
        form.start.setToolTip(START_TIP if open_run is None else STOPPED_TIP)
        form.stop.setEnabled(not idle)
        form.resume.setEnabled(can_resume)
        form.finish.setEnabled(can_resume)
        for button in (form.keep_new, form.keep_old):
            button.setEnabled(idle and self.verdict is not None)

    def _on_name(self) -> None:
        self._enable()
        if self.form.status.text() == _STOPPED and not self.form.resume.isEnabled():
            self.form.status.setText("Ready.")

    def _on_images(self) -> None:
        """Do not offer to resume with other images: a resumed run continues with its own."""
        form, run = self.form, None if self.running else self._stopped_run()
        chosen = form.images.path()
        if run is not None and not self._is_of_images(run) and chosen and chosen.is_dir():
            text = _OTHER_IMAGES.format(name=form.name.text(), folder=run.images)
            if form.name.isModified():
                text += " Or change the name to start another run."
            else:
                form.suggest_name()
            form.status.setText(text)
        self._enable()

    def _stopped_run(self) -> StoppedRun | None:
        try:
            return stopped_run(self.form.out())
        except LatentFMError:
            return None

    def _is_of_images(self, run: StoppedRun) -> bool:
        return run.is_of(self.form.images.path(), self.form.masks_folder())

    def release(self) -> None:
        """Stop the run, since the panel is no longer visible. Its end is still reported."""
        if self.running:
            self.stop()
            self.form.status.setText(_CLOSING)


_ADVICE = {
    "new": "Keep the new one.",
    "old": "Keep the old one.",
    "unknown": "Compare the results of both models, then decide.",
}
_STOPPED = (
    "Stopped. Resume continues the run; Make model uses its last checkpoint. To start another "
    "run, change the name."
)
_OTHER_IMAGES = (
    "{name} is a stopped run with other images. To resume it, choose {folder} under Images, and "
    "this name."
)
_NOTHING = "Stopped before the first step; no model was made."
_CLOSING = "Stopping the training, because its panel was closed. The progress is being saved…"


def _describe(step: Step) -> str:
    left = max(0, round(step.seconds_left))
    time = f"{left // 60} min {left % 60:02d} s" if left >= 60 else f"{left} s"
    return f"Step {step.step} of {step.total}, loss {step.loss:.3f}, about {time} left."
