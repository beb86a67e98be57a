"""Uncertainty estimated from a set of samples."""
