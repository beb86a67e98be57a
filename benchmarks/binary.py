"""Masks for benchmarks of models with one class."""

from __future__ import annotations

from latentfm_core.types import Bool, Mask, is_binary


def binary(mask: Mask) -> Bool:
    """Return a mask of a model with one class; exit if there are several classes."""
    if not is_binary(mask):
        raise SystemExit("This benchmark compares masks of one class; choose a model with one.")
    return mask
