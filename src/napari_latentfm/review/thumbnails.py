"""Thumbnails of hypotheses: drawn in a worker, shown as a strip of buttons."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QColor, QIcon, QImage, QPixmap, QShowEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QScrollArea, QToolButton, QWidget
from scipy.ndimage import binary_dilation
from skimage.segmentation import find_boundaries
from skimage.transform import resize

from latentfm_core.colours import outline_colour
from latentfm_core.errors import LatentFMError
from latentfm_core.images.intensity import to_rgb
from latentfm_core.types import Float32, Mask
from latentfm_core.uncertainty.contours import AgreementContour, agreement_contours, enlarged
from latentfm_core.uncertainty.grid import grid_step, on_grid, summary_on_grid
from latentfm_core.uncertainty.hypotheses import (
    Hypothesis,
    Order,
    find_hypotheses,
    foreground_window,
)
from napari_latentfm.layers.pixels import plane_spacing, read_plane
from napari_latentfm.results.session import Reviewed
from napari_latentfm.ui.units import area_text

logger = logging.getLogger(__name__)

Picture = NDArray[np.uint8]

PREVIEW_COLOUR = "#f0e442"
"""Okabe-Ito yellow; the mean mask is blue and the samples are orange."""
ICON_SIDE = 92
"""Screen pixels; three thumbnails fit into the narrowest panel."""
PICTURE_SIDE = 2 * ICON_SIDE
"""Pixels of the longer side of a thumbnail; sharp on high-resolution displays."""
EMPTY = "The plausible outlines appear here."
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

    Parameters
    ----------
    image
        ``(H, W, 3)`` float32 in [0, 1].
    sample_masks
        ``(N, H, W)`` bool, or labels with 0 as background.
    hypotheses
        The hypotheses to show.
    several
        Whether labels are classes, each with its own colour.
    own
        The model's own colours of its classes; empty if it has none.

    Returns
    -------
    list of Picture
        ``(h, w, 3)`` uint8 each; the longer side has `PICTURE_SIDE` pixels.
    """
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


@dataclass(frozen=True)
class Tile:
    """One button of the strip: picture, text and tooltip."""

    picture: Picture
    text: str
    tooltip: str


def tile(hypothesis: Hypothesis, picture: Picture, by: Order, count: int, area: str = "") -> Tile:
    """Return the button of a hypothesis.

    Parameters
    ----------
    hypothesis, picture
        The hypothesis and its thumbnail.
    by
        The order of the strip; the third line shows the figure that it sorts by.
    count
        Number of samples.
    area
        Area of the hypothesis with its unit; by default in pixels.
    """
    area = area or f"{hypothesis.area:,} px²"
    look = "show nothing" if hypothesis.empty else "look like this"
    figures = {
        "weight": f"{len(hypothesis.members)} of {count}",
        "area": area,
        "agreement": f"Dice {hypothesis.agreement:.2f}",
        "difference": f"1 - IoU {hypothesis.distance:.2f}",
    }
    return Tile(
        picture,
        f"{100 * hypothesis.weight:.0f}% of samples\n{look}\n{figures[by]}",
        f"Sample {hypothesis.medoid} represents {len(hypothesis.members)} of {count} samples.\n"
        f"Area {area}. Compared with the mean mask: Dice "
        f"{hypothesis.agreement:.2f}, 1 - IoU {hypothesis.distance:.2f}.\n"
        "Click to see it on the image, and again to hide it (H next, Shift+H previous, Q hide).",
    )


BLANK = Tile(np.zeros((PICTURE_SIDE, PICTURE_SIDE, 3), np.uint8), "%\nlook\nDice", "")


class ThumbnailStrip(QScrollArea):
    """A row of thumbnails, at most one of which is chosen.

    Attributes
    ----------
    chosen
        Emitted with the index of the clicked thumbnail, or -1 if the click ended the choice.
    """

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.buttons: list[QToolButton] = []
        self.setWidgetResizable(True)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        # napari's style does not distinguish checked buttons.
        self.setStyleSheet(
            "QToolButton { border: 2px solid transparent; }"
            f"QToolButton:checked {{ border-color: {PREVIEW_COLOUR}; }}"
            "QToolButton:focus:!checked { border: 2px dotted gray; }"
            "QToolButton:focus:checked { border-style: dotted; }"
        )
        self._fill(QWidget())

    def show_tiles(self, tiles: Sequence[Tile]) -> None:
        """Replace all thumbnails; none is chosen then."""
        row = QWidget()
        self.buttons = [self._button(row, index, tile) for index, tile in enumerate(tiles)]
        self._fill(row)

    def mark(self, chosen: int) -> None:
        """Mark the chosen thumbnail, -1 for none, and scroll to it."""
        for index, button in enumerate(self.buttons):
            button.setChecked(index == chosen)
        if 0 <= chosen < len(self.buttons):
            self.ensureWidgetVisible(self.buttons[chosen])

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Take the height of the pictures in napari's style, which is known now."""
        super().showEvent(event)
        self._set_height()

    def _set_height(self) -> None:
        """Reserve the height of a picture: no button below moves when the pictures come or go."""
        example = self._button(self.viewport(), 0, BLANK)
        example.ensurePolished()
        bar = self.horizontalScrollBar().sizeHint().height()
        self.setFixedHeight(example.sizeHint().height() + bar)
        example.setParent(None)

    def _fill(self, row: QWidget) -> None:
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        for button in self.buttons:
            layout.addWidget(button)
        if not self.buttons:
            layout.addWidget(QLabel(EMPTY))
        layout.addStretch()
        # Deletes the row before this one.
        self.setWidget(row)

    def _button(self, row: QWidget, index: int, tile: Tile) -> QToolButton:
        button = QToolButton(row)
        button.setCheckable(True)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        button.setIconSize(QSize(ICON_SIDE, ICON_SIDE))
        button.setIcon(QIcon(_pixmap(tile.picture)))
        button.setText(tile.text)
        button.setAccessibleName(tile.text.replace("\n", " "))
        button.setToolTip(tile.tooltip)
        font = button.font()
        font.setPointSizeF(max(6.0, 0.8 * font.pointSizeF()))
        button.setFont(font)
        button.clicked.connect(lambda checked: self.chosen.emit(index if checked else -1))
        return button


def _pixmap(picture: Picture) -> QPixmap:
    height, width, _ = picture.shape
    data = np.ascontiguousarray(picture)
    image = QImage(data.data, width, height, 3 * width, QImage.Format.Format_RGB888)
    # The QImage refers to the array; the pixmap is a copy.
    pixmap: QPixmap = QPixmap.fromImage(image)
    return pixmap
