"""Distance of an image from the training images of a model."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import DataConfig
from latentfm_core.images.intensity import to_rgb
from latentfm_core.images.large import LargeImage, PixelField
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.framing import Frame, frame
from latentfm_core.inference.network import Network
from latentfm_core.types import Float32, ImageLike
from latentfm_core.uncertainty.domain import TrainingDomain

if TYPE_CHECKING:
    from latentfm_core.inference.segmenter import Segmenter

COMPARING = "Comparing the image with the training images."
_BAND = 16
"""Rows of the network's input read at once from a large image."""


@dataclass(frozen=True)
class TrainingDistance:
    """Domain scores by the networks of a model, each with its own training domain.

    Uses the whole image even with a prompt, because the training images are whole as well.

    Attributes
    ----------
    networks, domains
        The networks, and the statistics of their training images; None if unknown.
    data
        Sets the canvas side, and how a whole image is fitted to it.
    """

    networks: Sequence[Network]
    domains: Sequence[TrainingDomain | None]
    data: DataConfig

    def score(self, rgb: Float32, seen: Frame | None = None) -> float | None:
        """Return the mean score over the networks; None if it is unknown for one of them.

        Parameters
        ----------
        rgb
            ``(H, W, 3)`` float32 in [0, 1].
        """
        known = self._known()
        if not known:
            return None
        whole = self._whole(rgb, seen)
        pairs = zip(known, self.networks, strict=True)
        return float(np.mean([domain.score(_pooled(network, whole)) for domain, network in pairs]))

    def score_of_large(self, image: LargeImage) -> Generator[Progress, None, float | None]:
        """Return `score` of a large image, read in bands at the size of the canvas."""
        if not self._known():
            return None
        whole = PixelField(image, min(1.0, self.data.size / max(image.shape)))
        height, width = whole.shape
        bands = []
        for top in range(0, height, _BAND):
            yield Progress(0, 1, COMPARING)
            bands.append(whole.read(top, 0, min(_BAND, height - top), width))
        return self.score(np.concatenate(bands))

    def feature(self, image: ImageLike) -> Float32:
        """Return the mean image features ``(D,)`` of a whole image, in the first network.

        An array of `to_rgb` is used as it is.
        """
        rgb = image if isinstance(image, np.ndarray) and _is_rgb(image) else to_rgb(image)
        return _pooled(self.networks[0], self._whole(rgb))

    def _known(self) -> list[TrainingDomain]:
        """Return the training domain of each network; empty if one has none of this size."""
        size = self.data.size
        known = [domain for domain in self.domains if domain is not None and domain.size == size]
        return known if len(known) == len(self.networks) else []

    def _whole(self, rgb: Float32, seen: Frame | None = None) -> Frame:
        if seen is None or seen.geometry.window is not None:
            return frame(rgb, None, self.data, 1.0)
        return seen


def domain_digest(segmenter: Segmenter) -> str:
    """Return the hex SHA-256 of the training domains of a model; empty if it has none."""
    found = [member.domain and member.domain.digest() for member in segmenter.members]
    return hashlib.sha256(repr(found).encode()).hexdigest() if any(found) else ""


def _is_rgb(values: NDArray[Any]) -> bool:
    form = values.dtype == np.float32 and values.ndim == 3 and values.shape[2] == 3
    return bool(form and values.size and values.min() >= 0 and values.max() <= 1)


def _pooled(network: Network, whole: Frame) -> Float32:
    return network.pooled(whole.canvas, whole.geometry.box)
