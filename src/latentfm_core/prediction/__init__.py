"""Predictions written to files."""
