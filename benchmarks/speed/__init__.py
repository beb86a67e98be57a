"""Seconds and memory of LatentFM beside what a user would take instead."""
