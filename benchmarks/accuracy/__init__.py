"""Accuracy of LatentFM and other networks under the same time budget."""
