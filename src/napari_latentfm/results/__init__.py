"""Finished runs: shown as layers, and kept as the session under review."""
