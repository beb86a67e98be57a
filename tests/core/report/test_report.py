"""Reports agree with the files of an evaluation, and are self-contained."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.draw import polygon2mask

from latentfm_core.cli.evaluate import main
from latentfm_core.config import ReportConfig, SamplingConfig
from latentfm_core.evaluation.evaluate import Case, evaluate
from latentfm_core.evaluation.scores import MIN_RANKED
from latentfm_core.images.read import read_mask
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.output.sidecar import now
from latentfm_core.report.evaluation import evaluation_page
from latentfm_core.report.gallery import Gallery
from latentfm_core.types import ImageInput
from tests.helpers.commands import Printed
from tests.helpers.fixtures import SIZE, Folders, write_blobs
from tests.helpers.pages import Element, Page, check_that_it_loads_nothing, picture, read_table

FEW = ["--samples", "3", "--steps", "2", "--precision", "fp32", "--device", "cpu", "--quiet"]
COUNT = 7
EXPERT, MEAN, SAMPLE = "#009e73", "#56b4e9", "#e69f00"


def evaluated(out: Path, folders: Folders, model: Path, *more: object) -> int:
    words = ["--images", folders[0], "--masks", folders[1], "--model", model, "--out", out]
    return main([str(word) for word in (*words, *FEW, *more)])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return write_blobs(tmp_path_factory.mktemp("seven"), COUNT, seed=3)


@pytest.fixture(scope="module")
def out(
    folders: Folders, calibrated_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The files of an evaluation with a report."""
    out = tmp_path_factory.mktemp("evaluated")
    assert evaluated(out, folders, calibrated_model_folder, "--report", "--report-cases", 2) == 0
    return out


@pytest.fixture(scope="module")
def page(out: Path) -> Page:
    return Page.read(out / "report.html")


def outlines(case: Element, colour: str) -> list[np.ndarray]:
    """Return the masks enclosed by the paths of a colour."""
    masks = []
    for path in case.all("path", stroke=colour):
        mask = np.zeros((SIZE, SIZE), bool)
        for line in re.findall("M([^Z]*)Z", path.attributes["d"]):
            xy = np.array([[float(v) for v in point.split(",")] for point in line.split()])
            mask ^= polygon2mask((SIZE, SIZE), xy[:, ::-1] - 0.5)
        masks.append(mask)
    return masks


def test_the_table_contains_the_figures_of_the_csv(page: Page, out: Path) -> None:
    rows = read_table(out)
    table = page.one("table", id="images")
    shown = [
        [cell.attributes["data-value"] for cell in row.children if "data-value" in cell.attributes]
        for row in table.one("tbody").all("tr")
    ]
    assert shown == [list(row.values()) for row in rows]
    assert len(shown) == COUNT
    for row, values in zip(table.one("tbody").all("tr"), rows, strict=True):
        assert f"{float(values['dice']):.3f}" in row.text
        assert picture(row.one("img")).shape == (SIZE, SIZE, 3)


def test_every_figure_can_be_sorted_by(page: Page, out: Path) -> None:
    table = page.one("table", id="images")
    assert table.attributes["class"] == "sortable"
    heads = table.one("thead").all("th")
    columns = list(read_table(out)[0])
    assert [head.attributes.get("data-kind") for head in heads] == [
        None,
        *("text" if column == "name" else "number" for column in columns),
    ]
    for row in table.one("tbody").all("tr"):
        for head, cell in zip(heads[2:], row.children[2:], strict=True):
            assert np.isfinite(float(cell.attributes["data-value"] or 0)), head.text


DOM = """
function Node(children) { this.children = children; this.attributes = {}; }
Node.prototype.getAttribute = function (name) {
  return name in this.attributes ? this.attributes[name] : null;
};
Node.prototype.setAttribute = function (name, value) { this.attributes[name] = String(value); };
Node.prototype.removeAttribute = function (name) { delete this.attributes[name]; };
Node.prototype.addEventListener = function (event, call) { this["on" + event] = call; };
Node.prototype.appendChild = function (child) {
  if (child.parent) { child.parent.children.splice(child.parent.children.indexOf(child), 1); }
  child.parent = this;
  this.children.push(child);
};
Object.defineProperty(Node.prototype, "firstChild", {
  get: function () { return this.children[0]; },
});
function cell(attributes) {
  var made = new Node([]);
  made.attributes = attributes;
  made.appendChild(new Node([]));
  return made;
}
var heads = HEADS.map(cell);
var body = new Node([]);
ROWS.forEach(function (values) {
  var row = new Node([]);
  row.cells = values.map(cell);
  body.appendChild(row);
});
Object.defineProperty(body, "rows", { get: function () { return this.children; } });
var table = { tBodies: [body], tHead: { rows: [{ cells: heads }] } };
var document = {
  createElement: function () { return new Node([]); },
  querySelectorAll: function () { return [table]; },
};
function click(column) {
  heads[column].children[0].onclick();
  var shown = body.rows.map(function (row) { return row.cells[column].attributes["data-value"]; });
  return JSON.stringify([heads[column].getAttribute("aria-sort"), shown]);
}
"""
"""The part of a browser's document that the script of a report needs."""


