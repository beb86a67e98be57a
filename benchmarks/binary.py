"""What is measured with models of one class only."""

from __future__ import annotations

from latentfm_core.types import Bool, Mask, is_binary


def binary(mask: Mask) -> Bool:
    """Return a mask of a model with one class; end the command where there are several."""
    if not is_binary(mask):
        raise SystemExit("This benchmark compares masks of one class; choose a model with one.")
    return mask
