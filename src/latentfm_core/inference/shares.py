"""Divide the samples of an image among the networks of an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np

from latentfm_core.inference.batches import Progress, Seeds
from latentfm_core.inference.network import Network
from latentfm_core.progress import follow
from latentfm_core.types import Float32

DrawShare = Callable[[Network, Seeds], Generator[Progress, None, Float32]]
"""Draws the samples of some seeds with one network; samples are the first axis."""


def draw_shares(
    networks: Sequence[Network], seeds: Seeds, draw: DrawShare
) -> Generator[Progress, None, Float32]:
    """Yield after each ODE step, and return the samples of all networks in the order of `seeds`.

    Sample n comes from network n modulo M. It has the same noise as without an ensemble, and
    drawing more samples keeps the first ones. With fewer samples than networks, the last networks
    are not used.

    Parameters
    ----------
    seeds
        One for each of the N samples.
    draw
        Called once for each network that has a sample.
    """
    if len(networks) == 1:
        return (yield from draw(networks[0], seeds))
    used = list(networks)[: len(seeds)]
    result: Float32 | None = None
    total = 0
    for index, network in enumerate(used):
        share = seeds[index :: len(networks)]

        def show(step: Progress, index: int = index) -> Progress:
            # Shares differ by one sample, and so may their number of batches.
            nonlocal total
            total = total or step.total
            done = index * total + step.done * total // step.total
            return Progress(done, len(used) * total, step.note)

        drawn = yield from follow(draw(network, share), show)
        if result is None:
            result = np.empty((len(seeds), *drawn.shape[1:]), drawn.dtype)
        result[index :: len(networks)] = drawn
    if result is None:
        raise ValueError("there are no seeds")
    return result
