"""Planes of image layers, and the layers of results and annotations."""
