"""At its first path; new code imports `napari_latentfm.worklist.panel`."""

from napari_latentfm.worklist.panel import QueuePanel

__all__ = ["QueuePanel"]
