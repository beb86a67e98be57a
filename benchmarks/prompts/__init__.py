"""Accuracy of prompted samples, beside other methods that get the same prompts."""
