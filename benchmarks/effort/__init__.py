"""Clicks of a simulated annotator who works through a folder, with and without adaptation."""
