"""Mutated files against everything that reads files: ``python -m robustness.fuzz --help``."""
