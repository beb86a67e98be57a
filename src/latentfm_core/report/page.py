"""HTML pages of reports, from the templates in this package.

A page is one file. Its policy blocks external content, and all scripts but the one that sorts.
"""

from __future__ import annotations

import base64
import hashlib
import math
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from latentfm_core.output.paths import printable


def text(value: object) -> str:
    """Escape external text for use in an element or attribute."""
    return str(escape(printable(str(value))))


def short(value: float) -> str:
    """Format a value with three decimals; a dash if missing."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def render(template: str, **values: Any) -> str:
    """Return the page of a template; all values but `Markup` are escaped."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("latentfm_core.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    script = made.get_template("sorting.js").render()
    made.globals["script"] = Markup(script)
    digest = hashlib.sha256(script.encode()).digest()
    made.globals["script_digest"] = base64.b64encode(digest).decode()
    made.filters["three"] = short
    return made
