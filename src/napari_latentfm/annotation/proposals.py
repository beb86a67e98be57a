"""Recording of the proposals that are written into an annotation."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_latentfm.layers.annotation_record import MEAN_MASK, Proposal, Record
from napari_latentfm.layers.pyramid import is_large

if TYPE_CHECKING:
    from latentfm_core.types import SampleSet
    from napari_latentfm.layers.planes import Plane
    from napari_latentfm.results.session import Reviewed


@dataclass(frozen=True)
class Origin:
    """Where a proposed mask comes from.

    Attributes
    ----------
    name
        "mean mask", "sample 3" or "mask".
    how
        How it is written; see `napari_latentfm.annotation.merging.How`.
    samples
        What it was made from.
    domain_score
        How unlike the training images the plane is; None if unknown.
    """

    name: str
    how: str
    samples: SampleSet
    domain_score: float | None = None


def record_proposal(
    record: Record, plane: Plane, values: NDArray[np.uint8], origin: Origin
) -> None:
    """Record a proposal; pixels that a union or a region leaves out count as edited."""
    samples = origin.samples
    sample = re.fullmatch(r"sample (\d+)", origin.name)
    record.spend(time.monotonic())
    record.proposals[plane.index] = Proposal(
        values,
        origin.name,
        origin.how,
        samples.seeds[0 if sample is None else int(sample[1])],
        samples.model_id,
        samples.model_hash,
        dict(samples.settings),
        origin.domain_score,
    )


def kept_values(reviewed: Reviewed, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return values that later changes of the layers do not reach."""
    # The mean mask of a large image cannot be painted on, and a copy would be slow.
    mean = reviewed.result.summary.mean_mask
    shared = is_large(reviewed.plane.shape) and np.may_share_memory(values, mean)
    return values if shared else values.copy()


def name_of(reviewed: Reviewed, values: NDArray[np.uint8]) -> str:
    """Return the name of the proposed mask: "mean mask", "sample 3" or "mask"."""
    summary = reviewed.result.summary
    if reviewed.label is not None:
        values = (values == reviewed.label).astype(np.uint8)
    if np.array_equal(values, summary.mean_mask.astype(np.uint8)):
        return MEAN_MASK
    for number, mask in enumerate(summary.sample_masks):
        if np.array_equal(values, mask.astype(np.uint8)):
            return f"sample {number}"
    return "mask"
