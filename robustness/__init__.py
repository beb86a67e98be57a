"""Robustness checks: damaged files and killed processes."""
