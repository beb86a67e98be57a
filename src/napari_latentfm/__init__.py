"""LatentFM in napari: sample plausible segmentations and see where they disagree.

This module has no imports: napari reads the plugin's manifest at start-up, and
PyTorch is loaded only when the first sampling runs.
"""
