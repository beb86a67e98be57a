"""Meters and reports of the optimisation loop."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from latentfm_core.training.step_timer import Part


@dataclass
class EpochReport:
    """Averages of one epoch.

    Attributes
    ----------
    stage, epoch, step
        Position; `epoch` counts from 1.
    learning_rate
        At the end of the epoch.
    seconds, images_per_second
        Wall time and rate of the optimisation.
    shares
        How that time was spent: data, augmentation, network and optimiser (with the average
        of the weights), in shares that add up to 1.
    epochs, seconds_left
        Epochs of the stage unless a time budget ends it earlier, and an estimate of the time
        left for it, as in `StepReport`.
    """

    stage: str
    epoch: int
    step: int
    losses: dict[str, float]
    learning_rate: float
    seconds: float
    images_per_second: float
    shares: dict[Part, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    epochs: int = 0
    seconds_left: float = 0.0

    def share_outside(self) -> float:
        """Return the share of the time not spent in the network."""
        return sum(share for part, share in self.shares.items() if part != "network")


@dataclass(frozen=True)
class StepReport:
    """Progress of a stage after a step.

    Attributes
    ----------
    step, total
        Steps finished, and steps of the stage unless a time budget ends it earlier.
    seconds, seconds_left
        Optimisation time of the stage so far, and an estimate of what is left: the work of
        a step is assumed to grow with the pixels of its images.
    """

    stage: str
    step: int
    total: int
    loss: float
    seconds: float
    seconds_left: float


def ignore(_: object) -> None:
    """Do nothing with a report."""


@dataclass
class EpochSums:
    """Sums of an epoch so far, and the learning rate of its last step; stored in checkpoints."""

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    learning_rate: float = 0.0


class Meter:
    """Averages of the losses, and images per second of optimisation.

    Parameters
    ----------
    sums
        Sums of an interrupted epoch, to continue from.
    """

    def __init__(self, sums: EpochSums) -> None:
        self._sums = sums
        self._latest: deque[float] = deque(maxlen=20)

    @property
    def seconds(self) -> float:
        """Wall time of the optimisation."""
        return self._sums.seconds

    def add(self, losses: dict[str, float], images: int, seconds: float) -> None:
        """Add a step."""
        sums = self._sums
        sums.steps += 1
        sums.images += images
        sums.seconds += seconds
        for key, value in losses.items():
            sums.losses[key] = sums.losses.get(key, 0.0) + value
        self._latest.append(losses["loss"])

    def latest(self) -> float:
        """Return the mean loss of the last steps."""
        return float(np.mean(self._latest))

    def last_loss(self) -> float:
        """Return the loss of the last step; NaN before the first one since the run began."""
        return self._latest[-1] if self._latest else float("nan")

    def averages(self) -> dict[str, float]:
        """Return the mean of each named loss."""
        return {key: value / self._sums.steps for key, value in self._sums.losses.items()}

    def rate(self) -> float:
        """Return images per second."""
        return self._sums.images / max(self.seconds, 1e-9)
