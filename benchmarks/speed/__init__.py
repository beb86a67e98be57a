"""Time and memory of LatentFM and of alternatives."""
