"""Mutated files against everything that reads files: ``python -m fuzz --help``."""
