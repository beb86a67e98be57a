"""Training images of several data sets for a model without prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from latentfm_core.config import DataConfig
from latentfm_core.datasets.in_memory import CanvasSet, load_canvases
from latentfm_core.datasets.object_set import SetPairs, alone, shares_of, unique_name
from latentfm_core.datasets.pairs import Pair
from latentfm_core.errors import DatasetError


def unique_pairs(one: SetPairs) -> dict[str, Pair]:
    """Return the pairs of a set under their names among all sets."""
    names = {unique_name(one.settings.name, name): pair for name, pair in one.pairs.items()}
    return {name: replace(pair, name=name) for name, pair in names.items()}


def load_canvas_sets(
    sets: Sequence[SetPairs],
    part: Literal["train", "val"],
    data: DataConfig,
    classes: int,
    on_progress: Callable[[int, int], None] | None = None,
    fill_cache: bool = True,
) -> CanvasSet:
    """Decode one part of all sets to canvases, and weight them as `load_sets` does.

    The images of the sets alternate, so that the first ones are of all sets. Numbered objects are
    read as foreground.

    Raises
    ------
    DatasetError
        As `load_canvases` does; the message begins with the name of the set.
    """
    loaded, used = [], [one for one in sets if getattr(one.split, part)]
    for one in used:
        pairs = unique_pairs(one)
        names = [unique_name(one.settings.name, name) for name in getattr(one.split, part)]
        numbered = one.settings.kind == "instances"
        threshold = 0.0 if numbered else one.settings.mask_threshold
        own = alone(one.settings, data).model_copy(update={"mask_threshold": threshold})
        try:
            chosen = [pairs[name] for name in names]
            loaded.append(load_canvases(chosen, own, on_progress, classes, numbered, fill_cache))
        except DatasetError as error:
            raise DatasetError(f"Set {one.settings.name}: {error}") from None
    return _joined(loaded, shares_of(used, part))


def _joined(loaded: Sequence[CanvasSet], shares: Sequence[float]) -> CanvasSet:
    most = max(canvases.masks.shape[1] for canvases in loaded)
    masks = [
        np.pad(each.masks, ((0, 0), (0, most - each.masks.shape[1]), (0, 0), (0, 0)))
        for each in loaded
    ]
    counts = [len(canvases.names) for canvases in loaded]
    weights = np.repeat(np.asarray(shares), counts)
    places = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    order = np.argsort(places, kind="stable")
    names = [name for each in loaded for name in each.names]
    stored = [pair for each in loaded for pair in each.stored]
    return CanvasSet(
        tuple(names[index] for index in order),
        np.concatenate([each.images for each in loaded])[order],
        np.concatenate(masks)[order],
        np.concatenate([each.raters for each in loaded])[order],
        {name: problem for each in loaded for name, problem in each.skipped.items()},
        weights[order] / weights.sum(),
        tuple(stored[index] for index in order),
    )
