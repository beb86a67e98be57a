"""Time spent in each phase of a training step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch

Part = Literal["data", "augmentation", "network", "optimiser"]
PARTS: tuple[Part, ...] = get_args(Part)


class StepTimer:
    """Adds up the seconds of the parts of steps.

    A GPU works asynchronously. Waiting for it at the end of each part would slow
    it down, so only one step in `EVERY` is synchronised and measured there.
    """

    EVERY = 10

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._part: Part | None = None
        self._mark = 0.0
        self._measured = True
        self.reset()

    def reset(self) -> None:
        """Reset all times."""
        self.seconds: dict[Part, float] = dict.fromkeys(PARTS, 0.0)

    def begin_step(self, step: int) -> None:
        """Decide whether `step` is measured."""
        self._measured = self._device.type == "cpu" or step % self.EVERY == 0

    @contextmanager
    def part(self, part: Part) -> Iterator[None]:
        """Charge the block to `part`; a part inside another is charged to the inner one."""
        if not self._measured:
            yield
            return
        outer = self._part
        self._switch(part)
        try:
            yield
        finally:
            self._switch(outer)

    def shares(self) -> dict[Part, float]:
        """Return the share of each part in the measured time."""
        total = sum(self.seconds.values())
        return {part: seconds / total if total else 0.0 for part, seconds in self.seconds.items()}

    def _switch(self, part: Part | None) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()
        now = time.perf_counter()
        if self._part is not None:
            self.seconds[self._part] += now - self._mark
        self._part, self._mark = part, now
