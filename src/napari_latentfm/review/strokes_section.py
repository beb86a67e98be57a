"""Section for strokes on certain pixels, which all samples follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from psygnal import Signal
from qtpy.QtWidgets import QCheckBox, QProgressBar, QVBoxLayout, QWidget

from latentfm_core.annotation.provenance import CorrectionInfo
from latentfm_core.config import SamplingConfig
from latentfm_core.correction.strokes import BACKGROUND, FOREGROUND
from latentfm_core.errors import LatentFMError
from napari_latentfm import preferences
from napari_latentfm.background.image_request import Result
from napari_latentfm.background.job import Update, job_of
from napari_latentfm.background.signals import abandon, listen
from napari_latentfm.layers.edits import AskAboutEdits, EditedLayers
from napari_latentfm.layers.painting import paint_where
from napari_latentfm.layers.strokes import take_brush
from napari_latentfm.notices import show_error
from napari_latentfm.results.session import Reviewed, ReviewSession
from napari_latentfm.review.redraw_target import READY, RedrawTarget, describe
from napari_latentfm.review.stroke_brushes import StrokeBrushes
from napari_latentfm.review.stroke_layer import painted_strokes, repaint, stroke_layer
from napari_latentfm.review.stroke_watch import StrokeWatch
from napari_latentfm.sampling.status import foreground
from napari_latentfm.sampling.target_run import RunEnd, TargetRun
from napari_latentfm.ui.common import push_button, show_progress, wrapped_text
from napari_latentfm.ui.questions import ask_about_edits

NOTHING = "No samples yet. Run the model to correct its samples."
SECTION = "strokes"


class StrokesSection(QWidget):
    """Strokes on the image under review, and the samples that agree with them.

    Attributes
    ----------
    progressed
        Emitted with the progress of a redraw.
    finished
        Emitted in the GUI thread after every redraw, with ``"done"``, ``"cancelled"`` or
        ``"failed"``.
    """

    progressed = Signal(Update)
    finished = Signal(str)

    def __init__(self, session: ReviewSession) -> None:
        super().__init__()
        self._session = session
        self._job = job_of(session.viewer)
        self._runs: list[TargetRun[Result]] = []
        self._again = False
        self.ask_about_edits: AskAboutEdits = partial(ask_about_edits, parent=self)
        self.watch = StrokeWatch(self)
        self.watch.paused.connect(self._on_pause)
        self._lay_out()
        listen(self, session.changed, self._on_changed)
        listen(self, session.viewer.layers.events.inserted, self._on_inserted)
        runs = self._runs
        self.destroyed.connect(lambda: abandon(runs))
        self._on_changed()

    def key_actions(self) -> dict[str, Callable[[], None]]:
        """Return the actions by napari key string."""
        return {
            "G": self.paint_foreground,
            "Shift-G": self.paint_background,
            "K": self.redraw,
        }

    def release(self) -> None:
        """Cancel the run and stop following the strokes."""
        self.watch.timer.stop()
        if self.running:
            abandon(self._runs)
            self._runs.clear()
            self._set_running(False)
        self.watch.follow(None)

    @property
    def running(self) -> bool:
        """Whether samples are being drawn."""
        return bool(self._runs)

    def paint_foreground(self) -> None:
        """Activate the brush for certain foreground."""
        self._paint(FOREGROUND)

    def paint_background(self) -> None:
        """Activate the brush for certain background."""
        self._paint(BACKGROUND)

    def redraw(self) -> None:
        """Draw new samples that agree with the strokes."""
        reviewed = self._session.current
        if reviewed is None:
            return
        if self._session.is_prompted:
            self._session.redraw_asked.emit()
            return
        if self.running:
            # The running sampling uses older strokes.
            self._again = True
            self.cancel()
            return
        target = RedrawTarget(reviewed, painted_strokes(self._session))
        settings = SamplingConfig(**reviewed.result.samples.settings)
        run = TargetRun(self._session.viewer, target, settings, self._ask)
        run.progressed.connect(self._on_progress)
        run.ended.connect(self._on_end)
        try:
            run.start(self._job)
        except LatentFMError as error:
            self._fail(error)
            return
        self._runs.append(run)
        self._set_running(True)
        self.progressed.emit(Update("starting…"))

    def _ask(self, names: Sequence[str]) -> EditedLayers:
        return self.ask_about_edits(names)

    def cancel(self) -> None:
        """Cancel the run; it ends within one ODE step."""
        self.watch.timer.stop()
        for run in list(self._runs):
            run.cancel()

    def clear(self) -> None:
        """Remove all strokes on the plane, as one undo step of their layer."""
        layer, reviewed = stroke_layer(self._session, create=False), self._session.current
        if layer is None or reviewed is None:
            return
        window = [
            slice(0, side) if at is None else slice(at, at + 1)
            for at, side in zip(reviewed.plane.index, layer.data.shape, strict=True)
        ]
        painted = layer.data[tuple(window)] > 0
        paint_where(layer, window, painted, np.zeros(painted.shape, layer.data.dtype))

    def recall(self, corrections: Sequence[CorrectionInfo]) -> None:
        """Restore the strokes of an annotation; the samples follow."""
        reviewed = self._session.current
        if reviewed is None or not any(info.runs for info in corrections):
            return
        active = self._session.viewer.layers.selection.active
        layer = stroke_layer(self._session)
        if layer is not None:
            self._follow(reviewed)
            repaint(layer, reviewed, corrections)
            self._session.viewer.layers.selection.active = active

    def _paint(self, label: int) -> None:
        layer, reviewed = stroke_layer(self._session), self._session.current
        if layer is None or reviewed is None:
            self._show_message(NOTHING)
            return
        self._follow(reviewed)
        take_brush(self._session.viewer, layer, label)
        self._show_message(READY.format(foreground(self.brushes.names)))

    def _on_inserted(self, _event: Any = None) -> None:
        """Follow the strokes of a layer that another tool added."""
        if self._session.current is not None:
            self._follow(self._session.current)

    def _follow(self, reviewed: Reviewed) -> None:
        """Follow the strokes of the plane under review."""
        self.watch.follow(stroke_layer(self._session, create=False), reviewed.plane.index)

    def _on_pause(self) -> None:
        # The Point section handles strokes of a prompted object.
        if self._session.is_prompted:
            return
        if (self._job.busy or self._session.renewing) and not self.running:
            self.watch.repeat()  # after the other run, which may show a prompted object
        else:
            self.redraw()

    def _on_follow(self, on: bool) -> None:
        self.watch.enabled = on
        preferences.put(SECTION, {"follow": on})

    def _on_changed(self) -> None:
        reviewed = self._session.current
        self.setEnabled(reviewed is not None)
        samples = None if reviewed is None else reviewed.result.samples
        self.brushes.offer(("foreground",) if samples is None else samples.classes)
        if reviewed is None:
            self.cancel()
            self.watch.follow(None)
            self._show_message(NOTHING)
            return
        self._follow(reviewed)
        if not self.running:
            self._show_message(describe(reviewed))

    def _on_progress(self, update: Update) -> None:
        self._show_message(update.text)
        show_progress(self.progress, update.done, update.total)
        self.progressed.emit(update)

    def _on_end(self, end: RunEnd) -> None:
        target, again = self._runs[0].target, self._again
        self._runs.clear()
        self._again = False
        reviewed = self._session.current
        if again and reviewed is not None and reviewed.layer is target.layer:
            self._set_running(False)
            self.redraw()
        elif end.error is not None:
            self._fail(end.error)
        else:
            self._finish(end.ending, end.text)

    def _fail(self, error: LatentFMError) -> None:
        reviewed = self._session.current
        show_error(str(error) if reviewed is None else f"{reviewed.layer.name}: {error}")
        self._finish("failed", str(error))

    def _finish(self, ending: str, text: str) -> None:
        self._set_running(False)
        self._show_message(text)
        self.finished.emit(ending)

    def _set_running(self, running: bool) -> None:
        self._session.renewing = running
        self._session.work.set_running(self.cancel, running)
        self.redraw_button.setEnabled(not running)
        show_progress(self.progress, 0, 1)

    def _show_message(self, text: str) -> None:
        self.status.setText(text[:1].upper() + text[1:])

    def _lay_out(self) -> None:
        self.brushes = StrokeBrushes()
        self.brushes.chosen.connect(self._paint)
        self.follow = QCheckBox("Draw samples after each stroke")
        self.follow.setChecked(bool(preferences.get(SECTION).get("follow", True)))
        self.follow.setToolTip("Otherwise, press the button below after painting.")
        self.follow.toggled.connect(self._on_follow)
        self.watch.enabled = self.follow.isChecked()
        self.redraw_button = push_button(
            "Draw samples (K)", "Draw samples that agree with the strokes.", self.redraw
        )
        self.clear_button = push_button(
            "Clear strokes",
            "Remove the strokes on this plane. Ctrl+Z restores them.",
            self.clear,
        )
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(8)
        self.progress.setToolTip("Sampling steps done.")
        self.status = wrapped_text("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.brushes)
        layout.addWidget(self.follow)
        layout.addWidget(self.redraw_button)
        layout.addWidget(self.clear_button)
        layout.addWidget(self.progress)
        layout.addWidget(self.status)
