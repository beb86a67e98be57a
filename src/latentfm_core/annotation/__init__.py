"""Annotation files: autosave, export with provenance, and reading."""
