"""Markdown tables of one or several results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.prompts.bootstrap import interval
from benchmarks.prompts.settings import CLICKS

Column = tuple[str, str, str]
"""Figure, heading and number format."""

DICE: tuple[Column, ...] = (
    ("none", "no prompt, all objects", ".3f"),
    ("none_object", "no prompt", ".3f"),
    ("box", "box", ".3f"),
    ("box_1", "box + 1 correction", ".3f"),
    *((f"click_{n}", f"{n} click{'s' if n > 1 else ''}", ".3f") for n in CLICKS),
    ("best_click", "best sample, 1 click", ".3f"),
    ("best_box", "best sample, box", ".3f"),
)
EFFORT: tuple[Column, ...] = (
    ("noc_85", "clicks to 0.85", ".2f"),
    ("never_85", "never", ".0%"),
    ("noc_90", "clicks to 0.90", ".2f"),
    ("never_90", "never", ".0%"),
)
SPREAD: tuple[Column, ...] = tuple(
    (f"{kind}_{prompt}", f"{heading}, {shown}", ".3f")
    for kind, heading in (("ged", "GED"), ("hm_iou", "HM-IoU"))
    for prompt, shown in (("none", "no prompt"), ("box", "box"), ("click", "1 click"))
)

TABLES: tuple[tuple[str, tuple[Column, ...]], ...] = (
    ("Dice", DICE),
    ("Clicks", EFFORT),
    ("Spread of samples against several raters", SPREAD),
)

MISSING = "-"


def page(results: Sequence[dict[str, Any]]) -> str:
    """Return the tables of all results, data set by data set, and their notes."""
    lines: list[str] = []
    for title, columns in TABLES:
        rows = [
            [result["data"]["name"], label, *(_cell(row["figures"], column) for column in columns)]
            for result in results
            for label, row in result["rows"].items()
            if any(figure in row["figures"] for figure, _, _ in columns)
        ]
        if rows:
            lines += [f"### {title}", "", _line(["data", "method", *(h for _, h, _ in columns)])]
            lines += [_line(["---", "---", *["---:"] * len(columns)]), *map(_line, rows), ""]
    lines += _differences(results)
    return "\n".join([*lines, *map(_note, results)]) + "\n"


def _differences(results: Sequence[dict[str, Any]]) -> list[str]:
    """Return the table of paired differences in Dice between the first method and each other."""
    rows = []
    for result in results:
        (first, usual), *others = result["rows"].items()
        for label, row in others:
            cells = [_difference(usual, row, figure) for figure, _, _ in DICE]
            if any(cell != MISSING for cell in cells):
                rows.append([result["data"]["name"], f"{first} - {label}", *cells])
    if not rows:
        return []
    heading = _line(["data", "methods", *(h for _, h, _ in DICE)])
    rule = _line(["---", "---", *["---:"] * len(DICE)])
    return ["### Paired differences in Dice", "", heading, rule, *map(_line, rows), ""]


def _difference(one: Mapping[str, Any], other: Mapping[str, Any], figure: str) -> str:
    """Return the mean difference over the images that both have, with its interval."""
    before, after = (_by_image(row, figure) for row in (other, one))
    names = [name for name in after if name in before]
    if not names:
        return MISSING
    values = [after[name][1] - before[name][1] for name in names]
    text = format(float(np.mean(values)), "+.3f")
    found = interval(values, [after[name][0] for name in names])
    return text if found is None else f"{text} [{found[0]:+.3f}, {found[1]:+.3f}]"


def _by_image(row: Mapping[str, Any], figure: str) -> dict[str, tuple[str, float]]:
    """Return the group of each image and its figure, the mean over the seeds."""
    runs = {
        image["name"]: (image["group"], [run[figure] for run in image["runs"] if figure in run])
        for image in row.get("per_image", ())
    }
    return {
        name: (group, float(np.mean(values))) for name, (group, values) in runs.items() if values
    }


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _cell(figures: dict[str, Any], column: Column) -> str:
    figure, _, form = column
    found = figures.get(figure)
    if found is None:
        return MISSING
    text = format(found["mean"], form)
    if found["seed_sd"] is not None:
        text += f" ± {format(found['seed_sd'], form)}"
    if found["interval"] is not None:
        low, high = (format(value, form) for value in found["interval"])
        text += f" [{low}, {high}]"
    return text


def _note(result: dict[str, Any]) -> str:
    data, settings = result["data"], result["settings"]
    part = f"part {data['part']} of {data['split']}" if data["split"] else "all images"
    grouped = f"groups by {data['group_column']}" if data["group_column"] else "images"
    seeds = ", ".join(map(str, settings["seeds"]))
    return (
        f"- {data['name']}: {result['images']} images with an object ({part}), bootstrap over "
        f"{grouped}; seeds {seeds}; best, GED and HM-IoU of {settings['hypotheses']} samples; "
        f"at most {settings['most_clicks']} clicks. `{result['command']}`"
    )
