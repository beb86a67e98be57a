"""Summary of a data set, printed by commands before they start."""

from __future__ import annotations

import logging
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from latentfm_core.config import ReadingConfig
from latentfm_core.datasets.facts import MaskFacts
from latentfm_core.datasets.raters import raters_text
from latentfm_core.datasets.stored import TURNS, StoredPair
from latentfm_core.names import name_some, shown

logger = logging.getLogger(__name__)

_WIDTH = 14


def size_text(sizes: Sequence[tuple[int, int]]) -> str:
    """Format the range of sizes ``(H, W)``: the images with the fewest and most pixels."""
    if not sizes:
        return "unknown"
    # Of two images with the same number of pixels, the one with fewer rows comes first.
    ordered = sorted(sizes, key=lambda size: (math.prod(size), size))
    small, large, middle = ordered[0], ordered[-1], (len(ordered) - 1) // 2
    if small == large:
        return f"{small[0]} x {small[1]} pixels (rows x columns)"
    rows, columns = ordered[middle]
    return (
        f"{small[0]} x {small[1]} to {large[0]} x {large[1]} pixels (rows x columns), median "
        f"{rows} x {columns}"
    )


def mask_rows(masks: Sequence[MaskFacts], classes: Sequence[str]) -> dict[str, str]:
    """Return summary rows: classes with shares, objects, and empty, vanishing and full masks."""
    if not masks:
        return {}
    shares = [
        f"{shown(name)} {statistics.fmean(mask.shares[number] for mask in masks):.1%} of the pixels"
        for number, name in enumerate(classes)
    ]
    objects = [mask.objects for mask in masks]
    mean = statistics.fmean(objects)
    rows = {
        "classes": ", ".join(shares),
        "objects": f"{mean:.1f} per mask ({min(objects)} to {max(objects)})",
    }
    for kind, names in (
        ("empty masks", [m.name for m in masks if m.is_empty and not m.vanishes]),
        ("too small", [mask.name for mask in masks if mask.vanishes]),
        ("full masks", [mask.name for mask in masks if mask.is_full]),
    ):
        listed = f": {name_some(names)}" if names else ""
        if names or kind != "too small":
            rows[kind] = f"{len(names)} of {len(masks)}{listed}"
    return rows


def stored_rows(stored: Sequence[StoredPair], reading: ReadingConfig) -> dict[str, str]:
    """Return the rows about how files store their pixels, what is read of them, and raters."""
    return {
        "orientation": _orientation_text(stored),
        "channel": _channel_text(reading),
        "raters": raters_text(stored),
    }


def _orientation_text(stored: Iterable[StoredPair]) -> str:
    """Return how many images were oriented as their metadata say, and how; empty if none."""
    turned: dict[str, list[str]] = defaultdict(list)
    for pair in stored:
        if pair.orientation != 1:
            turned[TURNS[pair.orientation]].append(pair.name)
    return "; ".join(f"{len(names)} {how}: {name_some(names)}" for how, names in turned.items())


def _channel_text(reading: ReadingConfig) -> str:
    """Return which channel of files with several is read; empty if none was chosen."""
    parts = [
        f"{number} of every {kind} with several, colours included"
        for kind, number in (("image", reading.channel), ("mask", reading.for_masks.channel))
        if number is not None
    ]
    return "; ".join(parts)


def duration(seconds: float) -> str:
    """Return a readable duration: "40 s", "12 min", "3 h 05 min".

    Examples
    --------
    >>> duration(40), duration(700), duration(11_100)
    ('40 s', '12 min', '3 h 05 min')
    """
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def megabytes(count: float) -> str:
    """Format a number of bytes."""
    return f"{count / 2**20:,.0f} MB" if count < 2**30 else f"{count / 2**30:,.1f} GB"


def log_summary(rows: Mapping[str, str]) -> None:
    """Log the summary as one entry."""
    lines = [f"  {key:<{_WIDTH}}{value}" for key, value in rows.items() if value]
    logger.info("%s", "\n".join(["data summary", *lines]))
