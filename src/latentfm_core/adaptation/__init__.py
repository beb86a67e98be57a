"""Adaptation of a promptable model to the accepted images of a work list, while it is used."""
