"""Import paths of the first version, kept for existing scripts."""
