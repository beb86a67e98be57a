"""Colours of classes: settings that are accepted, and the colour of every label."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentfm_core.colours import (
    CLASS_COLOURS,
    checked_colours,
    label_colour,
    outline_colour,
    palette,
    shade,
)
from latentfm_core.config import load_config, with_overrides
from latentfm_core.errors import ConfigError

TOML = """
[model]
classes = ["disc", "cup"]
class_colours = {}
"""


def test_colours_are_read_from_toml_and_kept_in_lower_case(tmp_path: Path) -> None:
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
def test_wrong_colours_are_refused_with_advice(tmp_path: Path, colours: str, says: str) -> None:
    (tmp_path / "a.toml").write_text(TOML.format(colours))
    with pytest.raises(ConfigError, match=says):
        load_config(tmp_path / "a.toml")


def test_a_misspelt_name_is_answered_with_the_right_one(tmp_path: Path) -> None:
    text = TOML.format('["#d01c8b", "#4dac26"]').replace("class_colours", "class_colors")
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"Did you mean model\.class_colours or"):
        load_config(tmp_path / "a.toml")


def test_own_colours_come_first_and_no_other_label_has_one_of_them() -> None:
    own = ("#009e73", "#d01c8b")  # the first is in the default palette, too
    for colour_of in (label_colour, outline_colour):
        assert [colour_of(label, own) for label in (1, 2)] == list(own)
        later = {colour_of(label, own) for label in range(3, 256)}
        assert later == set(CLASS_COLOURS) - set(own)
        assert all(colour_of(k, own) != colour_of(k + 1, own) for k in range(1, 255))


def test_without_own_colours_annotation_and_proposal_differ() -> None:
    for label in range(1, 30):
        assert {label_colour(label), outline_colour(label)} <= set(CLASS_COLOURS)
        assert label_colour(label) != outline_colour(label)
    assert label_colour(1, CLASS_COLOURS) == CLASS_COLOURS[0]
    assert label_colour(8, CLASS_COLOURS) in CLASS_COLOURS, "all of the palette is taken"


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
