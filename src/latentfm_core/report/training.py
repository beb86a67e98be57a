"""The report of a training run, made anew while it goes on."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from latentfm_core.config import REPORT, ReportConfig
from latentfm_core.files.atomic import write_text
from latentfm_core.files.disk_errors import check_still_there
from latentfm_core.output.sidecar import now
from latentfm_core.report.charts import COLOURS, DASHES, Axis, Chart, fitted, legend
from latentfm_core.report.epochs import Row, number, thinned
from latentfm_core.report.grids import Grids
from latentfm_core.report.page import document, figure, section, text

logger = logging.getLogger(__name__)

FILE = "report.html"

CAUTION = (
    "Research use only; not a medical device. This page shows images of the validation part: "
    "pass it on only where these may go."
)

TITLES = {
    "image_vae": "Image VAE",
    "mask_vae": "Mask VAE",
    "flow": "Flow",
    "distill": "Network for few steps",
}

LOSSES = {
    "loss": "total, which is minimised",
    "mse": "reconstruction error",
    "kl": "KL divergence",
    "velocity": "velocity",
    "endpoint": "mask at the end of one step",
    "auxiliary": "mask read off the features",
}

FIGURES = {
    "val_dice": "Dice, validation",
    "val_iou": "IoU, validation",
    "val_sample_dice": "Dice of samples, validation",
    "val_ged": "GED, validation (0 is best)",
    "dice": "Dice, training batches",
}

_DOTTED = 100
"""Epochs up to which each has a dot that tells its values."""


class TrainingReport:
    """Writes ``report.html`` into the folder of a training run.

    Parameters
    ----------
    folder
        Holds ``samples/epoch_*.png`` too.
    report
        How much is shown.
    """

    def __init__(self, folder: Path, report: ReportConfig = REPORT) -> None:
        self._folder, self._report = folder, report
        self._grids = Grids(folder / "samples", report)
        self._failed = False

    def write(self, rows: Sequence[Row]) -> None:
        """Write it, or warn: days of training must not end for the sake of a picture."""
        path = self._folder / FILE
        try:
            check_still_there(self._folder)
            write_text(path, self.page(rows))
        except Exception as error:
            # Whatever it is; and once, not after every epoch.
            level = logging.DEBUG if self._failed else logging.WARNING
            logger.log(level, "%s was not written: %s The training goes on.", path, error)
            self._failed = True

    def page(self, rows: Sequence[Row]) -> str:
        """Return the report as HTML.

        Parameters
        ----------
        rows
            All epochs, in the order in which they were trained.
        """
        rows = [row for row in rows if math.isfinite(number(row, "epoch"))]
        stages: dict[str, list[Row]] = {}
        for row in rows:
            stages.setdefault(str(row.get("stage")), []).append(row)
        charts = [chart for name, own in stages.items() for chart in self._charts(name, own)]
        parts = [
            f"<p>{text(CAUTION)} Made {text(now())}.</p>\n",
            section("Where it stands", _standing(stages)),
            section("Curves", f'<div class="grid">{"".join(charts)}</div>'),
            self._grids.section(stages.get("flow", [])),
        ]
        return document(f"Training of {self._folder.resolve().parent.name}", "".join(parts))

    def _charts(self, stage: str, rows: Sequence[Row]) -> list[str]:
        title = TITLES.get(stage, stage)
        losses = self._chart(f"{title}: losses", "loss", LOSSES, rows, log=True)
        figures = self._chart(f"{title}: figures", "Dice, IoU, GED", FIGURES, rows, log=False)
        return [chart for chart in (losses, figures) if chart]

    def _chart(
        self, title: str, unit: str, names: Mapping[str, str], rows: Sequence[Row], log: bool
    ) -> str:
        """Return a chart of the columns that have values; empty if there are none."""
        curves = {name: thinned(rows, name, self._report.points) for name in names}
        told = {name: curve for name, curve in curves.items() if curve}
        if not told:
            return ""
        every = [value for curve in told.values() for _, value in curve]
        epochs = [number(row, "epoch") for row in rows]
        across = Axis("epoch", 0.0, max(1.0, *epochs))
        chart = Chart(title, across, fitted(unit, every, log))
        entries = []
        for place, (name, curve) in enumerate(told.items()):
            colour, dash = COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]
            chart.line([x for x, _ in curve], [y for _, y in curve], colour, dash)
            if len(epochs) <= _DOTTED:
                for epoch, value in curve:
                    chart.point(epoch, value, colour, f"{names[name]}, epoch")
            entries.append((names[name], colour, dash))
        return figure(f"<h3>{text(title)}</h3>{chart.svg()}", legend(entries))


def _standing(stages: Mapping[str, Sequence[Row]]) -> str:
    heads = ("stage", "epochs", "steps", "minutes", "loss", "images per second", "outside network")
    head = "".join(
        f'<th scope="col"{"" if word == "stage" else " class=number"}>{word}</th>' for word in heads
    )
    body = "".join(_stage_row(name, rows) for name, rows in stages.items())
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    told = (
        "Loss, rate and the share of the time that the network did not get are those of the last "
        "epoch; log.csv, which lies beside this page, has all."
    )
    return f'<div class="wide">{table}</div><p>{told}</p>'


def _stage_row(name: str, rows: Sequence[Row]) -> str:
    last = rows[-1]
    seconds = [number(row, "seconds") for row in rows]
    minutes = math.fsum(value for value in seconds if math.isfinite(value)) / 60
    cells = (
        f"{number(last, 'epoch'):.0f}",
        f"{number(last, 'step'):.0f}",
        f"{minutes:.1f}",
        f"{number(last, 'loss'):.4g}",
        f"{number(last, 'images_per_second'):.1f}",
        f"{number(last, 'outside_network'):.0%}",
    )
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    return f'<tr><th scope="row">{text(TITLES.get(name, name))}</th>{numbers}</tr>\n'
