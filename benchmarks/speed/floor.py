"""Share of the convolution throughput of the cores that the networks reach."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentfm_core.inference.device import autocast, resolve_precision, to_device
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.folder import load_model

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Floor:
    """A part of the network compared with its convolutions alone.

    Attributes
    ----------
    part
        Velocity network or decoder.
    multiply_adds
        Of its convolutions and linear layers, in 10^9.
    seconds, floor_seconds
        Of the part, and of its convolutions one by one in the same format and shape.
    share
        ``floor_seconds / seconds``: the share of the floor's rate that is reached.
    """

    part: str
    multiply_adds: float
    seconds: float
    floor_seconds: float

    @property
    def share(self) -> float:
        """Share of the floor's rate."""
        return self.floor_seconds / self.seconds


def _time(call: Callable[[], object], now: Callable[[], float]) -> float:
    call()
    times = []
    for _ in range(7):
        start = now()
        call()
        times.append(now() - start)
    return statistics.median(times)


@torch.inference_mode()
def floor_of(
    part: str, module: nn.Module, call: Callable[[], object], now: Callable[[], float]
) -> Floor:
    """Measure a part of the network and each of its convolutions by the clock `now`."""
    dtype = resolve_precision("auto", CPU)
    seen: list[tuple[nn.Conv2d, Tensor]] = []
    work = 0.0

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal work
        if isinstance(layer, nn.Conv2d):
            seen.append((layer, inputs[0].detach()))
            work += output.numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.Linear):
            work += output.numel() * layer.in_features

    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(note) for layer in layers]
    with autocast(CPU, dtype):
        call()
        for handle in handles:
            handle.remove()
        whole = _time(call, now)
    alone = 0.0
    for layer, x in seen:
        x = x.to(dtype).contiguous(memory_format=torch.channels_last)
        weight = layer.weight.to(dtype)
        # The input of a convolution with this layer's stride and padding.
        convolve = partial(F.conv2d, x, weight, None, layer.stride, layer.padding)
        alone += _time(convolve, now)
    return Floor(part, work / 1e9, whole, alone)


def floors(
    samples: int = 16, size: int = 256, now: Callable[[], float] = time.perf_counter
) -> list[Floor]:
    """Return the floors of velocity network and decoder of the bundled `isic2018`."""
    model, _ = load_model(resolve_model("isic2018"))
    model = to_device(model, CPU).eval()
    side = size // model.config.downsample
    z = torch.randn(samples, model.latent_channels, side, side)
    z = z.contiguous(memory_format=torch.channels_last)
    image = torch.rand(1, 3, size, size).contiguous(memory_format=torch.channels_last)
    t = torch.zeros(samples)
    with torch.inference_mode(), autocast(CPU, resolve_precision("auto", CPU)):
        condition = model.condition(image)
    decoder = model.mask_vae.decoder
    return [
        floor_of("velocity network", model.velocity, lambda: model.velocity(t, z, condition), now),
        floor_of("decoder", decoder, lambda: decoder(z), now),
    ]
