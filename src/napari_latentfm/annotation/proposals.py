"""Recording of the proposals that are written into an annotation."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from latentfm_core.annotation.provenance import ProposalInfo
from napari_latentfm.layers.annotation_record import MEAN_MASK, Proposal, Record
from napari_latentfm.layers.pyramid import is_large

if TYPE_CHECKING:
    from latentfm_core.types import SampleSet
    from napari_latentfm.layers.planes import Plane
    from napari_latentfm.results.session import Reviewed


def record_proposal(record: Record, proposal: Proposal) -> None:
    """Record a proposal; pixels that a union or a region leaves out count as edited."""
    record.spend(time.monotonic())
    record.proposals[proposal.info.index] = proposal


def proposal_of(
    plane: Plane,
    values: NDArray[np.uint8],
    samples: SampleSet,
    domain_score: float | None,
    name: str = MEAN_MASK,
    how: str = "replace",
) -> Proposal:
    """Return the proposal of labels made from samples; for the other facts see `ProposalInfo`."""
    sample = re.fullmatch(r"sample (\d+)", name)
    info = ProposalInfo(
        index=plane.index,
        origin=name,
        how=how,
        seed=samples.seeds[0 if sample is None else int(sample[1])],
        model_id=samples.model_id,
        model_sha256=samples.model_hash,
        settings=dict(samples.settings),
        domain_score=domain_score,
    )
    return Proposal(values, info, ref(samples))


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
