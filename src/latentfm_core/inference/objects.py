"""Draw samples of several objects of one image in shared batches."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from latentfm_core.inference.batches import Progress, Seeds
from latentfm_core.inference.drawing import Row, condition_of, draw_rows
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
    """Yield after each ODE step, and return the probabilities ``(N, S, S)`` of each object.

    All objects have the same N seeds, and the scale of the noise is theirs, not that of `path`,
    which must be 1. A batch may mix rows of different objects: ten objects with eight samples
    each take five passes of sixteen rows, not ten of eight. Raises as `draw` does.
    """
    rows: list[Row] = []
    for one in objects:
        condition = condition_of(network, one.frame.canvas, path, one.frame.maps)
        rows += [Row(condition, seed, one.noise_scale) for seed in seeds]
    decoded = yield from draw_rows(network, rows, path, len(objects[0].frame.canvas), batch)
    count = len(seeds)
    return [decoded[i * count : (i + 1) * count] for i in range(len(objects))]
