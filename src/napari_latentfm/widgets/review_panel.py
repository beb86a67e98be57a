"""The review panel at its first import path; new code uses `napari_latentfm.review.panel`."""

from napari_latentfm.review.panel import ReviewPanel

__all__ = ["ReviewPanel"]
