"""All samples of one canvas, batch by batch, whatever the noise they start from."""

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
"""Initial noise ``(B, c, h, w)`` of a batch of seeds, on the network's device."""


def draw(
    network: Network,
    canvas: Float32,
    path: PlainPath | GuidedPath,
    batches: Batches,
    noise: Noise,
) -> Generator[Progress, None, Float32]:
    """Yield after each ODE step, and return the probabilities of all seeds in `batches`.

    Parameters
    ----------
    canvas
        ``(S, S, 3)`` float32 in [0, 1].

    Returns
    -------
    Float32
        ``(N, S, S)``, or ``(N, K, S, S)`` with several classes.

    Raises
    ------
    ConfigError
        If the network overflows.
    ResourceError
        If memory does not even suffice for one sample at a time.
    """
    decoded: list[Float32] = []
    try:
        condition = network.condition(canvas, path)
        while (part := batches.next()) is not None:
            try:
                z = noise(part)
                for state in network.integrate(z, condition, path):
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
    """Refuse NaN, which every map and mask made of them would hide."""
    if not np.isfinite(probabilities).all():
        raise ConfigError(
            f"The samples are no numbers: the model overflows ({network.label}). Choose precision "
            "fp32, or another model."
        )
    return probabilities
