"""Guide samples to agree with an annotator's strokes."""
