"""Recording of the proposals that are written into an annotation."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_latentfm.layers.annotation_record import MEAN_MASK, Proposal, Record
from napari_latentfm.layers.pyramid import is_large

if TYPE_CHECKING:
    from napari_latentfm.results.session import Reviewed


def record_proposal(
    record: Record,
    reviewed: Reviewed,
    values: NDArray[np.uint8],
    how: str,
    origin: str | None,
) -> None:
    """Record a proposal; pixels that a union or a region leaves out count as edited."""
    samples = reviewed.result.samples
    source = origin or _origin_of(reviewed, values)
    sample = re.fullmatch(r"sample (\d+)", source)
    seed = samples.seeds[0 if sample is None else int(sample[1])]
    record.spend(time.monotonic())
    # The mean mask of a large image cannot be painted on, and a copy would be slow.
    mean = reviewed.result.summary.mean_mask
    shared = is_large(reviewed.plane.shape) and np.may_share_memory(values, mean)
    record.proposals[reviewed.plane.index] = Proposal(
        values if shared else values.copy(),
        source,
        how,
        seed,
        samples.model_id,
        samples.model_hash,
        dict(samples.settings),
        reviewed.result.summary.domain_score,
    )


def _origin_of(reviewed: Reviewed, values: NDArray[np.uint8]) -> str:
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
