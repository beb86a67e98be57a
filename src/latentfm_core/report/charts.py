"""Charts as inline SVG: axes, bars, lines and points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from latentfm_core.report.page import text

BLUE, ORANGE, GREEN = "#0072b2", "#e69f00", "#009e73"
COLOURS = (BLUE, "#d55e00", GREEN, "#cc79a7", ORANGE, "#56b4e9", "#999999")
"""Okabe-Ito: safe for all kinds of colour vision; readable on white and on black."""
DASHES = ("", "6 3", "2 2", "8 3 2 3")
"""Distinguish lines in black-and-white print."""

WIDTH, HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 12, 46
_MAX_TICKS = 7


@dataclass(frozen=True)
class Axis:
    """Label, range and scale of an axis.

    Attributes
    ----------
    log
        Whether powers of ten have equal distances; `low` is then above 0.
    """

    label: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False

    def share(self, value: float) -> float:
        """Return the position of `value` between the ends, 0 to 1."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        return min(1.0, max(0.0, (value - low) / (high - low)))

    def ticks(self) -> list[float]:
        """Return a few round values between the ends."""
        if self.log:
            return self._log_ticks()
        raw = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(size * power for size in (1, 2, 5, 10) if size * power >= raw * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]

    def _log_ticks(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        far = max(1, -(-(last - first) // 6))
        for each, step in (((1, 2, 3, 5), 1), ((1, 2, 5), 1), ((1, 3), 1), ((1,), far)):
            values = [one * 10.0**power for power in range(first, last + 1, step) for one in each]
            inside = [value for value in values if self.low <= value <= self.high]
            if len(inside) <= _MAX_TICKS:
                break
        return inside


def fitted(label: str, values: Iterable[float], log: bool = False) -> Axis:
    """Return an axis on which all finite `values` lie; `log` counts if all are above 0."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    log = log and low > 0 and high > low
    if high == low:
        margin = abs(low) * 0.1 or 1.0
        return Axis(label, low - margin, high + margin)
    if log:
        return Axis(label, low / 1.1, high * 1.1, log=True)
    margin = (high - low) * 0.05
    return Axis(label, 0.0 if 0 <= low < 0.3 * high else low - margin, high + margin)


class Chart:
    """A chart drawn in the units of its axes and returned as SVG.

    Parameters
    ----------
    title
        Text for screen readers.
    """

    def __init__(self, title: str, x: Axis, y: Axis) -> None:
        self._title, self._x, self._y = title, x, y
        self._parts: list[str] = []

    def _place(self, x: float, y: float) -> tuple[float, float]:
        left = _LEFT + self._x.share(x) * (WIDTH - _LEFT - _RIGHT)
        top = HEIGHT - _BOTTOM - self._y.share(y) * (HEIGHT - _TOP - _BOTTOM)
        return round(left, 1), round(top, 1)

    def bars(self, edges: Sequence[float], heights: Sequence[float]) -> None:
        """Draw one bar between each two of the `edges`."""
        for low, high, height in zip(edges, edges[1:], heights, strict=False):
            left, top = self._place(low, height)
            right, bottom = self._place(high, self._y.low)
            box = f'x="{left + 0.5}" y="{top}" width="{right - left - 1:.1f}"'
            tooltip = f"<title>{low:.3g} to {high:.3g}: {height:.6g}</title>"
            tall = f'height="{bottom - top:.1f}"'
            self._parts.append(f'<rect {box} {tall} fill="{BLUE}">{tooltip}</rect>')

    def line(
        self, xs: Sequence[float], ys: Sequence[float], colour: str = BLUE, dash: str = ""
    ) -> None:
        """Draw a line through all finite points; a single one becomes a dot."""
        placed = [self._place(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x + y)]
        if len(placed) == 1:
            self._dot(*placed[0], colour)
        elif placed:
            path = " ".join(f"{x},{y}" for x, y in placed)
            style = f'stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dash or "none"}"'
            self._parts.append(f'<polyline points="{path}" fill="none" {style}/>')

    def point(self, x: float, y: float, colour: str = BLUE, name: str = "", link: str = "") -> None:
        """Draw a dot with a tooltip (`name` and values) that links to a place in the page."""
        if math.isfinite(x + y):
            tooltip = f"{name}: " if name else ""
            self._dot(*self._place(x, y), colour, f"{tooltip}{x:.4g}, {y:.4g}", link)

    def mark(self, x: float, name: str) -> None:
        """Draw a dashed vertical line with a label next to it."""
        left, bottom = self._place(x, self._y.low)
        anchor, shift = ("end", -5) if self._x.share(x) > 0.5 else ("start", 5)
        line = f'x1="{left}" y1="{_TOP}" x2="{left}" y2="{bottom}"'
        style = 'stroke="currentColor" stroke-dasharray="4 4" stroke-opacity="0.6"'
        self._parts.append(f"<line {line} {style}/>")
        self._parts.append(_word(left + shift, _TOP + 11, name, anchor))

    def _dot(self, left: float, top: float, colour: str, tooltip: str = "", link: str = "") -> None:
        title = f"<title>{text(tooltip)}</title>" if tooltip else ""
        style = f'r="3.2" fill="{colour}" fill-opacity="0.75"'
        dot = f'<circle cx="{left}" cy="{top}" {style}>{title}</circle>'
        self._parts.append(f'<a href="#{text(link)}">{dot}</a>' if link else dot)

    def svg(self) -> Markup:
        """Return the chart as an ``svg`` element; names and labels are escaped."""
        head = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label='
        body = self._axes() + "".join(self._parts)
        return Markup(f'{head}"{text(self._title)}">{body}</svg>')

    def _axes(self) -> str:
        left, right, bottom = _LEFT, WIDTH - _RIGHT, HEIGHT - _BOTTOM
        parts = []
        for value in self._x.ticks():
            x, _ = self._place(value, self._y.low)
            parts.append(_stroke(x, _TOP, x, bottom, 0.15))
            parts.append(_word(x, bottom + 15, _number(value), "middle"))
        for value in self._y.ticks():
            _, y = self._place(self._x.low, value)
            parts.append(_stroke(left, y, right, y, 0.15))
            parts.append(_word(left - 6, y + 4, _number(value), "end"))
        parts += [_stroke(left, bottom, right, bottom), _stroke(left, _TOP, left, bottom)]
        parts.append(_word((left + right) / 2, HEIGHT - 8, self._x.label, "middle"))
        middle = (_TOP + bottom) / 2
        turned = f' transform="rotate(-90 13 {middle})"'
        parts.append(_word(13, middle, self._y.label, "middle", turned))
        return "".join(parts)


def _stroke(x1: float, y1: float, x2: float, y2: float, opacity: float = 1.0) -> str:
    ends = f'x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"'
    return f'<line {ends} stroke="currentColor" stroke-opacity="{opacity}"/>'


def _word(x: float, y: float, word: str, anchor: str, more: str = "") -> str:
    place = f'x="{x}" y="{y}" text-anchor="{anchor}" font-size="12" fill="currentColor"'
    return f"<text {place}{more}>{text(word)}</text>"


def _number(value: float) -> str:
    return f"{0.0 if abs(value) < 1e-12 else value:.3g}"
