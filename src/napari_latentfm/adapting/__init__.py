"""Adaptation of the model to the accepted images of a work list, in a separate process."""
