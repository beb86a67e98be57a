"""Dice against the number of correction strokes, simulated from the expert's mask."""
