"""Say in plain words what is wrong with settings and with files."""

from __future__ import annotations

import re

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from latentfm_core.config.base import Settings
from latentfm_core.config.suggest import is_list, suggestion

_MAX_SHOWN = 10
_LIMIT = re.compile(r"at (?:most|least) \d+")
_PLAIN = {
    "missing": "is missing",
    "extra_forbidden": "is an unknown name",
    "tuple_type": "must be a list",
    "model_type": "must be a group of names with values",
    "model_attributes_type": "must be a group of names with values",
    "dict_type": "must be a group of names with values",
    "string_type": "must be text",
    "json_invalid": "is not JSON",
    "finite_number": "must be a finite number",
}
"""Words for kinds of problems whose message has terms of programming."""
_LIST = 'must be a list: ["first", "second"] or [1, 2] in a file, first,second with --set'
_TABLES = "must be a list of tables. Write them to a file for --config"


def explain(error: ValidationError, kind: type[Settings]) -> str:
    """Return a message about invalid settings of a kind, a line for each."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = []
    for item in problems[:_MAX_SHOWN]:
        location, problem = _place(item), explained(item)
        if item["type"] == "extra_forbidden":
            problem = f"unknown setting. {suggestion(kind, location)}"
        elif item["type"] == "tuple_type":
            problem = _LIST if is_list(kind, location) else _TABLES
        name = ".".join(str(part) for part in location)[:200] or "settings"
        lines.append(f"{name}: {problem}")
    if len(problems) > _MAX_SHOWN:
        lines.append(f"and {len(problems) - _MAX_SHOWN} more")
    return "Invalid settings:\n  " + "\n  ".join(lines)


def explained(problem: ErrorDetails) -> str:
    """Return what is wrong with a value, to follow its name, in plain words."""
    kind, message = problem["type"], problem["msg"][:400]
    if _in_list(problem):
        return "has too few entries"
    if kind in ("too_long", "too_short"):
        return f"must have {_LIMIT.findall(message)[0]} entries"
    plain = _PLAIN.get(kind) or message.removeprefix("Value error, ")
    return re.sub(r"^\w+ should ", "must ", plain)


def located(problem: ErrorDetails) -> str:
    """Return where in a file a value is: ``annotations[0].bbox``; empty for the whole content."""
    steps = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in _place(problem))
    return "".join(steps).removeprefix(".")[:200]


def _place(problem: ErrorDetails) -> tuple[int | str, ...]:
    return problem["loc"][:-1] if _in_list(problem) else problem["loc"]


def _in_list(problem: ErrorDetails) -> bool:
    """Return whether the entry of a list is missing, so that the list is too short."""
    return problem["type"] == "missing" and isinstance(problem["loc"][-1], int)


def reason_of(error: Exception) -> str:
    """Return why a file cannot be used: the first problem, without terms of parsers."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{located(first) or 'its content'} {explained(first)}"
    return str(error)[:500]
