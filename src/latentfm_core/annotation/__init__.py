"""Annotations as files: kept while they are made, exported when done, and read back."""
