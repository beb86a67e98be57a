"""Colours of labels, the same in the window and in files."""

from __future__ import annotations

CLASS_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#d55e00", "#0072b2", "#999999")
"""Okabe & Ito's colours, distinguishable with every kind of colour vision."""
MAX_LABEL = 255
"""Highest label of a palette."""


def label_colour(label: int) -> str:
    """Return the colour of a label from 1 on; they repeat after the seventh."""
    return CLASS_COLOURS[(label + 1) % len(CLASS_COLOURS)]


def palette() -> list[int]:
    """Return red, green and blue of the labels 0 to 255, from 0 to 255; the background is black."""
    colours = ["#000000", *(label_colour(label) for label in range(1, MAX_LABEL + 1))]
    return [value for colour in colours for value in bytes.fromhex(colour[1:])]
