"""Accuracy of prompted samples and of other methods with the same prompts."""
