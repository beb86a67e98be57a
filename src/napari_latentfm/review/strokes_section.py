"""Section for strokes on certain pixels, which all samples follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Labels, Layer
from napari.utils.notifications import show_error
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from latentfm_core.annotation.provenance import CorrectionInfo
from latentfm_core.config import SamplingConfig
from latentfm_core.correction.strokes import BACKGROUND, FOREGROUND
from latentfm_core.errors import LatentFMError
from napari_latentfm import preferences
from napari_latentfm.annotation.layer import STROKE_EVENTS
from napari_latentfm.background.image_request import ImageRequest, Result
from napari_latentfm.background.job import Outcome, Run, Update, explain, job_of
from napari_latentfm.background.signals import abandon, listen
from napari_latentfm.background.turns import Turns
from napari_latentfm.layers.painting import paint_where
from napari_latentfm.layers.planes import plane_spacing, read_plane
from napari_latentfm.layers.strokes import take_brush
from napari_latentfm.layers.update import AskAboutEdits
from napari_latentfm.results.session import Reviewed, ReviewSession
from napari_latentfm.results.show import show_result_steps
from napari_latentfm.review.stroke_layer import painted_strokes, repaint, stroke_layer
from napari_latentfm.sampling.status import describe_mask, foreground
from napari_latentfm.ui.common import push_button, show_progress
from napari_latentfm.ui.questions import ask_about_edits

NOTHING = "Nothing is under review. Draw samples of an image to correct them."
READY = "Mark pixels that are certainly {} or certainly not; the samples follow."
PAUSE_MS = 400
"""Milliseconds between the last stroke and new samples."""
SECTION = "strokes"


class StrokesSection(QWidget):
    """Strokes on the image under review, and the samples that agree with them.

    Attributes
    ----------
    finished
        Emitted in the GUI thread after every redraw, with ``"done"``, ``"cancelled"`` or
        ``"failed"``.
    ask_about_edits
        Decides about result layers that were edited by hand.
    """

    finished = Signal(str)

    def __init__(self, session: ReviewSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._job = job_of(session.viewer)
        self._runs: list[Run[Result] | Turns[bool]] = []
        self._layer: Labels | None = None
        self._again = False
        self._painted: NDArray[Any] | None = None
        self._names: tuple[str, ...] = ()
        self.class_buttons: list[QPushButton] = []
        self.ask_about_edits: AskAboutEdits = partial(ask_about_edits, parent=self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PAUSE_MS)
        self._timer.timeout.connect(self._on_pause)
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
        """Cancel the run and stop listening to the strokes."""
        self._timer.stop()
        if self.running:
            abandon(self._runs)
            self._runs.clear()
            self._set_running(False)
        self._listen(None)

    @property
    def running(self) -> bool:
        """Whether samples are being drawn."""
        return bool(self._runs)

    def paint_foreground(self, label: int = FOREGROUND) -> None:
        """Activate the brush for certain foreground of a class."""
        self._paint(label)

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
        settings = SamplingConfig(**reviewed.result.samples.settings)
        read = partial(read_plane, reviewed.layer, reviewed.plane)
        strokes = painted_strokes(self._session)
        spacing, _ = plane_spacing(reviewed.layer, reviewed.plane)
        try:
            # Without strokes, the samples are those of the model alone.
            request = ImageRequest(read, reviewed.model, settings, strokes=strokes, spacing=spacing)
            run = self._job.start(request)
        except LatentFMError as error:
            self._fail(error)
            return
        run.progressed.connect(self._on_progress)
        run.ended.connect(partial(self._on_end, reviewed))
        self._runs.append(run)
        self._set_running(True)

    def cancel(self) -> None:
        """Cancel the run; it ends within one ODE step."""
        self._timer.stop()
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
            self._listen(layer)
            repaint(layer, reviewed, corrections)
            self._session.viewer.layers.selection.active = active

    def _paint(self, label: int) -> None:
        layer = stroke_layer(self._session)
        if layer is None:
            self._say(NOTHING)
            return
        self._listen(layer)
        take_brush(self._session.viewer, layer, label)
        self._say(_ready(self._names))

    def _listen(self, layer: Labels | None) -> None:
        if layer is self._layer:
            return
        if self._layer is not None:
            for name in STROKE_EVENTS:
                self._layer.events.emitters[name].disconnect(self._on_painted)
        self._layer = layer
        if layer is not None:
            self._painted = layer.data.copy()
            for name in STROKE_EVENTS:
                listen(self, layer.events.emitters[name], self._on_painted)

    def _on_inserted(self, _event: Any = None) -> None:
        """Follow the strokes of a layer that another tool added."""
        if self._session.current is not None:
            self._listen(stroke_layer(self._session, create=False))

    def _on_painted(self, _event: Any = None) -> None:
        # Undo and redo emit only ``set_data``, as does every move of a slider: after the pause, the
        # data are compared.
        if self.follow.isChecked() and self._layer is not None:
            self._timer.start()

    def _on_pause(self) -> None:
        if self._layer is None:
            return
        painted = self._layer.data
        if self._painted is None or not np.array_equal(painted, self._painted):
            self._painted = painted.copy()
            # The Point section handles strokes of a prompted object.
            if not self._session.is_prompted:
                self.redraw()

    def _on_changed(self) -> None:
        reviewed = self._session.current
        self.setEnabled(reviewed is not None)
        self._offer_classes(reviewed)
        if reviewed is None:
            self.cancel()
            self._listen(None)
            self._say(NOTHING)
            return
        self._listen(stroke_layer(self._session, create=False))
        if not self.running:
            self._say(_describe(reviewed))

    def _on_progress(self, update: Update) -> None:
        self._say(update.text)
        show_progress(self.progress, update.done, update.total)

    def _on_end(self, reviewed: Reviewed, outcome: Outcome[Result]) -> None:
        self._runs.clear()
        self._set_running(False)
        if self._again:
            self._again = False
            self.redraw()
        elif outcome.error is not None:
            self._fail(outcome.error)
        elif outcome.result is None or reviewed is not self._session.current:
            self._finish("cancelled", "Cancelled; nothing was changed.")
        else:
            self._show(replace(reviewed, result=outcome.result))

    def _show(self, reviewed: Reviewed) -> None:
        active = self._session.viewer.layers.selection.active
        steps = show_result_steps(self._session.viewer, reviewed, self.ask_about_edits)
        done = partial(self._on_shown, reviewed, active)
        self._set_running(True)
        self._say("Showing the layers…")
        self._runs.append(Turns(steps, done, partial(self._on_not_shown, reviewed)))

    def _on_shown(self, reviewed: Reviewed, active: Layer | None, placed: bool | None) -> None:
        self._runs.clear()
        self._set_running(False)
        if placed:
            # The brush stays active.
            self._session.viewer.layers.selection.active = active
        if self._again:
            self._again = False
            self.redraw()
        elif placed:
            self._finish("done", _describe(reviewed))
        elif placed is None:
            self._finish("cancelled", "Cancelled; nothing was changed.")
        else:
            self._finish("cancelled", "Your layers were kept; the new samples were dropped.")

    def _on_not_shown(self, reviewed: Reviewed, error: Exception) -> None:
        self._runs.clear()
        self._fail(explain(error, SamplingConfig(**reviewed.result.samples.settings)))

    def _fail(self, error: LatentFMError) -> None:
        show_error(str(error))
        self._finish("failed", str(error))

    def _finish(self, ending: str, text: str) -> None:
        self._set_running(False)
        self._say(text)
        self.finished.emit(ending)

    def _set_running(self, running: bool) -> None:
        self._session.renewing = running
        self.cancel_button.setEnabled(running)
        self.redraw_button.setEnabled(not running)
        show_progress(self.progress, 0, 1)

    def _say(self, text: str) -> None:
        self.status.setText(text)

    def _offer_classes(self, reviewed: Reviewed | None) -> None:
        names = ("foreground",) if reviewed is None else reviewed.result.samples.classes
        if names == self._names:
            return
        self._names = names
        name = foreground(names)
        self.not_button.setToolTip(f"Mark pixels that are certainly not {name}.")
        for button in self.class_buttons:
            button.deleteLater()
        self.class_buttons = [self._class_button(number, name) for number, name in enumerate(names)]

    def _class_button(self, number: int, name: str) -> QPushButton:
        key = " (G)" if number == 0 else ""
        button = QPushButton(f"Certain {name}{key}")
        button.setToolTip(f"Mark pixels that are certainly {name}.")
        button.clicked.connect(lambda: self.paint_foreground(FOREGROUND + number))
        self._brushes.addWidget(button, number // 2, number % 2)
        return button

    def _lay_out(self) -> None:
        self._brushes = QGridLayout()
        self.not_button = push_button(
            "Certain background (Shift+G)",
            "Mark pixels that are certainly not foreground.",
            self.paint_background,
        )
        self.follow = QCheckBox("Draw samples after each stroke")
        self.follow.setChecked(bool(preferences.get(SECTION).get("follow", True)))
        self.follow.setToolTip("Otherwise press the button below after painting.")
        self.follow.toggled.connect(lambda on: preferences.put(SECTION, {"follow": bool(on)}))
        self.redraw_button = push_button(
            "Draw samples (K)", "Draw samples that agree with the strokes.", self.redraw
        )
        self.cancel_button = push_button(
            "Cancel", "Stop within one ODE step; the layers do not change.", self.cancel
        )
        self.cancel_button.setEnabled(False)
        self.clear_button = push_button(
            "Clear strokes",
            "Remove the strokes on this plane. Ctrl+Z brings them back.",
            self.clear,
        )
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(8)
        self.progress.setToolTip("ODE steps done.")
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._brushes)
        layout.addWidget(self.not_button)
        layout.addWidget(self.follow)
        row = QHBoxLayout()
        for button in (self.redraw_button, self.cancel_button):
            row.addWidget(button)
        layout.addLayout(row)
        layout.addWidget(self.clear_button)
        layout.addWidget(self.progress)
        layout.addWidget(self.status)


def _describe(reviewed: Reviewed) -> str:
    samples = reviewed.result.samples
    if samples.strokes is None:
        return _ready(samples.classes)
    pixels = int(np.count_nonzero(samples.strokes))
    mask = describe_mask(reviewed.layer, reviewed.plane, reviewed.result)
    return (
        f"{len(samples)} samples agree with {pixels:,} painted pixels, in {samples.seconds:.1f} s. "
        f"{mask} Clear the strokes, or undo them, to go back."
    )


def _ready(classes: Sequence[str]) -> str:
    return READY.format(foreground(classes))
