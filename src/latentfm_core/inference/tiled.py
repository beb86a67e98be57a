"""Sample an image of any size tile by tile, and pass on finished rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from latentfm_core.images.large import PixelField
from latentfm_core.inference.batches import Batches, Progress, Seeds
from latentfm_core.inference.device import release_memory
from latentfm_core.inference.drawing import draw
from latentfm_core.inference.network import Network, PlainPath
from latentfm_core.inference.shares import draw_shares
from latentfm_core.inference.tiling import TileAxis, strips
from latentfm_core.progress import follow
from latentfm_core.types import Float32, Summary
from latentfm_core.uncertainty.calibration import Calibration, neighbourhood, reach
from latentfm_core.uncertainty.summary import calibrated, summarise_maps

BLOCK = 512
"""Block side in pixels; strips start at multiples of it. Chunks of this side in a stored result are
each written once."""

Sink = Callable[[int, int, Summary], None]
"""Receives the finished maps of a block and its first row and column."""


@dataclass(frozen=True)
class TiledJob:
    """Sampling job for a large image.

    Attributes
    ----------
    batch, channels
        Samples at once; shape of the probabilities per pixel, () with one class, else (K,).
    memory
        Bytes for the samples being drawn.
    """

    rows: TileAxis
    columns: TileAxis
    seeds: Seeds
    path: PlainPath
    batch: int
    channels: tuple[int, ...]
    threshold: float
    calibration: Calibration | None
    memory: int

    @property
    def halo(self) -> int:
        """Pixels around a block that its calibrated confidence depends on."""
        return 0 if self.calibration is None else reach(self.calibration.sigma)

    def strips(self) -> list[tuple[int, int, list[int]]]:
        """Return first and last column of each strip, and its tiles."""
        rows = self.rows.tile + self.rows.step + BLOCK + 2 * self.halo
        # The block's copies, and moving the kept rows, take about as much again.
        column = 2 * 4 * len(self.seeds) * int(np.prod(self.channels, dtype=int)) * rows
        edges = strips(self.columns.length, self.memory // column - 2 * self.halo, BLOCK)
        return [
            (start, stop, self.columns.within(start - self.halo, stop + self.halo))
            for start, stop in edges
        ]


class Band:
    """Blended probabilities of the unfinished rows of a strip.

    Parameters
    ----------
    lead
        Leading axes: samples, and channels with several classes.
    left, right
        First column, and the one after the last.
    """

    def __init__(self, lead: tuple[int, ...], left: int, right: int) -> None:
        self._top, self._left = 0, left
        self._sum = np.zeros((*lead, 0, right - left), np.float32)

    def keep(self, top: int, bottom: int) -> None:
        """Drop the rows above `top`, and make room for rows before `bottom`."""
        kept = self._sum[..., top - self._top :, :]
        rows = max(bottom - top, kept.shape[-2])
        moved = np.zeros((*kept.shape[:-2], rows, kept.shape[-1]), np.float32)
        moved[..., : kept.shape[-2], :] = kept
        self._sum, self._top = moved, top

    def add(self, tile: Float32, top: int, left: int, weights: Float32) -> None:
        """Add a tile ``(..., S, S)`` at its position, cropped to the band."""
        y, x = top - self._top, left - self._left
        height, width = self._sum.shape[-2:]
        side = tile.shape[-1]
        rows, columns = (
            slice(max(0, y), min(height, y + side)),
            slice(max(0, x), min(width, x + side)),
        )
        own = slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x)
        self._sum[..., rows, columns] += tile[..., own[0], own[1]] * weights[own]

    def rows(self, start: int, stop: int) -> Float32:
        """Return a view ``(..., stop - start, width)`` of the probabilities of rows."""
        return self._sum[..., start - self._top : stop - self._top, :]


def sample_tiled(
    networks: Sequence[Network], field: PixelField, job: TiledJob, sink: Sink
) -> Generator[Progress, None, int]:
    """Draw the samples, pass the finished maps of each block to `sink`, and count the tiles.

    Yields after each ODE step; closing the generator stops it. Holds at most one strip's
    unfinished rows, see `TiledJob.strips`. Tiles on the border of two strips are drawn for each,
    with identical results.

    Raises
    ------
    ImageError
        If pixels cannot be read or used.
    ResourceError
        If there is not enough memory for one sample of one tile.
    """
    work = job.strips()
    total = len(job.rows.origins) * sum(len(needed) for _, _, needed in work)
    tiles = _TileCounter(total)
    try:
        for start, stop, needed in work:
            yield from _sample_strip(networks, field, job, (start, stop), needed, tiles, sink)
    finally:
        release_memory(networks[0].device)
    return total


class _TileCounter:
    """Progress over all tiles, and the batch size that fits into memory."""

    def __init__(self, total: int) -> None:
        self._done, self._total = 0, total
        self._fitting: int | None = None
        self._note = ""

    def batches(self, job: TiledJob, seeds: Seeds) -> Batches:
        size = job.batch if self._fitting is None else self._fitting
        return Batches(seeds, size, job.path.steps)

    def keep_size(self, batches: Batches) -> None:
        """Use the batch size that fitted into memory for what follows."""
        self._fitting = batches.size

    def _show(self, step: Progress) -> Progress:
        self._note = step.note or self._note
        return Progress(self._done * step.total + step.done, self._total * step.total, self._note)

    def follow(
        self, steps: Generator[Progress, None, Float32]
    ) -> Generator[Progress, None, Float32]:
        tile = yield from follow(steps, self._show)
        self._done += 1
        return tile


def _sample_strip(
    networks: Sequence[Network],
    field: PixelField,
    job: TiledJob,
    strip: tuple[int, int],
    needed: list[int],
    tiles: _TileCounter,
    sink: Sink,
) -> Generator[Progress, None, None]:
    height, width = job.rows.length, job.columns.length
    left, right = max(0, strip[0] - job.halo), min(width, strip[1] + job.halo)
    band = Band((len(job.seeds), *job.channels), left, right)
    done = 0
    for row, top in enumerate(job.rows.origins):
        band.keep(max(0, done - job.halo), min(height, top + job.rows.tile))
        for column in needed:
            place = (top, job.columns.origins[column])
            tile = yield from tiles.follow(_tile(networks, field, job, place, tiles))
            weights = np.outer(job.rows.weights(row), job.columns.weights(column))
            band.add(tile, *place, weights)
        ends = row + 1 == len(job.rows.origins)
        whole = height if ends else job.rows.origins[row + 1]
        stop = height if ends else max(done, (whole - job.halo) // BLOCK * BLOCK)
        for first, last in _blocks(done, stop):
            sink(first, strip[0], _summarise(band, job, (first, last), strip, left))
        done = stop


def _blocks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, BLOCK):
        yield first, min(first + BLOCK, stop)


def _tile(
    networks: Sequence[Network],
    field: PixelField,
    job: TiledJob,
    place: tuple[int, int],
    tiles: _TileCounter,
) -> Generator[Progress, None, Float32]:
    side = job.rows.tile
    canvas = field.read(*place, side, side)

    def share(network: Network, seeds: Seeds) -> Generator[Progress, None, Float32]:
        def noise(part: Seeds) -> Tensor:
            return network.noise_at(part, *place, side)

        batches = tiles.batches(job, seeds)
        drawn = yield from draw(network, canvas, job.path, batches, noise)
        tiles.keep_size(batches)
        return drawn

    return draw_shares(networks, job.seeds, share)


def _summarise(
    band: Band, job: TiledJob, rows: tuple[int, int], strip: tuple[int, int], left: int
) -> Summary:
    top = max(0, rows[0] - job.halo)
    around = band.rows(top, min(job.rows.length, rows[1] + job.halo))
    own = slice(rows[0] - top, rows[1] - top), slice(strip[0] - left, strip[1] - left)
    maps = (np.clip(sample[..., own[0], own[1]], 0.0, 1.0) for sample in around)
    raw = summarise_maps(maps, len(job.seeds), job.threshold)
    if job.calibration is None:
        return raw
    mean = np.clip(around.mean(axis=0, dtype=np.float32), 0.0, 1.0)
    q = neighbourhood(mean, job.calibration.sigma)[..., own[0], own[1]]
    return calibrated(raw, q, job.calibration)
