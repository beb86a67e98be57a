"""Evaluation against reference masks, and calibration on validation images."""
