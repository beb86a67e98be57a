"""Samples that agree with what an annotator is sure of."""
