"""One run of a sampling target: first its background job, then its layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from psygnal import Signal

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ImageError, LatentFMError
from napari_latentfm.background.job import Outcome, Run, SamplingJob, Update, explain
from napari_latentfm.background.turns import Turns
from napari_latentfm.layers.edits import AskAboutEdits
from napari_latentfm.results.session import session_of
from napari_latentfm.sampling.target import SamplingTarget

if TYPE_CHECKING:
    import napari

Ending = Literal["done", "cancelled", "failed"]

CANCELLED = "cancelled; nothing was changed."
LAYERS_KEPT = "Your layers were kept; the new result was discarded."

R = TypeVar("R")


@dataclass(frozen=True)
class RunEnd:
    """End of a run.

    Attributes
    ----------
    ending, text
        Kind of ending, and what to tell the user.
    device
        The device that drew the result, "" if it is not known.
    """

    ending: Ending
    text: str
    error: LatentFMError | None = None
    device: str = ""


class TargetRun(Generic[R]):
    """Runs a target and shows its result.

    Parameters
    ----------
    ask
        Decides about result layers that the user has edited.

    Attributes
    ----------
    ended
        Emitted in the GUI thread exactly once with a `RunEnd`, unless the run was abandoned.
    """

    progressed = Signal(Update)
    ended = Signal(RunEnd)

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        target: SamplingTarget[R],
        settings: SamplingConfig,
        ask: AskAboutEdits,
    ) -> None:
        self._viewer, self.target = viewer, target
        self._settings, self._ask = settings, ask
        # The run does not notice what another array in the layer looks like.
        self._data: Any = target.layer.data
        self._stage: Run[R] | Turns[bool | None] | None = None

    def start(self, job: SamplingJob) -> None:
        """Start the run.

        Raises
        ------
        LatentFMError
            If the target cannot be segmented, or another run has not ended yet.
        """
        run = job.start(self.target.request(self._settings))
        run.progressed.connect(self._on_progress)
        run.ended.connect(self._on_drawn)
        self._stage = run

    def cancel(self) -> None:
        """Cancel the run; it ends within one ODE step and changes no layer."""
        if self._stage is not None:
            self._stage.cancel()

    def abandon(self) -> None:
        """Cancel the run without any further signal."""
        self.progressed.disconnect()
        self.ended.disconnect()
        if self._stage is not None:
            self._stage.abandon()

    def _on_progress(self, update: Update) -> None:
        self.progressed.emit(update)

    def _on_drawn(self, outcome: Outcome[R]) -> None:
        layer, result = self.target.layer, outcome.result
        if outcome.error is not None:
            self._fail(outcome.error)
        elif layer not in self._viewer.layers or result is None:
            self._end(RunEnd("cancelled", CANCELLED))
        elif layer.data is not self._data:
            self._fail(ImageError(f"{layer.name!r} was changed during the run. Run again."))
        else:
            self.progressed.emit(Update("showing the layers…"))
            steps = self.target.show(self._viewer, result, self._ask)
            self._stage = Turns(steps, partial(self._on_shown, result), self._on_not_shown)

    def _on_shown(self, result: R, shown: bool | None) -> None:
        target, device = self.target, self.target.device(result)
        if shown:
            text = target.status(session_of(self._viewer), result)
            self._end(RunEnd("done", text, device=device))
        else:
            text = CANCELLED if shown is None else LAYERS_KEPT
            self._end(RunEnd("cancelled", text, device=device))

    def _on_not_shown(self, error: Exception) -> None:
        self._fail(explain(error, self._settings))

    def _fail(self, error: LatentFMError) -> None:
        self._end(RunEnd("failed", str(error), error))

    def _end(self, end: RunEnd) -> None:
        self._stage = None
        self.ended.emit(end)