def test_a_click_on_a_column_header_sorts_the_table(page: Page, qapp: Any) -> None:
    qml = pytest.importorskip("qtpy.QtQml", reason="no JavaScript here")
    table = page.one("table", id="images")
    heads = [head.attributes for head in table.one("thead").all("th")]
    rows = [[cell.attributes for cell in row.children] for row in table.one("tbody").all("tr")]
    column = next(k for k, h in enumerate(table.one("thead").all("th")) if h.text == "Dice")
    rows[2][column] = {"data-value": ""}
    values = [row[column]["data-value"] for row in rows]
    ranked = sorted((value for value in values if value), key=float)
    engine = qml.QJSEngine()
    data = f"var HEADS = {json.dumps(heads)}; var ROWS = {json.dumps(rows)};"
    started = engine.evaluate(data + DOM + page.one("script").text)
    assert not started.isError(), started.toString()
    clicked = [json.loads(engine.evaluate(f"click({column})").toString()) for _ in range(2)]
    assert clicked[0] == ["ascending", [*ranked, ""]], "what is missing stays last"
    assert clicked[1] == ["descending", [*ranked[::-1], ""]]
    names = json.loads(engine.evaluate("click(1)").toString())
    assert names == ["ascending", sorted(row[1]["data-value"] for row in rows)]
    assert engine.evaluate("heads[0].children[0].onclick === undefined").toBool(), "a picture"


def test_worst_and_best_match_the_csv(page: Page, out: Path) -> None:
    ranked = sorted(read_table(out), key=lambda row: float(row["dice"]))
    order = {"Worst cases": ranked[:2], "Best cases": ranked[::-1][:2]}
    for title, rows in order.items():
        cases = page.section(title).all("figure")
        assert len(cases) == 2
        for case, row in zip(cases, rows, strict=True):
            link = case.one("a")
            assert link.text == row["name"]
            place = link.attributes["href"].removeprefix("#")
            (target,) = (each for each in page.every if each.attributes.get("id") == place)
            assert target.one("th").text == row["name"]
            assert f"Dice {float(row['dice']):.3f}" in case.one("figcaption").text


def test_cases_show_expert_mean_and_samples(
    page: Page, folders: Folders, calibrated_model_folder: Path
) -> None:
    segmenter = Segmenter.load(calibrated_model_folder, "cpu", "fp32")
    settings = SamplingConfig(n_samples=3, steps=2, precision="fp32", device="cpu")
    for case in page.section("Worst cases").all("figure"):
        name = case.one("a").text
        image = np.asarray(Image.open(folders[0] / f"{name}.png"))
        (expert,), (mean,) = outlines(case, EXPERT), outlines(case, MEAN)
        assert dice(expert, read_mask(folders[1] / f"{name}.png")) > 0.97
        summary = segmenter.summarise(segmenter.sample(ImageInput(image), settings), settings)
        assert dice(mean, summary.mean_mask) > 0.9, "corners of pixels are cut"
        drawn = outlines(case, SAMPLE)
        assert len(drawn) == 3
        assert all(
            dice(one, mask) > 0.9 for one, mask in zip(drawn, summary.sample_masks, strict=True)
        )
        shown = picture(case.one("image"), "href")
        assert np.corrcoef(shown.ravel(), image.ravel())[0, 1] > 0.95
        confidence = picture(case.one("img"))
        assert confidence[summary.confidence > 0.99].mean() > 240, "white where it is sure"
        assert confidence[summary.confidence < 0.6].mean() < 170


def test_the_curves_match_the_summary(page: Page, out: Path) -> None:
    summary = json.loads((out / "summary.json").read_text())
    section = page.section("Can the numbers be trusted?")
    parts = zip(section.all("figure"), ("reliability", "agreement"), strict=True)
    for part, name in parts:
        rows = [[cell.text for cell in row.children] for row in part.one("tbody").all("tr")]
        reported = summary[name]
        used = [k for k, count in enumerate(reported["pixels"]) if count]
        assert [int(row[0]) for row in rows] == [reported["pixels"][k] for k in used]
        dots = [d for d in part.all("circle") if d.attributes["fill"] == "#0072b2"]
        assert len(dots) == len(used)
    assert f"{summary['metrics']['dataset_ece']:.4f}" in section.text
    assert f"{summary['metrics']['confidence_ece']:.4f}" in section.text
    assert "raw" in section.text, "the model is calibrated: before and after are shown"


def test_a_rank_correlation_of_few_images_is_left_out(page: Page, out: Path) -> None:
    assert COUNT < MIN_RANKED
    assert json.loads((out / "summary.json").read_text())["metrics"]["quality_rank"] is None
    rows = [row for row in page.all("tr") if "rank correlation" in row.text]
    assert rows[0].all("td")[0].text == "-"
    assert "Too few" in page.section("Does it recognise bad images?").text


