"""Report of a training run, updated while it runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from latentfm_core.config import REPORT
from latentfm_core.files.atomic import write_text
from latentfm_core.files.disk_errors import check_still_there
from latentfm_core.output.sidecar import now
from latentfm_core.report.advice import advice
from latentfm_core.report.charts import COLOURS, DASHES, Axis, Chart, fitted
from latentfm_core.report.epochs import Row, best_of, number, thinned, validated
from latentfm_core.report.grids import Grids
from latentfm_core.report.page import render

logger = logging.getLogger(__name__)

FILE = "report.html"

CAUTION = (
    "Research use only; not a medical device. This page shows images of the validation part: "
    "share it only if this is allowed."
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

TitledChart = tuple[str, Markup, list[tuple[str, str, str]]]
"""Title, chart, and name, colour and dashes of each curve."""

_DOTTED = 100
"""Up to this many epochs, each has a dot with its values."""


class TrainingReport:
    """Writes ``report.html`` into the folder of a training run.

    Parameters
    ----------
    folder
        Holds ``samples/epoch_*.png`` too.
    classes
        Colours of the outlines on the pictures, by the name of the class; None if unknown.
    """

    def __init__(self, folder: Path, classes: Mapping[str, str] | None = None) -> None:
        self._classes = dict(classes or {})
        self._folder = folder
        self._grids = Grids(folder / "samples", REPORT)
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
        flow = stages.get("flow", [])
        first, others = self._grids.pictures(flow)
        return render(
            "training.html.j2",
            title=f"Training of {self._folder.resolve().parent.name}",
            caution=f"{CAUTION} Made {now()}.",
            stages={TITLES.get(name, name): _table_row(own) for name, own in stages.items()},
            charts=charts,
            advice=advice(flow),
            classes=[(name, colour, "") for name, colour in self._classes.items()],
            several=len(self._classes) > 1,
            best_and_last=first,
            others=others,
        )

    def _charts(self, stage: str, rows: Sequence[Row]) -> list[TitledChart]:
        title = TITLES.get(stage, stage)
        losses = self._chart(f"{title}: losses", "loss", LOSSES, rows, log=True)
        figures = self._chart(f"{title}: figures", "Dice, IoU, GED", FIGURES, rows, log=False)
        return [chart for chart in (losses, figures) if chart]

    def _chart(
        self, title: str, unit: str, names: Mapping[str, str], rows: Sequence[Row], log: bool
    ) -> TitledChart | None:
        """Return a chart of the columns that have values; None if there are none."""
        curves = {name: thinned(rows, name, REPORT.points) for name in names}
        shown = {name: curve for name, curve in curves.items() if curve}
        if not shown:
            return None
        every = [value for curve in shown.values() for _, value in curve]
        epochs = [number(row, "epoch") for row in rows]
        across = Axis("epoch", 0.0, max(1.0, *epochs))
        chart = Chart(title, across, fitted(unit, every, log))
        known = validated(rows)
        if known:
            chart.mark(number(known[best_of(known)], "epoch"), "best")
        entries = []
        for index, (name, curve) in enumerate(shown.items()):
            colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
            chart.line([x for x, _ in curve], [y for _, y in curve], colour, dash)
            if len(epochs) <= _DOTTED:
                for epoch, value in curve:
                    chart.point(epoch, value, colour, f"{names[name]}, epoch")
            entries.append((names[name], colour, dash))
        return title, chart.svg(), entries


def _table_row(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the numbers of a stage's row in the table."""
    last = rows[-1]
    seconds = [number(row, "seconds") for row in rows]
    minutes = math.fsum(value for value in seconds if math.isfinite(value)) / 60
    known = validated(rows)
    best = f"{number(known[best_of(known)], 'epoch'):.0f}" if known else ""
    return (
        f"{number(last, 'epoch'):.0f}",
        best,
        f"{number(last, 'step'):.0f}",
        f"{minutes:.1f}",
        f"{number(last, 'loss'):.4g}",
        f"{number(last, 'images_per_second'):.1f}",
        f"{number(last, 'outside_network'):.0%}",
    )
