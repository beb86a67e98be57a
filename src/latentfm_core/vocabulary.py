"""Names and numbers that options, settings and data share; imports nothing."""

from __future__ import annotations

from typing import Literal

PARTS = ("train", "val", "test")
"""Parts of a data set."""

PromptGroup = Literal["none", "box", "point"]
"""Kinds of prompts with separate calibrations: a box or rough mask bounds the object, points and
strokes only identify it."""

PromptKind = Literal["none", "box", "point", "corrections"]
"""Prompt types of a simulated annotator; corrections follow a box."""

MaskKind = Literal["masks", "instances"]
"""Content of masks: foreground or classes, or objects numbered from 1."""

CORRECTIONS = 3
"""Default number of a simulated annotator's points after the box."""

MOST_OBJECTS = 20
"""Default number of numbered objects of an image that a simulated annotator marks."""

UNUSABLE = 0.3
"""Validation Dice below which a model is not usable yet, and its changes are mostly noise."""
