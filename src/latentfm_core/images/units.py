"""Units of length in image files."""

from __future__ import annotations

LENGTHS = {
    "nanometer": "nm",
    "micrometer": "µm",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
    "inch": "in",
}
"""Units of length, and their spellings in OME-XML and in common use."""
MILLIMETERS = {
    "nanometer": 1e-6,
    "micrometer": 1e-3,
    "millimeter": 1.0,
    "centimeter": 10.0,
    "meter": 1000.0,
    "inch": 25.4,
}
_SPELLINGS = {
    **{name: name for name in LENGTHS},
    **{symbol: name for name, symbol in LENGTHS.items()},
    "um": "micrometer",
    "μm": "micrometer",
    "\\u00b5m": "micrometer",
    "micron": "micrometer",
    "microns": "micrometer",
}
_FINER = {
    "pm": ("nanometer", 1e-3),
    "picometer": ("nanometer", 1e-3),
    "å": ("nanometer", 0.1),
    "a\u030a": ("nanometer", 0.1),
    "angstrom": ("nanometer", 0.1),
    "ångström": ("nanometer", 0.1),
    "dm": ("centimeter", 10.0),
    "thou": ("inch", 1e-3),
    "mil": ("inch", 1e-3),
}
"""Other units, as multiples of those of `LENGTHS`."""


def length(size: float, unit: str) -> tuple[float, str]:
    """Return a length in a unit of `LENGTHS`, which is that of the file where possible.

    Raises
    ------
    KeyError
        If the unit is unknown.
    """
    spelling = unit.strip().lower()
    name, factor = _FINER.get(spelling) or (_SPELLINGS[spelling], 1.0)
    return size * factor, name


def converted(size: float, unit: str, target: str) -> float:
    """Return a length of one unit of `LENGTHS` in another one."""
    return size if unit == target else size * MILLIMETERS[unit] / MILLIMETERS[target]
