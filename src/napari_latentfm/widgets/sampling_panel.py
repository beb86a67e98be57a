"""Import path of the first version; new code uses `napari_latentfm.sampling.panel`."""

from napari_latentfm.sampling.panel import SamplingPanel

__all__ = ["SamplingPanel"]
