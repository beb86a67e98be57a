"""The sampling panel at its first path; new code imports `napari_latentfm.sampling.panel`."""

from napari_latentfm.sampling.panel import SamplingPanel

__all__ = ["SamplingPanel"]
