"""Table of all images in an evaluation report."""

from __future__ import annotations

import math

from latentfm_core.evaluation.evaluate import COLUMNS, Evaluation, ImageScores
from latentfm_core.output.tables import TABLE, cell
from latentfm_core.report.gallery import Gallery
from latentfm_core.report.page import section, text
from latentfm_core.report.words import HEADS, MEANING, MORE_MEANING


def anchor(index: int) -> str:
    """Return the HTML anchor of an image's row."""
    return f"image-{index}"


def short(value: float) -> str:
    """Format a value for the page; a dash if missing."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def table_section(evaluation: Evaluation, gallery: Gallery) -> str:
    """Return one row per image with all its metrics; `gallery` selects the images."""
    heads = '<th scope="col">picture</th>' + "".join(_head(column) for column in COLUMNS)
    shown, count = gallery.rows(), len(evaluation.scores)
    rows = "".join(_row(index, evaluation.scores[index], gallery) for index in shown)
    note = "Click a column header to sort, again to reverse. A dash marks a missing value."
    if len(shown) < count:
        note += (
            f" These are the {len(shown)} images with the lowest Dice of {count}; {TABLE}, which "
            "next to this page, has them all."
        )
    title = "All images" if len(shown) == count else "Images with the lowest Dice"
    # Make scrollable areas reachable by keyboard.
    area = f'class="wide tall" tabindex="0" role="region" aria-label="{title}"'
    return section(
        title,
        f'<div {area}><table class="sortable" id="images">\n<caption>{text(note)}'
        "<noscript> Sorting needs JavaScript.</noscript></caption>\n"
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>",
    )


def _head(column: str) -> str:
    meaning = MEANING.get(column) or MORE_MEANING[column]
    kind = "text" if column == "name" else "number"
    label = f'<abbr title="{text(meaning)}">{text(HEADS[column])}</abbr>'
    return f'<th scope="col" class="{kind}" data-kind="{kind}">{label}</th>'


def _row(index: int, score: ImageScores, gallery: Gallery) -> str:
    cells = "".join(_cell(score, column) for column in COLUMNS)
    # The name is next to it; screen readers need not repeat it.
    picture = f'<img class="thumb" src="{gallery.thumbnail(index)}" alt="">'
    return f'<tr id="{anchor(index)}"><td>{picture}</td>{cells}</tr>\n'


def _cell(score: ImageScores, column: str) -> str:
    value = getattr(score, column)
    exact = text(cell(score, column))
    if column == "name":
        return f'<th scope="row" data-value="{exact}">{exact}</th>'
    shown = exact if isinstance(value, int) else short(value)
    return f'<td class="number" data-value="{exact}">{shown}</td>'
