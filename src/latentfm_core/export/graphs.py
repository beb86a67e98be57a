"""Modules for ONNX export: parts of a model, or a complete run from image to maps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentfm_core.config import SamplingConfig
from latentfm_core.flow.noise import seeded_noise
from latentfm_core.flow.solvers import integrate
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.velocity import VelocityNetwork
from latentfm_core.uncertainty.calibration import TRUNCATE, Calibration, MonotoneMap
from latentfm_core.uncertainty.summary import DEFAULT_THRESHOLD, SAMPLE_THRESHOLD


class _ConditionedPart(nn.Module):
    def __init__(self, model: LatentFM, few_steps: bool) -> None:
        super().__init__()
        self.model = model
        self.few_steps = few_steps


class ConditionPart(_ConditionedPart):
    """Image ``(1, 3, S, S)`` in [0, 1] to the condition maps of one velocity network."""

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the maps, finest first."""
        return self.model.condition(image, few_steps=self.few_steps)


class ImagePart(nn.Module):
    """Image ``(1, 3, S, S)`` in [0, 1] to its features, which do not depend on a prompt.

    Parameters
    ----------
    kept
        Indices of the features to return.
    """

    def __init__(self, model: LatentFM, kept: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.kept = tuple(kept)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features, finest first."""
        features = self.model.image_features(image)
        return [features[index] for index in self.kept]


class PromptPart(_ConditionedPart):
    """Prompt maps ``(1, 4, S, S)`` and image features to the maps of one velocity network."""

    def forward(self, prompt: Tensor, *features: Tensor) -> list[Tensor]:
        """Return the maps, finest first."""
        return self.model.condition_of(features, prompt, few_steps=self.few_steps)


class _NetworkPart(nn.Module):
    def __init__(self, network: VelocityNetwork) -> None:
        super().__init__()
        self.network = network


class VelocityPart(_NetworkPart):
    """Latents ``(N, c, h, w)``, a time ``(1,)`` and the condition maps to the velocity."""

    def forward(self, z: Tensor, t: Tensor, *condition: Tensor) -> Tensor:
        """Return v(t, z)."""
        velocity: Tensor = self.network(t, z, condition)
        return velocity


class MeanVelocityPart(_NetworkPart):
    """As `VelocityPart`, with the step length ``(1,)`` as an input."""

    def forward(self, z: Tensor, t: Tensor, h: Tensor, *condition: Tensor) -> Tensor:
        """Return the mean velocity over the step."""
        velocity: Tensor = self.network(t, z, condition, h)
        return velocity


class DecoderPart(nn.Module):
    """Latents ``(N, c, h, w)`` to probabilities ``(N, K, S, S)``, K = 1 with one class."""

    def __init__(self, model: LatentFM) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor) -> Tensor:
        """Return the probability of the class, or of the background and each class."""
        logits = self.model.decode_mask(z)
        return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


@dataclass(frozen=True)
class Run:
    """Constants of a complete run.

    Attributes
    ----------
    settings
        Steps, solver, network and threshold, resolved.
    calibration
        Applied to confidence and mean probability; None leaves them raw.
    """

    settings: SamplingConfig
    calibration: Calibration | None


class WholeRun(nn.Module):
    """Image ``(1, 3, S, S)`` and noise to the maps of `latentfm_core.types.Summary`.

    The formulas are those of `latentfm_core.uncertainty.summary`, on the canvas.
    """

    def __init__(self, model: LatentFM, run: Run) -> None:
        super().__init__()
        self.model = model
        self.run = run
        self.decoder = DecoderPart(model)
        self.blur = None if run.calibration is None else gaussian(run.calibration.sigma)

    def forward(self, image: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return mean mask, mean probability, confidence and samples.

        Parameters
        ----------
        image
            ``(1, 3, S, S)`` in [0, 1].
        noise
            ``(N, c, h, w)``, as returned by `starts`.

        Returns
        -------
        tuple of Tensor
            ``(1, 1, S, S)`` uint8 mask or labels, ``(1, K, S, S)`` and ``(1, 1, S, S)`` float32
            in [0, 1], ``(1, N, S, S)`` uint8 masks or labels.
        """
        p = self.decoder(self._latents(image, noise))
        mean = p.mean(dim=0, keepdim=True)
        threshold = self.run.settings.threshold
        level = DEFAULT_THRESHOLD if threshold is None else threshold
        mask, samples = harden(mean, level), harden(p, SAMPLE_THRESHOLD)
        variance = (p - mean).square().mean(dim=0, keepdim=True)
        confidence = 1 - disagreement(variance.sum(dim=1, keepdim=True), p.shape[1])
        calibration = self.run.calibration
        if calibration is not None and self.blur is not None:
            q = self.blur(mean).clamp(0, 1)
            impurity = (q * (1 - q)).sum(dim=1, keepdim=True)
            confidence = piecewise(
                (1 - disagreement(impurity, p.shape[1])).clamp(0, 1), calibration.confidence
            )
            if calibration.probability is not None:
                mean = piecewise(mean, calibration.probability)
        return mask, mean.clamp(0, 1), confidence.clamp(0, 1), samples.transpose(0, 1)

    def _latents(self, image: Tensor, z: Tensor) -> Tensor:
        settings, few_steps = self.run.settings, self.model.few_step_velocity
        condition = self.model.condition(image, few_steps=self.run.settings.distilled)

        def velocity(t: float, z: Tensor) -> Tensor:
            times = torch.full((1,), t)
            if self.run.settings.distilled and few_steps is not None:
                v: Tensor = few_steps(times, z, condition, torch.full((1,), 1 / settings.ode_steps))
            else:
                v = self.model.velocity(times, z, condition)
            return v

        for state in integrate(velocity, z, settings.ode_steps, settings.solver):
            z = state
        return z


def starts(model: LatentFM, size: int, settings: SamplingConfig) -> Tensor:
    """Return the noise ``(N, c, h, w)`` from which the samples of these settings start."""
    side = size // model.config.downsample
    seeds = tuple(settings.seed + n for n in range(settings.n_samples))
    noise = seeded_noise(seeds, (model.latent_channels, side, side))
    return noise if settings.noise_scale is None else noise * settings.noise_scale


def disagreement(spread: Tensor, channels: int) -> Tensor:
    """Return a sum of variances over the channels, scaled to [0, 1]."""
    return spread * (4.0 if channels == 1 else channels / (channels - 1))


def harden(p: Tensor, threshold: float) -> Tensor:
    """Return masks or labels ``(N, 1, S, S)`` uint8 of probabilities ``(N, K, S, S)``."""
    if p.shape[1] == 1:
        return (p >= threshold).to(torch.uint8)
    return p.argmax(dim=1, keepdim=True).to(torch.uint8)


class Blur(nn.Module):
    """The Gaussian filter of `latentfm_core.uncertainty.calibration.neighbourhood`."""

    weights: Tensor

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Smooth ``(1, K, S, S)`` along both sides; the edge repeats."""
        radius, kernel = len(self.weights) // 2, self.weights[None, None, None]
        # Maps as a batch: a kernel for each channel would have an unknown shape in the trace of a
        # promptable model, which the exporter rejects.
        maps = x.transpose(0, 1)
        padded = F.pad(maps, (radius, radius, radius, radius), mode="replicate")
        rows = F.conv2d(padded, kernel)
        return F.conv2d(rows, kernel.transpose(2, 3)).transpose(0, 1)


def gaussian(sigma: float) -> nn.Module:
    """Return a `Blur` of this width; the identity for width 0."""
    radius = int(TRUNCATE * sigma + 0.5)
    if not radius:
        return nn.Identity()
    places = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (places / sigma) ** 2)
    return Blur((weights / weights.sum()).tolist())


def piecewise(x: Tensor, knots: MonotoneMap) -> Tensor:
    """Apply a `MonotoneMap` as a sum of ramps, which needs no search."""
    y = torch.full_like(x, knots.y[0])
    pairs = list(zip(knots.x, knots.y, strict=True))
    for (left, low), (right, high) in itertools.pairwise(pairs):
        if high > low:
            y = y + (x - left).clamp(0, right - left) * ((high - low) / (right - left))
    return y
