"""Common interface of the baseline networks, and sampling from them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from benchmarks.accuracy.data import Parts, load_train
from benchmarks.accuracy.loop import canvas_losses, optimise
from benchmarks.accuracy.settings import RunSettings
from latentfm_core.images.canvas import to_canvas
from latentfm_core.images.read import to_rgb
from latentfm_core.inference.device import autocast, to_device
from latentfm_core.types import ImageInput, SampleSet, SamplingRecord


class Predictor(Protocol):
    """Draws samples of an image; the interface of every row for the evaluation.

    Attributes
    ----------
    nfe
        Evaluations of the network (of its repeated part) per sample.
    deterministic
        The row has a single sample: its confidence comes from the probability itself.
    parameters
        Number of parameters of the whole model.
    """

    nfe: int
    deterministic: bool
    parameters: int

    def sample(self, image: ImageInput) -> SampleSet:
        """Return the samples on the row's canvas."""
        ...


class Baseline(ABC):
    """A network with its losses and its way of drawing samples.

    Images reach `losses` as ``(B, 3, S, S)`` in [0, 1], masks as ``(B, 1, S, S)`` in {0, 1}.
    """

    module: nn.Module
    deterministic = False

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings

    @property
    def nfe(self) -> int:
        """Evaluations of the network per sample."""
        return 1

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters to optimise."""
        return list(self.module.parameters())

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Return those that use the learning rate of a pretrained encoder."""
        return []

    @abstractmethod
    def losses(
        self, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return named scalars; the optimiser minimises ``"loss"``."""

    @abstractmethod
    def draw(self, image: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return probabilities ``(N, S, S)`` of one image ``(1, 3, S, S)`` in [0, 1]."""

    def train(self, parts: Parts, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        """Train on the training part for the time budget; return the log."""
        train = load_train(parts, self.settings)
        losses = canvas_losses(self, train, self.settings, device, dtype)
        return optimise(self, train, losses, self.settings, self.settings.budget, device)


class BaselinePredictor:
    """A trained `Baseline`, warm on its device."""

    def __init__(self, baseline: Baseline, device: torch.device, dtype: torch.dtype) -> None:
        self.baseline = baseline
        self.device = device
        self.dtype = dtype
        self.nfe = baseline.nfe
        self.deterministic = baseline.deterministic
        self.parameters = sum(p.numel() for p in baseline.module.parameters())
        to_device(baseline.module, device).eval()

    @torch.inference_mode()
    def sample(self, image: ImageInput) -> SampleSet:
        """Return the samples of `image`; sample n has the seed ``settings.seed + n``."""
        start = time.perf_counter()
        settings = self.baseline.settings
        canvas, geometry = to_canvas(to_rgb(image), settings.size, "pad")
        pixels = torch.from_numpy(canvas).permute(2, 0, 1)[None].to(self.device)
        count = 1 if self.deterministic else settings.samples
        seeds = tuple(settings.seed + n for n in range(count))
        with autocast(self.device, self.dtype):
            drawn = self.baseline.draw(pixels.contiguous(memory_format=torch.channels_last), seeds)
        return SampleSet(
            probabilities=drawn.float().clamp(0, 1).cpu().numpy(),
            geometry=geometry,
            record=SamplingRecord(
                settings.label, "", seeds, self.nfe, seconds=time.perf_counter() - start
            ),
        )
