"""Colours on an image: each has one meaning."""

from __future__ import annotations

import numpy as np

from latentfm_core.colours import ROLE_COLOURS, label_colour, rgb
from napari_latentfm.annotation.region import REGION_COLOUR as DRAWN_REGION_COLOUR
from napari_latentfm.layers.specs import mean_colour, sample_colour
from napari_latentfm.layers.strokes import not_colour, sure_colour
from napari_latentfm.prompting.mark_data import BOX_COLOUR, NEGATIVE_COLOUR
from napari_latentfm.prompting.mark_layers import POSITIVE_COLOUR
from napari_latentfm.review.look_controls import legend
from napari_latentfm.review.overlays import CONTOUR_COLOURS
from napari_latentfm.review.regions_section import REGION_COLOUR
from napari_latentfm.review.thumbnails import PREVIEW_COLOUR

ROLES = {
    "mean mask": mean_colour(),
    "sample": sample_colour(),
    "hypothesis": PREVIEW_COLOUR,
    "annotation": label_colour(1),
    "positive": sure_colour(1),
    "negative": not_colour(),
    "uncertain region": REGION_COLOUR,
    "drawn region": DRAWN_REGION_COLOUR,
    **{f"contour {number}": colour for number, colour in enumerate(CONTOUR_COLOURS)},
}
DEUTAN = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
"""Linear RGB as seen without green cones (Machado, Oliveira and Fernandes 2009, severity 1)."""


def linear(colour: str) -> np.ndarray:
    return (np.array(rgb(colour)) / 255) ** 2.2


def test_every_role_has_a_distinct_colour_from_one_table() -> None:
    assert len(set(ROLES.values())) == len(ROLES)
    assert set(ROLES.values()) == {*ROLE_COLOURS.values(), label_colour(1)}


def test_the_legend_names_every_line_in_its_colour() -> None:
    entries = {meaning: colour for colour, meaning in legend(("lesion",), several=False)}
    for role in ("mean mask", "sample", "hypothesis", "uncertain region", "annotation"):
        assert entries[role] == ROLES[role]
    assert len(set(entries.values())) == len(entries)


def test_positive_is_green_and_negative_red_for_all_marks() -> None:
    positive, negative = rgb(ROLES["positive"]), rgb(ROLES["negative"])
    assert positive.index(max(positive)) == 1
    assert negative.index(max(negative)) == 0
    assert sure_colour(1) == POSITIVE_COLOUR == BOX_COLOUR
    assert not_colour() == NEGATIVE_COLOUR


def test_positive_and_negative_differ_without_green_cones() -> None:
    seen = [DEUTAN @ linear(ROLES[role]) for role in ("positive", "negative", "annotation")]
    weights = np.array([0.2126, 0.7152, 0.0722])
    positive, negative, annotation = (0.05 + float(weights @ each) for each in seen)
    assert positive / negative > 3
    assert positive / annotation > 1.5
