"""Kill jobs at random moments and check the files left: ``python -m robustness.crash --help``."""
