"""Draw samples of several objects of one image in shared batches."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentfm_core.inference.batches import Batches, Progress, Seeds
from latentfm_core.inference.drawing import draw_rows
from latentfm_core.inference.framing import Frame
from latentfm_core.inference.network import Network, PlainPath
from latentfm_core.types import Float32


@dataclass(frozen=True)
class ObjectRow:
    """Network input for an object, and the standard deviation of its noise."""

    frame: Frame
    noise_scale: float


def draw_objects(
    network: Network,
    objects: Sequence[ObjectRow],
    path: PlainPath,
    seeds: Seeds,
    batch: int,
) -> Generator[Progress, None, list[Float32]]:
    """Yield after each ODE step, and return the probabilities of each object.

    A batch may mix rows of different objects: ten objects with eight samples each take five
    passes of sixteen rows, not ten of eight.

    Parameters
    ----------
    objects
        The M objects.
    path
        Its noise scale must be 1: each object has its own.
    seeds
        One for each of the N samples, the same for all objects.
    batch
        Maximum rows at once.

    Returns
    -------
    list of Float32
        ``(N, S, S)`` for each object.

    Raises
    ------
    ConfigError, ResourceError
        As `latentfm_core.inference.drawing.draw` does.
    """
    size = len(objects[0].frame.canvas)
    conditions = [network.condition(one.frame.canvas, path, one.frame.maps) for one in objects]
    count = len(seeds)

    def noise(rows: Seeds) -> Tensor:
        drawn = network.noise(tuple(seeds[row % count] for row in rows), size)
        scales = torch.tensor([objects[row // count].noise_scale for row in rows])
        return drawn * scales.to(drawn)[:, None, None, None]

    def condition(rows: Seeds) -> list[Tensor]:
        chosen = [conditions[row // count] for row in rows]
        return [torch.cat(levels) for levels in zip(*chosen, strict=True)]

    batches = Batches(tuple(range(len(objects) * count)), batch, path.steps)
    decoded = yield from draw_rows(network, condition, path, batches, noise)
    return [decoded[i * count : (i + 1) * count] for i in range(len(objects))]
