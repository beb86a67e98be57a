"""Work of a stage in pixels, to estimate the remaining time."""

from __future__ import annotations

from dataclasses import dataclass

from latentfm_core.config import DistillConfig, FlowConfig
from latentfm_core.training.stage import Stage


@dataclass(frozen=True)
class StageWork:
    """A stage of two parts: steps on small images first, then steps on large ones.

    Attributes
    ----------
    small_steps, total
        Steps of the first part, and of both.
    small_pixels, pixels
        Pixels of an image in either part.
    """

    small_steps: int
    total: int
    small_pixels: int
    pixels: int

    def until(self, step: int) -> int:
        """Return the work of the first `step` steps."""
        small = min(step, self.small_steps)
        return small * self.small_pixels + (step - small) * self.pixels

    def share_left(self, step: int) -> float:
        """Return the work left after `step` steps, as a share of the work done."""
        done = self.until(step)
        return (self.until(max(step, self.total)) - done) / max(1, done)


def stage_work(stage: Stage, per_epoch: int) -> StageWork:
    """Return the work of `stage` with `per_epoch` steps in each epoch."""
    settings = stage.settings
    total = per_epoch * settings.epochs
    small = 0
    if isinstance(settings, FlowConfig | DistillConfig):
        small = min(total, per_epoch * settings.small_epochs)
    return StageWork(small, total, stage.size_at(0.0) ** 2, stage.size_at(1.0) ** 2)
