"""Kill work at random moments, check what it leaves: ``python -m robustness.crash --help``."""
