"""Extend a finished run: train its flow for longer.

A finished stage has an annealed learning rate and no optimiser state. An extension therefore is a
warm restart: it starts from the best weights with a new optimiser, and its learning rate is warmed
up and annealed again over the added steps (Loshchilov & Hutter 2017, SGDR, arXiv 1608.03983).
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace

from latentfm_core.config import Config
from latentfm_core.errors import CheckpointError
from latentfm_core.model_io.card import ModelCard
from latentfm_core.training.batches import steps_per_epoch
from latentfm_core.training.checkpoint import Position
from latentfm_core.training.time_budget import is_trained, share_of_budget, stage_seconds

logger = logging.getLogger(__name__)

STAGE = "flow"
MAY_CHANGE = (
    *(
        f"training.{STAGE}.{name}"
        for name in (
            "cosine",
            "epochs",
            "learning_rate",
            "max_seconds",
            "patience",
            "validate_every",
            "warmup_steps",
        )
    ),
    "training.minutes",
)
"""Settings of a finished run that may be changed to extend it."""


class NothingLeft(CheckpointError):
    """The settings of an extension leave nothing to train."""


def check_extension(position: Position, config: Config, changed: list[str]) -> None:
    """Check that a finished run can be extended by the settings that were changed.

    Parameters
    ----------
    changed
        Dotted names of the settings that differ from those of the run; none is no extension.

    Raises
    ------
    CheckpointError
        If it cannot be extended, or these settings leave nothing to train (`NothingLeft`).
    """
    if not changed:
        return
    if is_trained(config, "distill"):
        raise CheckpointError(
            "The run is finished and cannot be extended: its few-step network was distilled from "
            "its flow and would be out of date. Start a new run with --init and another --out."
        )
    if not position.epochs.get(STAGE):
        raise CheckpointError(
            "The run is finished and cannot be extended: it did not train the flow. Start a new "
            "run with --init and another --out."
        )
    if _share_done(position, config) >= 1:
        raise NothingLeft(_nothing_left(position, config))


def reopen(position: Position, config: Config, images: int) -> None:
    """Turn the position at the end of a run into one within its flow stage.

    Parameters
    ----------
    position
        Changed in place.
    """
    settings = config.training.flow
    position.stage = STAGE
    per_epoch = steps_per_epoch(images, settings.batch_size)
    # A time budget may have ended the run within an epoch, which has its line and its picture.
    position.step = _begun(position) * per_epoch
    position.stage_seconds = _seconds(position)
    position.stage_outside = position.outside_times.get(STAGE, 0.0)
    position.extended_step, position.extended_seconds = position.step, position.stage_seconds
    position.extended_outside = position.stage_outside
    position.stale, position.written, position.first_loss = 0, "", None
    logger.info(
        "The finished run is extended after epoch %d of its flow. It continues from the best "
        "weights; the learning rate is warmed up to %g again and annealed over the added steps.",
        _begun(position),
        settings.learning_rate,
    )


def warn_of_calibration(card: ModelCard | None) -> None:
    """Warn if the model that will be replaced is calibrated."""
    if card is not None and (card.calibration is not None or card.prompt_calibrations):
        logger.warning(
            "The calibration of the model is for its current weights and will be dropped. Run "
            "latentfm-calibrate again after the extension."
        )


def _seconds(position: Position) -> float:
    # A run of an older version did not record the time of each stage.
    return position.stage_times.get(STAGE, position.seconds)


def _begun(position: Position) -> int:
    """Return the epochs of the flow that were begun; those trained are a sum of fractions."""
    return max(1, math.ceil(position.epochs.get(STAGE, 0.0) - 1e-6))


def _share_done(position: Position, config: Config) -> float:
    """Return the finished share of the flow stage under these settings."""
    share = _begun(position) / max(1, config.training.flow.epochs)
    outside = position.outside_times.get(STAGE, 0.0)
    at_flow = replace(
        position, stage=STAGE, stage_seconds=_seconds(position), stage_outside=outside
    )
    return max(share, share_of_budget(config, at_flow))


def _nothing_left(position: Position, config: Config) -> str:
    done, asked = position.epochs[STAGE], config.training.flow.epochs
    if _begun(position) >= asked:
        return (
            f"The run is finished and has trained {done:.4g} epochs of its flow; the settings ask "
            f"for {asked}, which a time budget cannot raise. Set more: "
            f"--set training.{STAGE}.epochs={2 * _begun(position)}"
        )
    own = config.training.flow.max_seconds is not None
    setting = f"--set training.{STAGE}.max_seconds=SECONDS" if own else "--minutes COUNT"
    used = _seconds(position) + (0.0 if own else position.outside_times.get(STAGE, 0.0))
    return (
        f"The run is finished, and its flow has used {used / 60:.1f} minutes of a "
        f"time budget of {(stage_seconds(config, STAGE) or 0) / 60:.1f}. Raise it: {setting}"
    )
