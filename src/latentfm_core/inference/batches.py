"""Batches of samples that fit into memory, and their progress."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from latentfm_core.errors import ResourceError
from latentfm_core.names import counted

Seeds = tuple[int, ...]


@dataclass(frozen=True)
class Progress:
    """ODE steps done and to do, over all batches of samples.

    Attributes
    ----------
    note
        Message for the user, such as low memory; usually empty.
    """

    done: int
    total: int
    note: str = ""


class Batches:
    """Batches of seeds, halved when memory runs out.

    Parameters
    ----------
    seeds
        One for each sample; batches keep their order.

    Attributes
    ----------
    note
        Message about reduced batches, or empty.
    """

    def __init__(self, seeds: Seeds, size: int, steps: int) -> None:
        self.size, self._steps = size, steps
        self._waiting = deque(self._split(seeds))
        self._finished = -1
        self._step = 0
        self.note = ""

    def next(self) -> Seeds | None:
        """Return the seeds of the next batch, None after the last one."""
        self._finished += 1
        self._step = 0
        return self._waiting.popleft() if self._waiting else None

    def step(self) -> Progress:
        """Count an ODE step of the current batch."""
        self._step += 1
        # The current batch is no longer among those waiting.
        whole = self._finished + 1 + len(self._waiting)
        done = self._finished * self._steps + self._step
        return Progress(done, whole * self._steps, self.note)

    def halve(self, failed: Seeds) -> bool:
        """Put a failed batch back in halves, and halve the rest; return False for one sample."""
        if len(failed) == 1:
            return False
        self.size = len(failed) // 2
        left = [*failed, *(seed for part in self._waiting for seed in part)]
        self._waiting = deque(self._split(tuple(left)))
        self._finished -= 1
        self.note = f"Low memory: {counted(self.size, 'sample')} at a time."
        return True

    def _split(self, seeds: Seeds) -> list[Seeds]:
        return [seeds[i : i + self.size] for i in range(0, len(seeds), self.size)]


def out_of_memory() -> ResourceError:
    """Return the error for insufficient memory for a single sample."""
    return ResourceError(
        "Not enough memory to draw one sample at a time. Close other programs, use device cpu, "
        "or choose a model with a smaller input."
    )
