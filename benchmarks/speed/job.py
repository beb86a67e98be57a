"""One cell of the table, and its test image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from latentfm_core.model_io.card import ModelCard
from latentfm_core.types import ImageInput

Call = Callable[[], object]


@dataclass(frozen=True)
class Job:
    """One cell of the table.

    Attributes
    ----------
    name
        Row of the table.
    size, samples
        Side of the image in pixels, and N.
    steps
        K of LatentFM.
    times
        Factor for the measured call: diffusion in pixel space takes too long
        to run in full, and all its steps cost the same.
    shown
        N in the table, where it is not `samples`.
    model
        Model folder, or name of a bundled model, of a promptable LatentFM; empty takes an untrained
        one of the default preset.
    """

    name: str
    size: int
    samples: int
    steps: int = 0
    times: float = 1.0
    shown: int = 0
    model: str = ""

    @property
    def samples_shown(self) -> int:
        """N in the table."""
        return self.shown or self.samples

    @property
    def label(self) -> str:
        """Name with K."""
        return f"{self.name}, K = {self.steps}" if self.steps else self.name


def card_at(card: ModelCard, size: int) -> ModelCard:
    """Return a card with another side of the canvas in pixels."""
    data = card.config.data.model_copy(update={"size": size})
    return card.model_copy(update={"config": card.config.model_copy(update={"data": data})})


def photo(size: int) -> ImageInput:
    """Return a noisy image with a dark square in its upper left quarter."""
    pixels = np.random.default_rng(0).integers(60, 200, (size, size, 3), dtype=np.uint8)
    pixels[size // 4 : size // 2, size // 4 : size // 2] //= 2
    return ImageInput(pixels)
