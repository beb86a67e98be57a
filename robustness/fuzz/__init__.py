"""Feed mutated files to every reader: ``python -m robustness.fuzz --help``."""
