"""Colours of classes: settings that are accepted, and the colour of every label."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from latentfm_core.colours import (
    CLASS_COLOURS,
    OBJECT_COLOURS,
    ROLE_COLOURS,
    checked_colours,
    label_colour,
    outline_colour,
    palette,
    rgb,
    shade,
)
from latentfm_core.config import load_config, with_overrides
from latentfm_core.errors import ConfigError

TOML = """
[model]
classes = ["disc", "cup"]
class_colours = {}
"""


def test_colours_are_read_from_toml_and_stored_in_lower_case(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(TOML.format('["#D01C8B", "#4dac26"]'))
    config = load_config(tmp_path / "a.toml")
    assert config.model.class_colours == ("#d01c8b", "#4dac26")
    none = with_overrides(config, ["model.class_colours=[]"])
    assert none.model.class_colours == ()


@pytest.mark.parametrize(
    ("colours", "says"),
    [
        ('["#d01c8b"]', r"class_colours names 1 colour, and classes has 2 \(disc, cup\)"),
        ('["#d01c8b", "#4dac26", "#f1b6da"]', "names 3 colours, and classes has 2"),
        ('["#d01c8b", "green"]', "'green' is not a colour. Write # and two hexadecimal digits"),
        ('["#d01c8b", "#4dac2"]', "'#4dac2' is not a colour"),
        ('["#4dac26", "#4DAC26"]', "gives #4dac26 to disc and cup. Choose a different colour"),
        ('["#000000", "#4dac26"]', "#000000 is the colour of the background"),
        ('["#777777", "#4dac26"]', "#777777 is a grey"),
        ('"#4dac26"', "class_colours"),
    ],
)
def test_invalid_colours_are_refused_with_advice(tmp_path: Path, colours: str, says: str) -> None:
    (tmp_path / "a.toml").write_text(TOML.format(colours))
    with pytest.raises(ConfigError, match=says):
        load_config(tmp_path / "a.toml")


def test_a_misspelt_name_gets_the_nearest_one(tmp_path: Path) -> None:
    text = TOML.format('["#d01c8b", "#4dac26"]').replace("class_colours", "class_colors")
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"Did you mean model\.class_colours or"):
        load_config(tmp_path / "a.toml")


def test_custom_colours_come_first_and_are_not_reused() -> None:
    own = ("#009e73", "#d01c8b")  # the first is in the default palette, too
    for colour_of, default in ((label_colour, OBJECT_COLOURS), (outline_colour, CLASS_COLOURS)):
        assert [colour_of(label, own) for label in (1, 2)] == list(own)
        later = {colour_of(label, own) for label in range(3, 256)}
        assert later == set(default) - set(own)
        assert all(colour_of(k, own) != colour_of(k + 1, own) for k in range(1, 255))


def test_annotation_and_proposal_differ_without_custom_colours() -> None:
    for label in range(1, 30):
        assert label_colour(label) != outline_colour(label)
    assert label_colour(1, OBJECT_COLOURS) == OBJECT_COLOURS[0]
    assert label_colour(8, OBJECT_COLOURS) in OBJECT_COLOURS, "all of the palette is taken"


VISION = {
    "full": np.eye(3),
    "no red cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "no blue cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}
"""Linear RGB as it is seen (Machado, Oliveira and Fernandes 2009, severity 1)."""


@pytest.mark.parametrize("vision", VISION)
def test_lines_and_objects_on_an_image_have_distinct_colours(vision: str) -> None:
    objects = {f"object {number}": label_colour(number) for number in range(1, 7)}
    # A model with several classes has no mean mask, sample or hypothesis of a single colour.
    assert CLASS_COLOURS[:3] == tuple(ROLE_COLOURS.values())[:3]
    classes = {f"class {number}": outline_colour(number) for number in range(4, 8)}
    roles = {**ROLE_COLOURS, **objects, **classes, "black": "#000000"}
    linear = (np.array([rgb(colour) for colour in roles.values()]) / 255) ** 2.2
    seen = np.clip(linear @ np.transpose(VISION[vision]), 0, 1) ** (1 / 2.2)
    lab = dict(zip(roles, rgb2lab(seen[None])[0], strict=True))
    for one, other in combinations(roles, 2):
        assert deltaE_ciede2000(lab[one], lab[other]) > 9, f"{one} and {other} look alike"


def test_palette_and_shades() -> None:
    values = palette(("#d01c8b",))
    assert len(values) == 3 * 256
    assert values[:6] == [0, 0, 0, 0xD0, 0x1C, 0x8B]
    assert shade("#d01c8b") == "#e78dc5"
    assert shade("#f0e442") == "#787221", "a bright colour gets darker"


@pytest.mark.parametrize("values", [None, "#d01c8b", ["red"], ["#d01c8b", 7], {"a": 1}])
def test_colours_of_a_damaged_file_are_ignored(values: object) -> None:
    assert checked_colours(values) == ()
    assert checked_colours(["#d01c8b"]) == ("#d01c8b",)
