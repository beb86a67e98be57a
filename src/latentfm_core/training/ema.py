"""Exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """Averages ``w <- d w + (1 - d) p`` with a decay that warms up to `decay`.

    The warm-up ``(1 + n) / (10 + n)`` keeps the first, random weights from dominating short
    runs (Tan & Le 2019 use the same form).
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters = list(parameters)
        self._decay = decay
        self.shadow: list[Tensor] = [p.detach().clone() for p in self._parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average after optimiser step `step`."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self._parameters], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Use the averaged weights inside the block."""
        kept = [p.detach().clone() for p in self._parameters]
        self.copy_to_model()
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self._parameters, kept, strict=True):
                    parameter.copy_(value)

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """Replace the model's weights with the averaged ones."""
        for parameter, value in zip(self._parameters, self.shadow, strict=True):
            parameter.copy_(value)
