"""Overlap, distribution and calibration figures."""
