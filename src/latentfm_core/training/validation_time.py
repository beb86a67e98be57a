"""Estimate the time of a validation before the first one, for runs with a time budget."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import torch

from latentfm_core.datasets.summary import duration
from latentfm_core.errors import Cancelled
from latentfm_core.training.run_data import DataSet
from latentfm_core.training.run_state import RunState
from latentfm_core.training.selection import figures_of, score_best_again
from latentfm_core.training.time_budget import stage_seconds

logger = logging.getLogger(__name__)

MOST = 0.25
"""Largest share of the time of the flow that one validation may take."""


def plan_validation(run: RunState) -> None:
    """Estimate the time of a validation of a run with a time budget.

    It validates fewer images if all would take more than `MOST` of the time of the flow. Nothing
    happens without a budget or a validation part, or if the time is known. With another budget
    the images are chosen again, and the best weights are scored on them.

    Raises
    ------
    Cancelled
        If a stop was requested; the position of the run is unchanged.
    """
    kept = replace(run.position)
    try:
        _plan(run)
    except Cancelled:
        vars(run.position).update(vars(kept))
        raise


def _plan(run: RunState) -> None:
    position, data = run.position, run.data.val
    limit = stage_seconds(run.config, "flow") if run.config.training.minutes is not None else None
    before = position.validation_images
    if before and position.planned_seconds != (limit or 0.0):
        position.validation_images, position.validation_seconds = 0, 0.0
    position.planned_seconds = limit or 0.0
    if limit is not None and data is not None and not position.validation_seconds:
        _estimate(run, data, limit)
    if before and position.validation_images != before:
        score_best_again(run)


def _estimate(run: RunState, data: DataSet, limit: float) -> None:
    position, start = run.position, time.monotonic()
    asked = min(run.config.training.validation_images, len(data.names))
    each = _seconds_per_image(run, MOST * limit)
    most = max(1, int(MOST * limit / max(each, 1e-9)))
    if most < asked:
        position.validation_images = most
        logger.warning(
            "A validation of %d images would take about %s, more than a quarter of the time of the "
            "flow: only %d of them will be used. Give the run more --minutes, or set "
            "training.validation_images.",
            asked, duration(asked * each), most,
        )  # fmt: skip
    position.validation_seconds = each * min(asked, most)
    if run.processes.size == 1:
        position.add_outside(time.monotonic() - start)


def _seconds_per_image(run: RunState, slow: float) -> float:
    """Return the seconds of one image in the first process.

    The first image also sets things up, so it is validated twice, except if that takes `slow`.
    """
    data, seconds, picture = run.data.val, 0.0, run.picture("time")
    for _ in range(2):
        start = time.monotonic()
        if data is not None:
            figures_of(run, data, picture, images=1)
        seconds = time.monotonic() - start
        if run.processes.size == 1 and seconds > slow:
            break
    if run.processes.first:
        picture.unlink(missing_ok=True)
    own = torch.tensor([seconds if run.processes.first else 0.0], device=run.device)
    return float(run.processes.sum(own)[0])
