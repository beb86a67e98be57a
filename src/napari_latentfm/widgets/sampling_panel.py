"""Sampling panel at its first import path; new code uses `napari_latentfm.sampling.panel`."""

from napari_latentfm.sampling.panel import SamplingPanel

__all__ = ["SamplingPanel"]
