"""Random numbers of a step that do not depend on the number of processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GlobalBatch:
    """The batch of a step and the rows of it that this process holds.

    Every process draws the numbers of the whole batch and keeps its own rows: an image gets
    the same augmentation, noise and time in one process as in many.

    Attributes
    ----------
    generator
        CPU generator of the step, in the same state in every process.
    mean
        Mean over the processes, weighted by their rows, of a figure of this process's rows.
    """

    generator: torch.Generator
    total: int
    rows: slice
    mean: Callable[[Tensor], Tensor] = lambda value: value

    @classmethod
    def alone(cls, generator: torch.Generator, total: int) -> GlobalBatch:
        """Return a batch held by one process."""
        return cls(generator, total, slice(0, total))

    def repeated(self, times: int) -> GlobalBatch:
        """Return the batch with `times` rows in place of each, one after the other."""
        rows = slice(self.rows.start * times, self.rows.stop * times)
        return GlobalBatch(self.generator, self.total * times, rows, self.mean)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Draw ``(rows, *shape)`` numbers in [low, high)."""
        drawn = torch.rand((self.total, *shape), generator=self.generator)
        return drawn[self.rows] * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """Draw ``(rows, *shape)`` standard normal numbers."""
        return torch.randn((self.total, *shape), generator=self.generator)[self.rows]

    def integers(self, high: int) -> Tensor:
        """Draw ``(rows,)`` integers in [0, high)."""
        return torch.randint(high, (self.total,), generator=self.generator)[self.rows]

    def ranks(self) -> Tensor:
        """Draw a random order of all rows; return the positions ``(rows,)`` of this process."""
        return torch.randperm(self.total, generator=self.generator)[self.rows]
