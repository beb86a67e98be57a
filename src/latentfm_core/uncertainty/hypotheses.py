"""Group similar samples into a few hypotheses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from latentfm_core.metrics.classes import class_dice, class_iou
from latentfm_core.metrics.overlap import Float64, dice, iou
from latentfm_core.types import Mask, is_binary

Coverage = NDArray[np.float32]

MAX_HYPOTHESES = 6
"""Largest number that can be compared at a glance."""
ALIKE = 0.15
"""Average 1 - IoU up to which all samples count as one hypothesis."""
GRID = 96
"""Largest side of the grid on which samples are compared."""

Order = Literal["weight", "area", "agreement", "difference"]
ORDERS: tuple[Order, ...] = get_args(Order)


@dataclass(frozen=True)
class Hypothesis:
    """A group of similar samples, and the sample that represents it.

    Attributes
    ----------
    medoid
        Index of the sample with the least summed distance to its group.
    members
        Indices of the samples of the group, ascending.
    weight
        Share of all samples that are members, in (0, 1]; the weights sum to 1.
    area
        Foreground of the medoid, in pixels of the original image.
    agreement
        Dice of the medoid and the mean mask, in [0, 1]; with several classes the mean over
        the classes.
    distance
        1 - IoU of the medoid and the mean mask, in [0, 1]; over classes as `agreement`.
    """

    medoid: int
    members: tuple[int, ...]
    weight: float
    area: int
    agreement: float
    distance: float

    @property
    def empty(self) -> bool:
        """Whether the members have no foreground."""
        return self.area == 0


def find_hypotheses(sample_masks: Mask, mean_mask: Mask) -> tuple[Hypothesis, ...]:
    """Group samples by 1 - IoU and return at most `MAX_HYPOTHESES` groups, the heaviest first.

    Average linkage (Sokal and Michener 1958) on the distances of `sample_distances`. One
    group where the last merge is within `ALIKE`, else the number of groups with the largest
    mean silhouette (Rousseeuw 1987). Samples without foreground form their own group.
    Nothing is random.

    Parameters
    ----------
    sample_masks
        ``(N, H, W)`` bool, or labels with 0 as background; N >= 1.
    mean_mask
        ``(H, W)``, as `Summary.mean_mask`.

    Raises
    ------
    ValueError
        If the shapes do not fit, or there is no sample.
    """
    if sample_masks.ndim != 3 or not len(sample_masks):
        raise ValueError(f"samples must be (N, H, W) with N >= 1, not {sample_masks.shape}")
    if sample_masks.shape[1:] != mean_mask.shape:
        raise ValueError(f"shapes differ: {sample_masks.shape} and {mean_mask.shape}")
    areas = np.array([np.count_nonzero(mask) for mask in sample_masks])
    empty, filled = np.flatnonzero(areas == 0), np.flatnonzero(areas)
    groups = [(int(empty[0]), empty)] if empty.size else []
    if filled.size:
        distances = sample_distances(sample_masks[filled] if empty.size else sample_masks)
        for group in _groups(distances, MAX_HYPOTHESES - len(groups)):
            total = distances[np.ix_(group, group)].sum(axis=1)
            groups.append((int(filled[group[total.argmin()]]), filled[group]))
    hypotheses = [
        _hypothesis(medoid, members, sample_masks, mean_mask, int(areas[medoid]))
        for medoid, members in groups
    ]
    return ordered(hypotheses, "weight")


def ordered(hypotheses: Iterable[Hypothesis], by: Order = "weight") -> tuple[Hypothesis, ...]:
    """Return hypotheses in another order; ties by the index of the medoid.

    Parameters
    ----------
    by
        ``"weight"``: the most frequent first. ``"area"``: the largest first.
        ``"agreement"``: the nearest to the mean mask first. ``"difference"``: the farthest
        from the mean mask first.

    Raises
    ------
    ValueError
        If `by` is not in `ORDERS`.
    """
    if by not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, not {by!r}")
    name = "distance" if by == "difference" else by
    return tuple(sorted(hypotheses, key=lambda item: (-getattr(item, name), item.medoid)))


def sample_distances(sample_masks: Mask) -> Float64:
    """Return ``(N, N)`` float64 distances of samples ``(N, H, W)``, in [0, 1].

    1 - sum min(a, b) / sum max(a, b) (Ruzicka) of the covered shares of the cells of a grid
    over the foreground, at most `GRID` cells a side. This is 1 - IoU if a cell is one
    pixel, and no foreground is lost if it is not. With several classes both sums run over
    the classes. Two empty samples have distance 0.
    """
    if len(sample_masks) < 2:
        return np.zeros((len(sample_masks), len(sample_masks)))
    # Here, because every window would otherwise load it when the dock is opened.
    from scipy.spatial.distance import pdist, squareform

    cover = _coverage(sample_masks)
    sums = cover.sum(axis=1)
    # Bray-Curtis is sum |a - b| / sum (a + b); two empty samples, 0 / 0, get distance 0.
    bray_curtis = pdist(cover + (0.0 if sums.all() else 1e-12), "braycurtis")
    distances: Float64 = squareform(2 * bray_curtis / (1 + bray_curtis))
    return distances


def _coverage(masks: Mask) -> Coverage:
    """Return the covered share of each grid cell, ``(N, classes * cells)`` float32."""
    window = foreground_window(masks)
    inside = masks[:, *window]
    step = max(1, -(-max(inside.shape[1:]) // GRID))
    # One class, whether it is called True or, say, 3, needs no comparison.
    labels = range(0) if is_binary(masks) else _labels(inside)
    if len(labels) < 2:
        return _cell_means(inside != 0, step)
    return np.concatenate([_cell_means(inside == label, step) for label in labels], axis=1)


def foreground_window(masks: Mask) -> tuple[slice, slice]:
    """Return the rows and columns of ``(N, H, W)`` with foreground; all if there is none."""
    anywhere = np.bitwise_or.reduce(masks, axis=0) != 0
    if not anywhere.any():
        return slice(0, masks.shape[1]), slice(0, masks.shape[2])
    rows, columns = (np.flatnonzero(anywhere.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _labels(masks: Mask) -> Sequence[int]:
    counts = np.zeros(256, np.int64)
    for mask in masks:
        counts += np.bincount(mask.ravel(), minlength=256)
    return [int(label) for label in np.flatnonzero(counts) if label]


def _cell_means(masks: NDArray[np.bool_], step: int) -> Coverage:
    """Return the mean of each ``step x step`` cell of ``(N, H, W)``, as ``(N, cells)``."""
    count, height, width = masks.shape
    padding = [(0, 0), (0, -height % step), (0, -width % step)]
    padded = np.pad(masks, padding).view(np.uint8) if step > 1 else masks.view(np.uint8)
    # Adding strided views is many times faster than a sum over the axes of a reshaped array.
    rows = padded[:, ::step].astype(np.uint16)
    for offset in range(1, step):
        rows += padded[:, offset::step]
    cells = rows[..., ::step].astype(np.float32)
    for offset in range(1, step):
        cells += rows[..., offset::step]
    return cells.reshape(count, -1) / np.float32(step * step)


def _groups(distances: Float64, most: int) -> list[NDArray[np.intp]]:
    """Return the indices of each group, at most `most` groups."""
    count = len(distances)
    if count == 1 or most == 1:
        return [np.arange(count)]
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import squareform

    tree = linkage(squareform(distances, checks=False), "average")
    if tree[-1, 2] <= ALIKE:
        return [np.arange(count)]
    best, chosen = -np.inf, np.zeros(count, np.int64)
    for wanted in range(2, min(most, count) + 1):
        labels = cut_tree(tree, [wanted]).ravel()
        value = _silhouette(distances, labels)
        # On a tie take the larger number, so that dissimilar samples are not merged.
        if value >= best - 1e-9:
            best, chosen = value, labels
    return [np.flatnonzero(chosen == label) for label in np.unique(chosen)]


def _silhouette(distances: Float64, labels: NDArray[np.int64]) -> float:
    """Return the mean silhouette (Rousseeuw 1987); a group of one sample counts as 0."""
    _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    member = inverse[:, None] == np.arange(len(sizes))
    sums = distances @ member
    within = sums[member] / np.maximum(sizes[inverse] - 1, 1)
    others = np.where(member, np.inf, sums / sizes).min(axis=1)
    larger = np.maximum(within, others)
    values = np.divide(others - within, larger, out=np.zeros_like(within), where=larger > 0)
    return float(np.where(sizes[inverse] > 1, values, 0).mean())


def _hypothesis(
    medoid: int, members: NDArray[np.intp], samples: Mask, mean: Mask, area: int
) -> Hypothesis:
    mask = samples[medoid]
    if is_binary(mask) and is_binary(mean):
        agreement, overlap = dice(mask, mean), iou(mask, mean)
    else:
        agreement, overlap = class_dice(mask, mean), class_iou(mask, mean)
    return Hypothesis(
        medoid=medoid,
        members=tuple(map(int, members)),
        weight=len(members) / len(samples),
        area=area,
        agreement=agreement,
        distance=1 - overlap,
    )
