"""The annotation: its layer, provenance, autosave, recovery and files."""
