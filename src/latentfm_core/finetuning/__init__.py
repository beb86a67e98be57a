"""Learning from corrections: a copy of a model is trained on with a few annotated images."""
