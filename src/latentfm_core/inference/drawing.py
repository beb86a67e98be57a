"""Draw all samples of one canvas in batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator

import numpy as np
from torch import Tensor

from latentfm_core.errors import ConfigError
from latentfm_core.inference.batches import Batches, Progress, Seeds, out_of_memory
from latentfm_core.inference.device import is_out_of_memory, release_memory
from latentfm_core.inference.network import GuidedPath, Network, PlainPath
from latentfm_core.types import Float32

logger = logging.getLogger(__name__)

Noise = Callable[[Seeds], Tensor]
"""Initial noise ``(B, c, h, w)`` for a batch of seeds, on the network's device."""


Condition = Callable[[Seeds], list[Tensor]]
"""Condition maps for a batch of seeds: batch size B, or 1 if they share one image."""


def draw(
    network: Network,
    canvas: Float32,
    path: PlainPath | GuidedPath,
    batches: Batches,
    noise: Noise,
    prompt: Float32 | None = None,
) -> Generator[Progress, None, Float32]:
    """Yield after each ODE step, and return the probabilities of all seeds in `batches`.

    Parameters
    ----------
    canvas
        ``(S, S, 3)`` float32 in [0, 1].
    prompt
        Prompt maps ``(4, S, S)`` float32, or None.

    Returns
    -------
    Float32
        ``(N, S, S)``, or ``(N, K, S, S)`` with several classes.

    Raises
    ------
    ConfigError
        If the network overflows.
    ResourceError
        If there is not enough memory for one sample at a time.
    """
    try:
        condition = network.condition(canvas, path, prompt)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise out_of_memory() from error
        raise
    return (yield from draw_rows(network, lambda part: condition, path, batches, noise))


def draw_rows(
    network: Network,
    condition: Condition,
    path: PlainPath | GuidedPath,
    batches: Batches,
    noise: Noise,
) -> Generator[Progress, None, Float32]:
    """Draw as `draw` does, for samples with separate conditions."""
    decoded: list[Float32] = []
    try:
        while (part := batches.next()) is not None:
            try:
                z = noise(part)
                for state in network.integrate(z, condition(part), path):
                    z = state
                    yield batches.step()
                decoded.append(_checked(network.decode(z), network))
            except RuntimeError as error:
                if not is_out_of_memory(error) or not batches.halve(part):
                    raise
                logger.warning("%s", batches.note)
                release_memory(network.device)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise out_of_memory() from error
        raise
    return np.concatenate(decoded)


def _checked(probabilities: Float32, network: Network) -> Float32:
    """Reject NaN, which maps and masks would hide."""
    if not np.isfinite(probabilities).all():
        raise ConfigError(
            f"Sampling produced NaN: the model overflows ({network.label}). Choose precision fp32, "
            "or another model."
        )
    return probabilities
