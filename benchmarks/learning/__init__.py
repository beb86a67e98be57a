"""Gain of a model from a few corrected images of an unseen kind."""
