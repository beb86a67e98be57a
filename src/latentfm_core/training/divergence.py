"""Detect diverging stages, even while the loss is still finite."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

import torch

from latentfm_core.config import StageConfig
from latentfm_core.errors import LatentFMError

WINDOW = 10
"""Steps in the median loss that is checked; a single bad batch is not divergence."""
EXPLODED = 20.0
"""Multiple of the untrained network's loss at which a stage is aborted."""
SUSPECT = 3.0
"""Multiple above which no checkpoint is written."""
FAILED = 2.0
"""Multiple above which a finished stage has learned nothing."""
JUDGED_FROM = 20
"""Shortest finished stage, in steps, that is checked."""


class Diverged(LatentFMError):
    """The loss is NaN or infinite, or far above its first value.

    Attributes
    ----------
    stage
        Name of the stage, if there are several.
    learning_rate
        Suggested rate; 0 if there is none.
    """

    def __init__(self, message: str, stage: str = "", learning_rate: float = 0.0) -> None:
        super().__init__(message)
        self.stage = stage
        self.learning_rate = learning_rate


class DivergenceWatch:
    """Compares the loss of a stage with that of its first step.

    Parameters
    ----------
    first_loss
        Loss of the first step, if the stage is resumed.
    """

    def __init__(
        self, stage: str, settings: StageConfig, dtype: torch.dtype, first_loss: float | None
    ) -> None:
        self.first_loss = first_loss
        self._stage, self._settings, self._dtype = stage, settings, dtype
        self._latest: deque[float] = deque(maxlen=WINDOW)

    @property
    def healthy(self) -> bool:
        """Whether the state of the network is worth a checkpoint."""
        return self._level() <= SUSPECT

    def check_finite(self, loss: float, step: int) -> None:
        """Raise `Diverged` for a NaN or infinite loss, before it reaches the weights."""
        if not math.isfinite(loss):
            raise self._error(f"is not finite at step {step}", numbers=True)

    def add(self, loss: float, step: int) -> None:
        """Record a loss; raise `Diverged` if the last ones are far above the first one."""
        if self.first_loss is None:
            self.first_loss = loss
        self._latest.append(loss)
        if len(self._latest) == WINDOW and self._level() > EXPLODED:
            raise self._error(
                f"rose from {self.first_loss:.3g} to {median(self._latest):.3g} by step {step}"
            )

    def check_end(self, step: int) -> None:
        """Raise `Diverged` if the loss of a stage ended far above its first value."""
        if step >= JUDGED_FROM and len(self._latest) == WINDOW and self._level() > FAILED:
            raise self._error(
                f"was {self.first_loss:.3g} at the first step and is {median(self._latest):.3g} "
                f"at the last one, {step}"
            )

    def _level(self) -> float:
        if not self.first_loss or not self._latest:
            return 0.0
        return median(self._latest) / self.first_loss

    def _error(self, what: str, *, numbers: bool = False) -> Diverged:
        rate = self._settings.learning_rate
        precision = ""
        if numbers and self._dtype != torch.float32:
            precision = ", or the precision too low (--precision fp32)"
        return Diverged(
            f"Stage {self._stage} diverges: its loss {what}. The learning rate {rate:g} is too "
            f"high{precision}.",
            self._stage,
            float(f"{rate / 10:.1g}"),
        )