def test_histogram_and_scatter_have_all_images(page: Page, out: Path) -> None:
    bars = page.section("How good are the images?").all("rect")
    assert sum(int(bar.one("title").text.partition(": ")[2]) for bar in bars) == COUNT
    dots = page.section("Does it recognise bad images?").all("circle")
    reported = {}
    for dot in dots:
        name, _, values = dot.text.partition(": ")
        reported[name] = [float(value) for value in values.split(", ")]
    assert reported == {
        # The page and the table each round the same values.
        row["name"]: pytest.approx([float(row["expected_dice"]), float(row["dice"])], abs=1e-4)
        for row in read_table(out)
    }


def test_the_report_needs_neither_network_nor_other_files(page: Page) -> None:
    check_that_it_loads_nothing(page)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not allow such names")
def test_file_names_cannot_inject_html(
    folders: Folders, tiny_model_folder: Path, tmp_path: Path
) -> None:
    evil = "<img src=x onerror=alert(1)>&\"'<script>alert(2)<!--"
    for source, kind in zip(folders, ("images", "masks"), strict=True):
        (tmp_path / kind).mkdir()
        first, second = sorted(source.iterdir())[:2]
        shutil.copy(first, tmp_path / kind / f"{evil}.png")
        shutil.copy(second, tmp_path / kind)
    paths = tmp_path / "images", tmp_path / "masks"
    assert evaluated(tmp_path / "out", paths, tiny_model_folder, "--report") == 0
    page = Page.read(tmp_path / "out" / "report.html")
    check_that_it_loads_nothing(page)
    assert len(page.all("script")) == 1
    assert evil in {row.one("th").text for row in page.one("table", id="images").all("tr")[1:]}
    assert evil in {row["name"] for row in read_table(tmp_path / "out")}


def test_the_report_stays_small_for_many_images(folders: Folders, segmenter: Segmenter) -> None:
    settings = SamplingConfig(n_samples=2, steps=1, precision="fp32", device="cpu")
    gallery = Gallery(segmenter, settings, ReportConfig(cases=1, rows=3, points=4, samples=1))
    cases = []
    for path in sorted(folders[0].iterdir()):
        mask = read_mask(folders[1] / path.name)
        cases.append(Case(ImageInput(np.asarray(Image.open(path)), name=path.stem), mask[None]))
    found = evaluate(segmenter, cases, settings, on_outcome=gallery.add)
    reported = {
        "model": {"id": "many", "sha256": "0"},
        "settings": settings.model_dump() | {"device": "cpu"},
        "data": {"part": None, "left_out": []},
        "created": now(),
        "command": "none",
        "versions": {},
    }
    page = Page(evaluation_page(found, gallery, reported))
    ranked = [s.name for s in sorted(found.scores, key=lambda score: score.dice)]
    section = page.section("Images with the lowest Dice")
    rows = section.one("tbody").all("tr")
    assert [row.one("th").text for row in rows] == sorted(ranked[:3])
    assert f"lowest Dice of {COUNT}" in section.text
    assert "per_image.csv" in section.text
    assert len(page.all("img")) + len(page.all("image")) == 3 + 2 * 2
    dots = page.section("Does it recognise bad images?").all("circle")
    assert len(dots) == -(-COUNT // 2)
    (best,) = page.section("Best cases").all("figure")
    assert ranked[-1] in best.one("figcaption").text
    assert not best.all("a"), "its row is not in the table"


def test_a_small_evaluation_has_a_report(
    folders: Folders, tiny_model_folder: Path, tmp_path: Path
) -> None:
    for source, kind in zip(folders, ("images", "masks"), strict=True):
        (tmp_path / kind).mkdir()
        shutil.copy(min(source.iterdir()), tmp_path / kind)
    paths = tmp_path / "images", tmp_path / "masks"
    out = tmp_path / "out"
    assert evaluated(out, paths, tiny_model_folder, "--report", "--report-cases", 0) == 0
    page = Page.read(out / "report.html")
    assert not page.all("image")
    assert "Too few" in page.section("Does it recognise bad images?").text
    made = [row for row in page.section("How it was made").all("tr") if "device" in row.text]
    count = torch.get_num_threads()
    threads = "1 thread" if count == 1 else f"{count} threads"
    assert made[0].one("td").text == f"CPU, {threads}, float32"
    assert "raw" not in page.section("Can the numbers be trusted?").text
    assert evaluated(out, paths, tiny_model_folder, "--overwrite") == 0
    assert not (out / "report.html").exists(), "that of other figures would mislead"


def test_options_of_the_report_are_checked(
    folders: Folders, tiny_model_folder: Path, tmp_path: Path, capsys: Any, refused: Printed
) -> None:
    model = tiny_model_folder
    assert "--report" in refused(evaluated, tmp_path / "out", folders, model, "--report-cases", 3)
    assert evaluated(tmp_path / "out", folders, model, "--report", "--report-cases", -1) == 2
    assert "cases" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("of last year")
    assert "--overwrite" in refused(evaluated, tmp_path / "out", folders, model, "--report")
