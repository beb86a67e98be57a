"""Colours of lines and labels, the same in the window, in reports and in files.

`ROLE_COLOURS` and `OBJECT_COLOURS` list everything that is drawn on an image; each colour has one
meaning. `outline_colour` and `label_colour` return the colour of a label: the model's own (the
setting ``model.class_colours``), else one of the default palette.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

ROLE_COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "mean mask": "#56b4e9",
        "sample": "#e69f00",
        "hypothesis": "#f0e442",
        "uncertain region": "#0072b2",
        "10% contour": "#f0b8d9",
        "50% contour": "#cc79a7",
        "90% contour": "#8f2f66",
        "positive": "#33ffbb",
        "negative": "#c8102e",
        "drawn region": "#ffffff",
    }
)
"""Colour of each kind of line on an image, the first ones Okabe & Ito's. With every kind of colour
vision they differ from each other and from `OBJECT_COLOURS` (`tests/core/test_colours.py`)."""
OBJECT_COLOURS = ("#009e73", "#8976ff", "#d55e00", "#9dc489", "#c4149d", "#4e764e")
"""Labels 1, 2, ... of an annotation and of prompted objects; they repeat after the last."""
CLASS_COLOURS = ("#56b4e9", "#e69f00", "#f0e442", "#78a55a", "#a55a78", "#3c0fff", "#4b5a0f")
"""Outlines of the classes of a model with several, which has no mean mask, sample or hypothesis of
a single colour. They differ from all other colours in both tables as these do."""
REFERENCE_COLOUR = "#00ff00"
"""Outline of the reference mask on validation pictures of a model with one class."""
MAX_LABEL = 255
"""Highest label of a palette."""
RGB = tuple[int, int, int]
"""Red, green and blue from 0 to 255."""

_FORM = re.compile(r"#[0-9a-f]{6}")
_BRIGHT = 160
"""Luma from which a colour is darkened to make a shade of it."""


def outline_colour(label: int, own: Sequence[str] = ()) -> str:
    """Return the colour of a class in what a model proposes.

    Parameters
    ----------
    label
        From 1 on.
    own
        The model's own colours of labels 1, 2, ...; empty if it has none.
    """
    return _colour(label, own, CLASS_COLOURS)


def label_colour(label: int, own: Sequence[str] = ()) -> str:
    """Return the colour of a label in an annotation and its files.

    It differs from that of the proposal unless the model has its own colours, so that a filled
    annotation and the outline of the proposal can be distinguished. For the parameters see
    `outline_colour`.
    """
    return _colour(label, own, OBJECT_COLOURS)


def picture_colours(count: int, own: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the colour of each of `count` classes on validation pictures.

    A single class without its own colour is green. For `own` see `outline_colour`.
    """
    if count == 1 and not own:
        return (REFERENCE_COLOUR,)
    return tuple(outline_colour(label, own) for label in range(1, count + 1))


def shade(colour: str) -> str:
    """Return a colour halfway to white, or of a bright one halfway to black."""
    red, green, blue = rgb(colour)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    target = 0 if luma > _BRIGHT else 255
    return "#" + "".join(f"{(channel + target) // 2:02x}" for channel in (red, green, blue))


def rgb(colour: str) -> RGB:
    """Return red, green and blue of ``#rrggbb``."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def checked_colours(values: object) -> tuple[str, ...]:
    """Return colours read from a file; none if any of them is not ``#rrggbb``."""
    if not isinstance(values, list | tuple):
        return ()
    colours = tuple(str(value) for value in values[:MAX_LABEL])
    return colours if all(map(_FORM.fullmatch, colours)) else ()


def palette(own: Sequence[str] = ()) -> list[int]:
    """Return red, green and blue of the labels 0 to 255, from 0 to 255; the background is black."""
    colours = ["#000000", *(label_colour(label, own) for label in range(1, MAX_LABEL + 1))]
    return [value for colour in colours for value in rgb(colour)]


def _colour(label: int, own: Sequence[str], default: Sequence[str]) -> str:
    """Return a model's own colour of a label, else that of the default palette."""
    if label <= len(own):
        return own[label - 1]
    # A label that an annotator adds must not look like a class of the model.
    free = [colour for colour in default if colour not in own] or default
    return free[(label - 1) % len(free)]
