"""Corrections of one label of the annotation: pieces, holes, outline."""
