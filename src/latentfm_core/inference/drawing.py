"""Draw all samples of one canvas, or of several objects of one image, in batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentfm_core.errors import ConfigError
from latentfm_core.inference.batches import Batches, Progress, Seeds, out_of_memory
from latentfm_core.inference.device import is_out_of_memory, release_memory
from latentfm_core.inference.framing import Frame
from latentfm_core.inference.network import GuidedPath, Network, PlainPath
from latentfm_core.types import Float32

logger = logging.getLogger(__name__)

Noise = Callable[[Seeds], Tensor]
"""Initial noise ``(B, c, h, w)`` for a batch of seeds, on the network's device."""


@dataclass(frozen=True)
class Row:
    """A sample with its own condition maps, of batch size 1, seed, and scale of the noise."""

    condition: list[Tensor]
    seed: int
    noise_scale: float = 1.0


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
    condition = condition_of(network, canvas, path, prompt)
    return (yield from _draw_batches(network, lambda _: condition, path, batches, noise))


def draw_rows(
    network: Network, rows: Sequence[Row], path: PlainPath, size: int, batch: int
) -> Generator[Progress, None, Float32]:
    """Draw as `draw` does, with at most `batch` rows of canvases of side `size` at once."""

    def condition(part: Seeds) -> list[Tensor]:
        return [
            torch.cat(levels) for levels in zip(*(rows[i].condition for i in part), strict=True)
        ]

    def noise(part: Seeds) -> Tensor:
        drawn = network.noise(tuple(rows[i].seed for i in part), size)
        scales = torch.tensor([rows[i].noise_scale for i in part])
        return drawn * scales.to(drawn)[:, None, None, None]

    batches = Batches(tuple(range(len(rows))), batch, path.steps)
    return (yield from _draw_batches(network, condition, path, batches, noise))


def condition_of(
    network: Network, canvas: Float32, path: PlainPath | GuidedPath, prompt: Float32 | None
) -> list[Tensor]:
    """Return `Network.condition`; raises `ResourceError` if there is not enough memory."""
    with _explained_memory():
        return network.condition(canvas, path, prompt)


def _draw_batches(
    network: Network,
    condition: Callable[[Seeds], list[Tensor]],
    path: PlainPath | GuidedPath,
    batches: Batches,
    noise: Noise,
) -> Generator[Progress, None, Float32]:
    decoded: list[Float32] = []
    with _explained_memory():
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
    return np.concatenate(decoded)


@contextmanager
def _explained_memory() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise out_of_memory() from error
        raise


def _checked(probabilities: Float32, network: Network) -> Float32:
    """Reject NaN, which maps and masks would hide."""
    if not np.isfinite(probabilities).all():
        raise ConfigError(
            f"Sampling produced NaN: the model overflows ({network.label}). Choose precision fp32, "
            "or another model."
        )
    return probabilities


def draw_objects(
    network: Network,
    objects: Sequence[tuple[Frame, float]],
    path: PlainPath,
    seeds: Seeds,
    batch: int,
) -> Generator[Progress, None, Float32]:
    """Yield after each ODE step, and return the probabilities ``(N, objects, S, S)``.

    All objects have the same N seeds, and their own noise scale, the second item; that of `path`
    must be 1. A batch may mix rows of different objects: ten objects with
    eight samples each take five passes of sixteen rows, not ten of eight. Raises as `draw` does.
    """
    rows: list[Row] = []
    for seen, noise_scale in objects:
        condition = condition_of(network, seen.canvas, path, seen.maps)
        rows += [Row(condition, seed, noise_scale) for seed in seeds]
    decoded = yield from draw_rows(network, rows, path, len(objects[0][0].canvas), batch)
    return decoded.reshape(len(objects), len(seeds), *decoded.shape[1:]).swapaxes(0, 1)
