"""Hypotheses of a result and their thumbnails, found and drawn in a worker."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from qtpy.QtGui import QColor
from scipy.ndimage import binary_dilation

from latentfm_core.colours import ROLE_COLOURS, outline_colour
from latentfm_core.errors import LatentFMError
from latentfm_core.images.intensity import to_rgb
from latentfm_core.types import Float32, Mask
from latentfm_core.uncertainty.contours import AgreementContour, agreement_contours, enlarged
from latentfm_core.uncertainty.grid import grid_step, on_grid, summary_on_grid
from latentfm_core.uncertainty.hypotheses import Hypothesis, find_hypotheses, foreground_window
from napari_latentfm.layers.pixels import plane_spacing, read_plane
from napari_latentfm.results.session import Reviewed
from napari_latentfm.ui.units import area_text

logger = logging.getLogger(__name__)

Picture = NDArray[np.uint8]

PREVIEW_COLOUR = ROLE_COLOURS["hypothesis"]
ICON_SIDE = 92
"""Screen pixels; three thumbnails fit into the narrowest panel."""
PICTURE_SIDE = 2 * ICON_SIDE
"""Pixels of the longer side of a thumbnail; sharp on high-resolution displays."""
MARGIN = 0.15
"""Margin around the foreground of all samples, as a share of its size."""


def thumbnails(
    image: Float32,
    sample_masks: Mask,
    hypotheses: Sequence[Hypothesis],
    several: bool = False,
    own: Sequence[str] = (),
) -> list[Picture]:
    """Return one thumbnail per hypothesis: the image with the outline of the medoid.

    All show the same part of the image, the foreground of all samples with a margin, so that
    they can be compared.

    Each is ``(h, w, 3)`` uint8; its longer side has `PICTURE_SIDE` pixels.

    Parameters
    ----------
    image
        ``(H, W, 3)`` float32 in [0, 1].
    sample_masks
        ``(N, H, W)`` bool, or labels with 0 as background.
    several
        Whether labels are classes, each with its own colour.
    own
        The model's own colours of its classes; empty if it has none.
    """
    # Here, in the worker, because every window would otherwise load it when the dock is opened.
    from skimage.transform import resize

    window = _window(sample_masks)
    crop = image[window]
    factor = PICTURE_SIDE / max(crop.shape[:2])
    size = [max(1, round(side * factor)) for side in crop.shape[:2]]
    ground = resize(crop, (*size, 3), order=1, anti_aliasing=factor < 1)
    rows, columns = (
        np.minimum(np.arange(n) * side // n, side - 1)
        for n, side in zip(size, crop.shape[:2], strict=True)
    )
    colours = outline_colours(int(sample_masks.max(initial=0)), several, own)
    return [
        _outlined(ground, sample_masks[h.medoid][window][np.ix_(rows, columns)], colours)
        for h in hypotheses
    ]


def outline_colours(count: int, several: bool, own: Sequence[str] = ()) -> dict[int, str]:
    """Return the colours of a hypothesis by label; for the parameters see `thumbnails`.

    A model of one class shows it in the colour of hypotheses, which lie on the mean mask.
    """
    if not several:
        return {1: PREVIEW_COLOUR}
    return {label: outline_colour(label, own) for label in range(1, count + 1)}


def _window(masks: Mask) -> tuple[slice, slice]:
    """Return the part of the image to show: all of it if no sample has foreground."""
    rows, columns = foreground_window(masks)
    margin = 2 + round(MARGIN * max(rows.stop - rows.start, columns.stop - columns.start))
    return (
        slice(max(0, rows.start - margin), min(masks.shape[1], rows.stop + margin)),
        slice(max(0, columns.start - margin), min(masks.shape[2], columns.stop + margin)),
    )


def _outlined(ground: NDArray[np.floating], mask: Mask, colours: Mapping[int, str]) -> Picture:
    from skimage.segmentation import find_boundaries

    labels = mask.astype(np.uint8)
    line = find_boundaries(labels, mode="inner")
    line = binary_dilation(line) & (labels > 0)
    picture = np.asarray(ground).copy()
    # A dark border keeps the outline visible on a bright background.
    picture[binary_dilation(line, iterations=2) & ~line] *= 0.4
    for label in np.unique(labels[line]):
        colour = QColor(colours[int(label)])
        picture[line & (labels == label)] = (colour.redF(), colour.greenF(), colour.blueF())
    result: Picture = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    return result


@dataclass(frozen=True)
class HypothesisResult:
    """Hypotheses of a result; `areas` have units, and `contours` are found last."""

    reviewed: Reviewed
    hypotheses: tuple[Hypothesis, ...] = ()
    pictures: tuple[Picture, ...] = ()
    areas: tuple[str, ...] = ()
    contours: tuple[AgreementContour, ...] | None = None
    error: str | None = None


def search(reviewed: Reviewed) -> Generator[HypothesisResult, None, None]:
    """Find the hypotheses, their thumbnails and the contours; never raises."""
    summary = reviewed.result.summary
    try:
        step = grid_step(reviewed.plane.shape)
        coarse = summary_on_grid(summary, step)
        hypotheses = tuple(
            replace(h, area=int(np.count_nonzero(summary.sample_masks[h.medoid])))
            for h in find_hypotheses(coarse.sample_masks, coarse.mean_mask)
        )
        yield HypothesisResult(reviewed)
        several = summary.class_confidence is not None
        # Fine enough for the thumbnails, which may show a small part of a large image.
        fine = min(step, max(1, _longest(coarse.sample_masks) * step // (2 * PICTURE_SIDE)))
        image = read_plane(reviewed.layer, reviewed.plane)
        ground = to_rgb(replace(image, pixels=_every(image.pixels, fine)))
        masks = on_grid(summary.sample_masks, fine)
        own = reviewed.result.samples.colours
        pictures = thumbnails(ground, masks, hypotheses, several, own)
        spacing, unit = plane_spacing(reviewed.layer, reviewed.plane)
        areas = tuple(area_text(h.area * spacing[0] * spacing[1], unit) for h in hypotheses)
        ready = HypothesisResult(reviewed, hypotheses, tuple(pictures), areas)
        yield ready
        contours = agreement_contours(coarse.sample_masks)
        yield replace(ready, contours=tuple(enlarged(each, step) for each in contours))
    # An error is reported in the section.
    except Exception as error:
        if not isinstance(error, LatentFMError):
            logger.error("The hypotheses could not be found", exc_info=error)
        yield HypothesisResult(reviewed, error=str(error) or type(error).__name__)


def _longest(masks: Mask) -> int:
    rows, columns = _window(masks)
    return max(int(rows.stop - rows.start), int(columns.stop - columns.start))


def _every(pixels: NDArray[np.generic], step: int) -> NDArray[np.generic]:
    """Return pixels ``(H, W)`` or ``(H, W, C)`` at the points that `on_grid` takes."""
    first = [min(step // 2, (length - 1) // 2) for length in pixels.shape[:2]]
    return pixels[first[0] :: step, first[1] :: step]
