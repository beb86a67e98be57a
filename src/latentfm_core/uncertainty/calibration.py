"""Calibration of confidence and mean probability, fitted on validation data.

The raw confidence 1 - 4 variance measures how far the samples agree, not how often they are
right. A `Calibration` turns it into that: of the pixels with calibrated confidence 0.9, nine
in ten agree with the expert.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from latentfm_core.config import Fraction, PositiveInt, Settings, SolverName
from latentfm_core.types import Float32, Geometry
from latentfm_core.uncertainty.expected_dice import QualityMap

MAX_KNOTS = 64

_PIECE = 2**16
TRUNCATE = 3.0
"""Truncation of the Gaussian neighbourhood, in standard deviations."""

Knots = Annotated[tuple[Fraction, ...], Field(min_length=2, max_length=MAX_KNOTS)]


class MonotoneMap(Settings):
    """A non-decreasing piecewise linear function from [0, 1] to [0, 1].

    Attributes
    ----------
    x
        Knots, strictly increasing.
    """

    x: Knots
    y: Knots

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.x) != len(self.y):
            raise ValueError("x and y must have the same length")
        if any(b <= a for a, b in zip(self.x, self.x[1:], strict=False)):
            raise ValueError("x must increase")
        if any(b < a for a, b in zip(self.y, self.y[1:], strict=False)):
            raise ValueError("y must not decrease")
        return self

    def __call__(self, values: NDArray[np.floating]) -> Float32:
        """Return the function's values, of the shape of `values`."""
        flat = values.reshape(-1)
        mapped = np.empty(flat.shape, np.float32)
        # In pieces: the result of NumPy is in double precision.
        for start in range(0, len(flat), _PIECE):
            piece = slice(start, start + _PIECE)
            mapped[piece] = np.interp(flat[piece], self.x, self.y)
        return mapped.reshape(values.shape)


class Calibration(Settings):
    """Maps and threshold fitted on validation data; part of a model's card.

    Attributes
    ----------
    sigma
        Standard deviation, in canvas pixels, of the Gaussian neighbourhood in which
        uncertainty is considered.
    confidence
        From neighbourhood confidence (`neighbourhood_confidence`) to the chance that the
        mean mask agrees with the expert.
    probability
        From mean probability to the chance of foreground; None with several classes.
    threshold
        Lowest mean probability of a pixel in the mean mask.
    noise_scale
        Standard deviation of the initial noise with which the samples' spread is nearest to
        their errors.
    quality
        From the agreement of the samples to the expected Dice of the mean mask; None if too
        few images were there to fit it.
    box_aligned
        Of a calibration for boxes, whether the samples were aligned with their boxes, as they are
        now; earlier versions did not align them.
    n_images, n_samples, steps, solver
        Number of images, and the sampling settings.
    """

    sigma: Annotated[float, Field(ge=0, le=64)]
    confidence: MonotoneMap
    probability: MonotoneMap | None = None
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    noise_scale: Annotated[float, Field(gt=0, le=4)] = 1.0
    quality: QualityMap | None = None
    box_aligned: bool = False
    part: Annotated[str, Field(max_length=200)] = ""
    n_images: PositiveInt
    n_samples: PositiveInt
    steps: PositiveInt
    solver: SolverName

    def digest(self) -> str:
        """Return the hex SHA-256 of all fitted values that are not defaults."""
        # Without defaults, so that a later version with further fields returns the same.
        text = self.model_dump_json(exclude_defaults=True, exclude={"box_aligned"})
        return hashlib.sha256(text.encode()).hexdigest()


def neighbourhood(mean: Float32, sigma: float) -> Float32:
    """Return the mean probability in a Gaussian neighbourhood of each canvas pixel.

    Parameters
    ----------
    mean
        ``(S, S)`` or ``(K, S, S)`` float32, mean over the samples on the canvas.
    """
    # Commands read cards, which hold calibrations, before --help: do not load SciPy there.
    from scipy.ndimage import gaussian_filter

    widths = (0.0,) * (mean.ndim - 2) + (sigma, sigma)
    smoothed: Float32 = gaussian_filter(mean, widths, mode="nearest", truncate=TRUNCATE)
    return np.clip(smoothed, 0.0, 1.0)


def sigma_on(geometry: Geometry, sigma: float, size: int) -> float:
    """Return `sigma`, in pixels of a canvas of side `size`, in pixels of the canvas of samples."""
    return sigma * (geometry.canvas / size)


def reach(sigma: float) -> int:
    """Return the radius of `neighbourhood` in pixels."""
    return int(TRUNCATE * sigma + 0.5)


def neighbourhood_confidence(q: Float32) -> Float32:
    """Return 1 - total variance of a mask drawn from `q`, scaled to [0, 1].

    For one class 1 - 4 q (1 - q). That is the law of total variance: the spread between the
    samples plus the softness of each, which 1 - 4 variance leaves out; with q taken over a
    neighbourhood it also reflects contours nearby. With K channels
    1 - K / (K - 1) (1 - sum q_k^2), the same for K = 2.

    Parameters
    ----------
    q
        ``(H, W)`` or ``(K, H, W)`` probabilities.
    """
    if q.ndim == 2:
        impurity = 4 * q * (1 - q)
    else:
        impurity = (1 - np.square(q).sum(axis=0)) * np.float32(len(q) / (len(q) - 1))
    confidence: Float32 = np.clip(1 - impurity, 0.0, 1.0)
    return confidence
