"""Edits of one label in a plane of an annotation; other labels never change."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from latentfm_core.errors import ImageError
from latentfm_core.measures.size import label_pieces, largest_piece
from latentfm_core.types import Bool

Kind = Literal["keep", "remove", "largest", "fill", "smooth", "grow", "shrink"]

LIMITS: dict[str, tuple[int, int]] = {"smooth": (2, 50), "grow": (1, 50), "shrink": (1, 50)}
"""Minimum and maximum of `Operation.pixels`. A narrower Gaussian does not change a mask."""
TRUNCATE = 3.0
"""Standard deviations at which the Gaussian of the smoothing ends."""


@dataclass(frozen=True)
class Operation:
    """An edit of one label.

    Attributes
    ----------
    kind
        ``"keep"`` or ``"remove"`` the piece at `at`; keep the ``"largest"`` piece only;
        ``"fill"`` holes; ``"smooth"``, ``"grow"`` or ``"shrink"`` by `pixels`.
    pixels
        Size in pixels, within `LIMITS`. ``"smooth"`` blurs with a Gaussian whose standard
        deviation is half of it: narrower details disappear.
    at
        ``(row, column)`` of a pixel of the piece.
    """

    kind: Kind
    pixels: int = 0
    at: tuple[int, int] | None = None


@dataclass(frozen=True)
class Edit:
    """The pixels that an operation changes.

    Attributes
    ----------
    rows, columns
        ``(P,)`` integers; where pixels of the plane change.
    values
        ``(P,)``, of the dtype of the plane: the new labels, the edited one or 0.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    values: NDArray[Any]

    @property
    def added(self) -> int:
        """Number of pixels that get the label."""
        return int(np.count_nonzero(self.values))

    @property
    def removed(self) -> int:
        """Number of pixels that lose it."""
        return len(self.values) - self.added


@dataclass(frozen=True)
class _Area:
    """The neighbourhood of a label: its pixels, those it may take, and where it was clicked."""

    mask: Bool
    free: Bool
    pixels: int
    at: tuple[int, int] | None


def edit(labels: NDArray[Any], label: int, operation: Operation) -> Edit:
    """Return what an operation changes in a plane of labels.

    Only the neighbourhood of the label is worked on. Its pixels become 0, or pixels that are 0
    get it; pixels of other labels stay.

    Parameters
    ----------
    labels
        ``(H, W)`` integers, 0 is background; not changed here.
    label
        The label to edit, not 0.

    Raises
    ------
    ImageError
        If the plane has no pixel of the label, nothing of it would be left after shrinking, the
        clicked pixel is not of that label, or a size is out of range.
    """
    low, high = LIMITS.get(operation.kind, (0, 0))
    if high and not low <= operation.pixels <= high:
        raise ImageError(f"The size is {operation.pixels} pixels; choose {low} to {high}.")
    mask = labels == label
    window = _window(mask, _margin(operation))
    if window is None:
        raise ImageError(f"Label {label} is not on this plane, so there is nothing to change.")
    at = operation.at
    if operation.kind in ("keep", "remove"):
        if at is None or not _has(mask, at):
            raise ImageError(f"Label {label} has no piece here. Click inside a piece.")
        at = at[0] - window[0].start, at[1] - window[1].start
    area = _Area(mask[window], labels[window] == 0, operation.pixels, at)
    wanted = _CHANGES[operation.kind](area)
    if operation.kind == "shrink" and not wanted.any():
        raise ImageError(
            f"Shrinking by {operation.pixels} pixels would leave nothing of label {label}. "
            "Choose fewer pixels."
        )
    rows, columns = np.nonzero(wanted != area.mask)
    values = np.where(wanted[rows, columns], label, 0).astype(labels.dtype)
    return Edit(rows + window[0].start, columns + window[1].start, values)


def _margin(operation: Operation) -> int:
    reach = {"smooth": math.ceil(TRUNCATE * operation.pixels / 2), "grow": operation.pixels}
    return 1 + reach.get(operation.kind, 0)


def _window(mask: Bool, margin: int) -> tuple[slice, slice] | None:
    sides = []
    for axis, length in enumerate(mask.shape):
        places = np.flatnonzero(mask.any(axis=1 - axis))
        if not places.size:
            return None
        sides.append(
            slice(max(0, int(places[0]) - margin), min(length, int(places[-1]) + 1 + margin))
        )
    return sides[0], sides[1]


def _has(mask: Bool, at: tuple[int, int]) -> bool:
    inside = all(0 <= place < length for place, length in zip(at, mask.shape, strict=True))
    return inside and bool(mask[at])


def _piece(area: _Area) -> Bool:
    pieces, _ = label_pieces(area.mask)
    return np.asarray(pieces == pieces[area.at])


def _remove(area: _Area) -> Bool:
    return area.mask & ~_piece(area)


def _largest(area: _Area) -> Bool:
    return largest_piece(area.mask)


def _fill(area: _Area) -> Bool:
    filled = np.asarray(ndimage.binary_fill_holes(area.mask))
    return area.mask | (filled & area.free)


def _smooth(area: _Area) -> Bool:
    """Smooth piece by piece; each keeps its area, so that small pieces stay."""
    pieces, _ = label_pieces(area.mask)
    allowed = area.mask | area.free
    smooth = np.zeros_like(area.mask)
    margin = math.ceil(TRUNCATE * area.pixels / 2)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        # Slices are clipped at the border automatically.
        around = tuple(slice(max(0, side.start - margin), side.stop + margin) for side in box)
        smooth[around] |= _smoothed(pieces[around] == number, allowed[around], area.pixels / 2)
    return smooth


def _smoothed(piece: Bool, allowed: Bool, sigma: float) -> Bool:
    # As if the image went on beyond its border: a piece that ends there is not rounded off.
    blurred = ndimage.gaussian_filter(
        piece.astype(np.float32), sigma, mode="nearest", truncate=TRUNCATE
    )
    blurred[~allowed] = -1
    size = int(np.count_nonzero(piece))
    # The level that encloses the area of the piece.
    level = np.partition(blurred, -size, axis=None)[-size]
    return np.asarray(blurred >= level)


def _grow(area: _Area) -> Bool:
    near = ndimage.distance_transform_edt(~area.mask) <= area.pixels
    allowed = area.mask | area.free
    grown = np.asarray(near & allowed)
    if allowed.all():
        return grown
    # Pixels behind another label are near, too, but growth ends at that label.
    # Growth does not slip through where two labels touch at a corner.
    parts, _ = ndimage.label(grown)
    return np.asarray(np.isin(parts, np.unique(parts[area.mask])) & grown)


def _shrink(area: _Area) -> Bool:
    # The border of the image is not a border of the label. On a plane that the label fills there
    # is no other one, and SciPy would measure from a place outside it.
    if area.mask.all():
        return area.mask
    return np.asarray(ndimage.distance_transform_edt(area.mask) > area.pixels)


_CHANGES: dict[Kind, Callable[[_Area], Bool]] = {
    "keep": _piece,
    "remove": _remove,
    "largest": _largest,
    "fill": _fill,
    "smooth": _smooth,
    "grow": _grow,
    "shrink": _shrink,
}
