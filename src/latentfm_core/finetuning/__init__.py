"""Fine-tuning of a copy of a model on a few annotated images."""
