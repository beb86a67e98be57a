"""Model folders on disk: weights, model card, and the bundled models."""
