"""Report of a training run, updated while it runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from latentfm_core.config import REPORT, ReportConfig
from latentfm_core.files.atomic import write_text
from latentfm_core.files.disk_errors import check_still_there
from latentfm_core.output.sidecar import now
from latentfm_core.report.advice import advice
from latentfm_core.report.charts import COLOURS, DASHES, Axis, Chart, fitted, legend
from latentfm_core.report.epochs import Row, best_of, number, thinned, validated
from latentfm_core.report.grids import Grids
from latentfm_core.report.page import document, figure, section, text

logger = logging.getLogger(__name__)

FILE = "report.html"

CAUTION = (
    "Research use only; not a medical device. This page shows images of the validation part: "
    "share it only where these are allowed."
)

TITLES = {
    "image_vae": "Image VAE",
    "mask_vae": "Mask VAE",
    "flow": "Flow",
    "distill": "Few-step network",
}

LOSSES = {
    "loss": "total, minimised",
    "mse": "reconstruction error",
    "kl": "KL divergence",
    "velocity": "velocity",
    "endpoint": "mask at the end of one step",
    "auxiliary": "mask predicted from features",
}

FIGURES = {
    "val_dice": "Dice, validation",
    "val_iou": "IoU, validation",
    "val_sample_dice": "Dice of samples, validation",
    "val_ged": "GED, validation (0 is best)",
    "dice": "Dice, training batches",
}

_DOTTED = 100
"""Up to this many epochs, each has a dot with its values."""


class TrainingReport:
    """Writes ``report.html`` into the folder of a training run.

    Parameters
    ----------
    folder
        Holds ``samples/epoch_*.png`` too.
    report
        Number and size of the pictures.
    """

    def __init__(self, folder: Path, report: ReportConfig = REPORT) -> None:
        self._folder, self._report = folder, report
        self._grids = Grids(folder / "samples", report)
        self._failed = False

    def write(self, rows: Sequence[Row]) -> None:
        """Write it, or warn: a failed report must not end the training."""
        path = self._folder / FILE
        try:
            check_still_there(self._folder)
            write_text(path, self.page(rows))
        except Exception as error:
            # Catch any error, and warn once, not after every epoch.
            level = logging.DEBUG if self._failed else logging.WARNING
            logger.log(level, "%s was not written: %s The training continues.", path, error)
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
        first, others = self._grids.sections(stages.get("flow", []))
        judged = advice(stages.get("flow", []))
        parts = [
            f"<p>{text(CAUTION)} Made {text(now())}.</p>\n",
            first,
            section("What the curves show", f"<p>{text(judged)}</p>") if judged else "",
            section("Progress", _standing(stages)),
            section("Curves", f'<div class="grid">{"".join(charts)}</div>'),
            others,
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
        shown = {name: curve for name, curve in curves.items() if curve}
        if not shown:
            return ""
        every = [value for curve in shown.values() for _, value in curve]
        epochs = [number(row, "epoch") for row in rows]
        across = Axis("epoch", 0.0, max(1.0, *epochs))
        chart = Chart(title, across, fitted(unit, every, log))
        known = validated(rows)
        if known:
            chart.mark(number(known[best_of(known)], "epoch"), "best")
        entries = []
        for place, (name, curve) in enumerate(shown.items()):
            colour, dash = COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]
            chart.line([x for x, _ in curve], [y for _, y in curve], colour, dash)
            if len(epochs) <= _DOTTED:
                for epoch, value in curve:
                    chart.point(epoch, value, colour, f"{names[name]}, epoch")
            entries.append((names[name], colour, dash))
        return figure(f"<h3>{text(title)}</h3>{chart.svg()}", legend(entries))


def _standing(stages: Mapping[str, Sequence[Row]]) -> str:
    heads = (
        "stage",
        "epochs",
        "best epoch",
        "steps",
        "minutes",
        "loss",
        "images per second",
        "outside network",
    )
    head = "".join(
        f'<th scope="col"{"" if word == "stage" else " class=number"}>{word}</th>' for word in heads
    )
    body = "".join(_stage_row(name, rows) for name, rows in stages.items())
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    note = (
        "Loss, rate and the share of the time outside the network are those of the last "
        "epoch; log.csv, next to this page, has all."
    )
    return f'<div class="wide">{table}</div><p>{note}</p>'


def _stage_row(name: str, rows: Sequence[Row]) -> str:
    last = rows[-1]
    seconds = [number(row, "seconds") for row in rows]
    minutes = math.fsum(value for value in seconds if math.isfinite(value)) / 60
    known = validated(rows)
    best = f"{number(known[best_of(known)], 'epoch'):.0f}" if known else ""
    cells = (
        f"{number(last, 'epoch'):.0f}",
        best,
        f"{number(last, 'step'):.0f}",
        f"{minutes:.1f}",
        f"{number(last, 'loss'):.4g}",
        f"{number(last, 'images_per_second'):.1f}",
        f"{number(last, 'outside_network'):.0%}",
    )
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    return f'<tr><th scope="row">{text(TITLES.get(name, name))}</th>{numbers}</tr>\n'
