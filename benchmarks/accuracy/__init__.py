"""Accuracy of LatentFM beside other networks under one and the same time budget."""
