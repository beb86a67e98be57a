"""The review panel at its first path; new code imports `napari_latentfm.review.panel`."""

from napari_latentfm.review.panel import ReviewPanel

__all__ = ["ReviewPanel"]
