"""Import path of the first version, kept for existing scripts."""
