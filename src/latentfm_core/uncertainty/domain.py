"""Detect images that are unlike the training images of a model.

A model segments any input, and its samples may agree on an image unlike anything it has
seen. The mean image features of an image are therefore compared with those of training
images by the Mahalanobis distance to the nearest training set. All sets share one covariance, which
is shrunk (Ledoit and Wolf), so that a few hundred images are enough to fit it.

References
----------
K. Lee, K. Lee, H. Lee, J. Shin: A simple unified framework for detecting out-of-distribution
samples and adversarial attacks. NeurIPS 2018, arXiv 1807.03888, for the distance.
O. Ledoit, M. Wolf: A well-conditioned estimator for large-dimensional covariance matrices.
Journal of Multivariate Analysis 88 (2004), for the covariance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from latentfm_core.metrics.overlap import Float64
from latentfm_core.types import Float32

PASSING = 0.9
"""Share of the validation images, changed copies included, whose score is at most 1."""

FEWEST = 20
"""Minimum number of images of each part to fit a domain."""

_SMALLEST = 1e-6
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class TrainingDomain:
    """Distribution of a model's training images in feature space.

    Attributes
    ----------
    means
        ``(K, D)`` float32, mean feature of the images of each of K training sets.
    factor
        ``(D, D)`` float32, with ``factor @ factor.T`` the inverse of the covariance within the
        sets.
    limit
        Mahalanobis distance that `PASSING` of the validation images do not exceed.
    size
        Side in pixels of the canvas that the features were computed on.
    n_train, n_val
        Number of images it was fitted on, without copies.
    """

    means: Float32
    factor: Float32
    limit: float
    size: int
    n_train: int
    n_val: int

    def score(self, feature: Float32) -> float:
        """Return the distance of a feature ``(D,)`` in units of the limit.

        Up to 1 the image is as near to the training images as validation images are; above 1 it
        is out of domain.
        """
        return float(distances(feature[np.newaxis], self.means, self.factor)[0]) / self.limit

    def digest(self) -> str:
        """Return the hex SHA-256 of all values."""
        numbers = np.array([self.limit, self.size, self.n_train, self.n_val], np.float64)
        content = b"".join(values.tobytes() for values in (self.means, self.factor, numbers))
        return hashlib.sha256(content).hexdigest()

    def with_set(self, features: Float32) -> TrainingDomain:
        """Return the domain with one more training set, of images with features ``(N, D)``.

        A few images give their mean, but no covariance: that of the other sets and the limit stay.
        """
        mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        means = np.concatenate([self.means, mean[np.newaxis]])
        return replace(self, means=means, n_train=self.n_train + len(features))


def fit_domain(
    train: Sequence[Float32], val: Float32, size: int, n_train: int, n_val: int
) -> TrainingDomain:
    """Fit the domain of training images, and its limit on validation images.

    Parameters
    ----------
    train
        For each training set ``(N, D)`` float32, mean features of images and of their changed
        copies.
    val
        ``(M, D)``, the same of validation images.
    size, n_train, n_val
        As in `TrainingDomain`.
    """
    means = np.stack([rows.mean(axis=0, dtype=np.float64) for rows in train])
    centred = np.concatenate([rows - mean for rows, mean in zip(train, means, strict=True)])
    # In the stored precision, so that the limit holds after loading. A channel that hardly varies
    # between the training images has a larger factor than that can hold.
    exact = np.clip(inverse_factor(centred), -_LARGEST, _LARGEST)
    factor = exact.astype(np.float16).astype(np.float32)
    centres = means.astype(np.float32)
    limit = float(np.quantile(distances(val, centres, factor), PASSING))
    return TrainingDomain(centres, factor, max(limit, _SMALLEST), size, n_train, n_val)


def distances(features: Float32, means: Float32, factor: Float32) -> Float64:
    """Return the Mahalanobis distances ``(N,)`` of features ``(N, D)`` to the nearest mean."""
    apart = features[:, np.newaxis].astype(np.float64) - means
    squares = ((apart @ factor.astype(np.float64)) ** 2).sum(axis=-1)
    found: Float64 = np.sqrt(squares.min(axis=1))
    return found


def inverse_factor(centred: Float64) -> Float64:
    """Return the factor ``(D, D)`` of `TrainingDomain` for centred features ``(N, D)``.

    Each channel is scaled to variance 1 before the covariance is shrunk towards the identity.
    """
    scale = centred.std(axis=0) + _SMALLEST
    values, vectors = np.linalg.eigh(shrunk_covariance(centred / scale))
    factor: Float64 = vectors / np.sqrt(np.maximum(values, _SMALLEST)) / scale[:, np.newaxis]
    return factor


def shrunk_covariance(centred: Float64) -> Float64:
    """Return the Ledoit-Wolf covariance ``(D, D)`` of centred features ``(N, D)``.

    With S the sample covariance and m its mean eigenvalue it is (1 - w) S + w m I. The weight w
    is the estimated error of S over its distance from m I.
    """
    count, channels = centred.shape
    sample = centred.T @ centred / count
    level = np.trace(sample) / channels
    energy = float((sample**2).sum())
    apart = energy - channels * level**2
    error = ((centred**2).sum(axis=1) ** 2).sum() / count**2 - energy / count
    weight = min(1.0, max(0.0, error / apart)) if apart > 0 else 1.0
    shrunk: Float64 = (1 - weight) * sample + weight * level * np.eye(channels)
    return shrunk
