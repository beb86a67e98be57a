"""The networks on their device, from canvas and seeds to decoded masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentfm_core.config import Precision, SolverName
from latentfm_core.correction.guidance import Mismatch, frozen, guided_steps
from latentfm_core.flow.noise import field_noise, seeded_noise
from latentfm_core.flow.solvers import integrate, nfe
from latentfm_core.inference.device import (
    autocast,
    describe,
    precision_of,
    resolve_device,
    resolve_precision,
    to_device,
)
from latentfm_core.inference.features import FeatureCache, pooled_features
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.types import Float32

PIXELS_AT_ONCE = 2**21
"""Size limit of the masks decoded at once on a CPU. Larger maps are allocated by the system each
time, which costs a quarter of the decoder's time at 512 x 512."""


@dataclass(frozen=True)
class PlainPath:
    """From noise to latents by the flow or its distilled network."""

    steps: int
    solver: SolverName
    noise_scale: float = 1.0
    distilled: bool = False

    @property
    def nfe(self) -> int:
        """Evaluations of the velocity network per sample."""
        return nfe(self.solver, self.steps)


@dataclass(frozen=True)
class GuidedPath:
    """From noise to latents by the flow, guided towards strokes."""

    steps: int
    scale: float
    mismatch: Mismatch
    noise_scale: float = 1.0
    distilled: bool = False

    @property
    def nfe(self) -> int:
        """Evaluations of the velocity network per sample."""
        return self.steps


class Network:
    """A model loaded on its device.

    Attributes
    ----------
    precision
        Number format of the convolutions, never ``"auto"``.

    Raises
    ------
    ResourceError
        If the device or precision is not available.
    """

    def __init__(self, model: LatentFM, device: str, precision: Precision) -> None:
        self.device = resolve_device(device)
        self._dtype = resolve_precision(precision, self.device)
        self.precision = precision_of(self._dtype)
        self.label = describe(self.device, self._dtype)
        self.model = to_device(model, self.device).eval()
        self._features = FeatureCache()

    # Not in inference mode: guidance differentiates through the result.
    @torch.no_grad()
    def condition(
        self, canvas: Float32, path: PlainPath | GuidedPath, prompt: Float32 | None = None
    ) -> list[Tensor]:
        """Return the condition maps of one canvas ``(S, S, 3)`` in [0, 1].

        Parameters
        ----------
        prompt
            Prompt maps ``(4, S, S)``, or None. The image features are cached, so that
            another prompt on the same canvas is cheap.
        """
        features = self._features.get(canvas, self._encode_image)
        maps = None if prompt is None else torch.from_numpy(prompt)[None].to(self.device)
        with autocast(self.device, self._dtype):
            return self.model.condition_of(features, maps, few_steps=path.distilled)

    @torch.no_grad()
    def pooled(self, canvas: Float32, box: tuple[int, int, int, int]) -> Float32:
        """Return the mean image features ``(D,)`` of a canvas's content, without a prompt.

        Parameters
        ----------
        canvas
            ``(S, S, 3)`` float32 in [0, 1]; shares the features of `condition`.
        box
            ``(top, left, height, width)`` of the content, without the padding.
        """
        features = self._features.get(canvas, self._encode_image)
        return pooled_features(features, box, len(canvas))

    def _encode_image(self, canvas: Float32) -> list[Tensor]:
        image = torch.from_numpy(canvas).permute(2, 0, 1)[None].to(self.device)
        with autocast(self.device, self._dtype):
            layout = image.contiguous(memory_format=torch.channels_last)
            return self.model.image_features(layout)

    def noise(self, seeds: tuple[int, ...], size: int) -> Tensor:
        """Return the initial noise ``(len(seeds), c, h, w)`` for a canvas of side `size`."""
        side = size // self.model.config.downsample
        noise = seeded_noise(seeds, (self.model.latent_channels, side, side))
        return noise.to(self.device).contiguous(memory_format=torch.channels_last)

    def noise_at(self, seeds: tuple[int, ...], top: int, left: int, size: int) -> Tensor:
        """Return the initial noise of a tile of side `size`, a crop of each sample's field.

        `top` and `left` are in pixels, multiples of the latent's down-sampling factor.
        """
        f = self.model.config.downsample
        side = size // f
        noise = field_noise(seeds, self.model.latent_channels, top // f, left // f, (side, side))
        return noise.to(self.device).contiguous(memory_format=torch.channels_last)

    def integrate(
        self, z: Tensor, condition: list[Tensor], path: PlainPath | GuidedPath
    ) -> Iterator[Tensor]:
        """Yield the state after each ODE step, starting from standard normal noise `z`."""
        z = z * path.noise_scale
        few_steps = self.model.few_step_velocity if path.distilled else None

        def velocity(t: float, state: Tensor) -> Tensor:
            # One time for all samples: the last bits of small matrix products depend on the
            # batch size, and the results must not.
            times = torch.full((1,), t, device=self.device)
            with autocast(self.device, self._dtype):
                if few_steps is None:
                    slope: Tensor = self.model.velocity(times, state, condition)
                else:
                    slope = few_steps(
                        times, state, condition, torch.full_like(times, 1 / path.steps)
                    )
            return slope

        if isinstance(path, PlainPath):
            # Inference mode is entered in each call, never across a yield: it is thread state,
            # and the caller's code runs between two steps.
            quick = torch.inference_mode()(velocity)
            return integrate(quick, z, path.steps, path.solver)
        steps = guided_steps(velocity, self._logits, path.mismatch, z, path.steps, path.scale)
        return self._without_weight_gradients(steps)

    @torch.inference_mode()
    def encode(self, masks: Tensor) -> Tensor:
        """Return the latents of canvas masks ``(B, K, S, S)``."""
        with autocast(self.device, self._dtype):
            return self.model.encode_mask(masks.to(self.device))

    @torch.inference_mode()
    def decode(self, z: Tensor) -> Float32:
        """Return probabilities ``(B, S, S)``, or ``(B, K, S, S)`` with several classes."""
        side = z.shape[-1] * self.model.config.downsample
        count = max(1, PIXELS_AT_ONCE // side**2) if self.device.type == "cpu" else len(z)
        return np.concatenate([self._decode(part) for part in z.split(count)])

    def _decode(self, z: Tensor) -> Float32:
        logits = self._logits(z)
        one = logits.shape[1] == 1
        p = logits.sigmoid()[:, 0] if one else logits.softmax(dim=1)
        probabilities: Float32 = p.cpu().numpy()
        return probabilities

    def _logits(self, z: Tensor) -> Tensor:
        with autocast(self.device, self._dtype):
            return self.model.decode_mask(z)

    def _without_weight_gradients(self, steps: Iterator[Tensor]) -> Iterator[Tensor]:
        while True:
            with frozen(self.model):
                state = next(steps, None)
            if state is None:
                return
            yield state
