"""Overlap, distribution and calibration metrics."""
