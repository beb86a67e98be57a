"""HTML page of a report; its policy blocks external content and scripts."""

from __future__ import annotations

import base64
import hashlib
import html

from latentfm_core.output.paths import printable

STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1rem;
  background: Canvas; color: CanvasText; }
h1, h2, h3 { line-height: 1.25; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .3rem 0; }
th, td { padding: .25rem .6rem; text-align: left; border-bottom: 1px solid #8886; }
td.number, th.number { text-align: right; }
thead th { vertical-align: bottom; background: Canvas; position: sticky; top: 0; }
th button { font: inherit; font-weight: inherit; color: inherit; background: none; border: 0;
  padding: 0; cursor: pointer; text-align: inherit; text-decoration: underline dotted; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
td.value { font-weight: 600; text-align: right; white-space: nowrap; }
code { overflow-wrap: anywhere; }
figure { margin: 0; }
figcaption { font-size: .9rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
.tall { max-height: 90vh; overflow: auto; font-size: .85rem; }
.grid { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
.cases { grid-template-columns: repeat(auto-fill, minmax(min(100%, 28rem), 1fr)); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 4px; align-items: start; }
.pair > *, .strip, svg.chart { width: 100%; height: auto; display: block; }
svg.chart { max-width: 34rem; }
.strip { max-width: 60rem; margin-top: 1rem; }
.pair > * { outline: 1px solid #8886; }
.thumb { max-width: 96px; max-height: 96px; display: block; }
.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
:target { outline: 2px solid #e69f00; }
@media print {
  :root { color-scheme: light; }
  body { max-width: none; font-size: 9pt; }
  thead th { position: static; }
  .tall { max-height: none; }
  figure, tr { break-inside: avoid; }
  th, td { padding: .1rem .3rem; }
}
"""

SORTING = """
document.querySelectorAll("table.sortable").forEach(function (table) {
  var body = table.tBodies[0];
  var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
  heads.forEach(function (head, column) {
    var kind = head.getAttribute("data-kind");
    if (!kind) { return; }
    var button = document.createElement("button");
    button.type = "button";
    while (head.firstChild) { button.appendChild(head.firstChild); }
    head.appendChild(button);
    button.addEventListener("click", function () {
      var sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      var rows = Array.prototype.slice.call(body.rows).map(function (row) {
        var value = row.cells[column].getAttribute("data-value");
        return [row, kind === "number" && value !== "" ? Number(value) : value];
      });
      rows.sort(function (one, two) {
        if (one[1] === "" || two[1] === "") { return (one[1] === "") - (two[1] === ""); }
        if (kind === "number") { return sign * (one[1] - two[1]); }
        return sign * one[1].localeCompare(two[1], undefined, { numeric: true });
      });
      rows.forEach(function (entry) { body.appendChild(entry[0]); });
    });
  });
});
"""
"""Sort a table by a click on a column header; missing values stay last."""


def text(value: object) -> str:
    """Escape external text for use in an element or attribute."""
    return html.escape(printable(str(value)), quote=True)


def document(title: str, body: str) -> str:
    """Return the full page.

    Its policy forbids loading content and running any script except the sorting one.

    Parameters
    ----------
    title
        Plain text.
    body
        HTML, with all external text escaped by `text`.
    """
    digest = base64.b64encode(hashlib.sha256(SORTING.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{text(title)}</h1>\n{body}\n<script>{SORTING}</script>\n</body>\n</html>\n"
    )


def section(title: str, body: str) -> str:
    """Return a part of the page under a heading; `body` is HTML."""
    return f"<section>\n<h2>{text(title)}</h2>\n{body}\n</section>\n"


def figure(content: str, caption: str) -> str:
    """Return a picture or chart with its caption; both are HTML."""
    return f"<figure>{content}<figcaption>{caption}</figcaption></figure>\n"


def facts(rows: dict[str, str]) -> str:
    """Return a table of two columns of plain text."""
    lines = (
        f'<tr><th scope="row">{text(name)}</th><td>{text(value)}</td></tr>'
        for name, value in rows.items()
    )
    return f"<table><tbody>{''.join(lines)}</tbody></table>\n"
