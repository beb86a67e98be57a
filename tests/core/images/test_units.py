"""Lengths in the units that image files use."""

from __future__ import annotations

import pytest

from latentfm_core.images.units import converted, length


@pytest.mark.parametrize(
    ("size", "unit", "expected"),
    [
        (5, "Å", (0.5, "nanometer")),
        (5, "A\u030a", (0.5, "nanometer")),
        (5, "\u212b", (0.5, "nanometer")),
        (250, "pm", (0.25, "nanometer")),
        (0.5, "\u03bcm", (0.5, "micrometer")),
        (0.5, "\u00b5m", (0.5, "micrometer")),
        (0.5, " Microns ", (0.5, "micrometer")),
        (2, "dm", (20, "centimeter")),
        (3, "mil", (0.003, "inch")),
    ],
)
def test_units_and_their_spellings(size: float, unit: str, expected: tuple[float, str]) -> None:
    assert length(size, unit) == (pytest.approx(expected[0]), expected[1])


@pytest.mark.parametrize("unit", ["pixel", "reference frame", "parsec", ""])
def test_other_units_are_unknown(unit: str) -> None:
    with pytest.raises(KeyError):
        length(1, unit)


def test_conversion() -> None:
    assert converted(700, "nanometer", "micrometer") == pytest.approx(0.7)
    assert converted(0.1, "micrometer", "micrometer") == 0.1
