"""Import path of the first version; new code uses `napari_latentfm.review.panel`."""

from napari_latentfm.review.panel import ReviewPanel

__all__ = ["ReviewPanel"]
