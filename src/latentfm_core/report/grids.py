"""Validation pictures in the report of a training run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from latentfm_core.config import ReportConfig
from latentfm_core.errors import ImageError
from latentfm_core.images.intensity import to_rgb
from latentfm_core.images.read import read_image
from latentfm_core.report.epochs import Row, best_of, number, validated
from latentfm_core.report.pictures import data_uri, eight_bit, fitted_size, shrunk

Picture = tuple[str, str]
"""Caption and data URI."""


class Grids:
    """Selects and embeds a few pictures, encoding each once.

    Parameters
    ----------
    folder
        Holds ``epoch_*.png`` and, of a few-step network, ``steps_*.png``.
    """

    def __init__(self, folder: Path, report: ReportConfig) -> None:
        self._folder, self._report = folder, report
        self._encoded: dict[str, tuple[int, str]] = {}

    def pictures(self, epochs: Sequence[Row]) -> tuple[list[Picture], list[Picture]]:
        """Return pictures of the validated `epochs`: of the best and the last, and of others.

        A picture of an epoch that is not among them is omitted: it is left over from a killed run,
        which will repeat it.
        """
        known = validated(epochs)
        best = best_of(known)
        shown = chosen(len(known), best, self._report.grids)
        captions = {_name(known[index]): _caption(known[index], index == best) for index in shown}
        few = sorted(self._folder.glob("steps_*.png"))[: self._report.grids]
        captions |= {path.name: f"With {path.stem.partition('_')[2]} ODE steps" for path in few}
        self._encoded = {name: uri for name, uri in self._encoded.items() if name in captions}
        first = {_name(known[index]) for index in {best, len(known) - 1}} if known else set()
        uris = {name: self._uri(self._folder / name) for name in captions}
        pictures = {name: (caption, uris[name]) for name, caption in captions.items() if uris[name]}
        return (
            [picture for name, picture in pictures.items() if name in first],
            [picture for name, picture in pictures.items() if name not in first],
        )

    def _uri(self, path: Path) -> str:
        """Return a picture; empty if it cannot be read."""
        try:
            changed = path.stat().st_mtime_ns
            before = self._encoded.get(path.name)
            if before is None or before[0] != changed:
                rgb = eight_bit(to_rgb(read_image(path)))
                height, width = rgb.shape[:2]
                # Rows are images: what must fit is the width.
                side = max(self._report.grid_width, self._report.grid_width * height // width)
                before = changed, data_uri(shrunk(rgb, fitted_size(rgb.shape, side)))
                self._encoded[path.name] = before
        except (OSError, ImageError):
            return ""
        return before[1]


def chosen(count: int, best: int, most: int) -> list[int]:
    """Return the indices of the pictures to show: first, best, last, some in between.

    In between it is every 2nd, 4th, 8th ..., so that the selection changes rarely.
    """
    step = 1
    while -(-count // step) > max(1, most - 2):
        step *= 2
    every = set(range(0, count, step)) | {best, count - 1} if count else set()
    return sorted(every)


def _name(row: Row) -> str:
    return f"epoch_{number(row, 'epoch'):04.0f}.png"


def _caption(row: Row, best: bool) -> str:
    figures = {"Dice": "val_dice", "of samples": "val_sample_dice", "GED": "val_ged"}
    values = {word: number(row, name) for word, name in figures.items()}
    parts = [f"{word} {value:.3f}" for word, value in values.items() if math.isfinite(value)]
    kept = "; these weights are the best so far" if best else ""
    return f"Epoch {number(row, 'epoch'):.0f}: {', '.join(parts)}{kept}"
