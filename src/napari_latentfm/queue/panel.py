"""Import path of the first version; new code uses `napari_latentfm.worklist.panel`."""

from napari_latentfm.worklist.panel import QueuePanel

__all__ = ["QueuePanel"]
