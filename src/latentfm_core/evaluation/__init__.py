"""Comparison with reference masks, and calibration on validation images."""
