"""Sizes as text, with their units."""

from __future__ import annotations


def number(value: float) -> str:
    """Return a size as text."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def square(unit: str) -> str:
    """Return the unit of areas."""
    return f"{unit}²"


def area_text(area: float, unit: str) -> str:
    """Return an area in square units, such as ``"1,234 px²"``."""
    return f"{number(area)} {square(unit)}"
