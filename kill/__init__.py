"""Kills work at random moments and looks at what it leaves: ``python -m kill --help``."""
