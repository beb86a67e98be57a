"""Validation of the flow after its epochs, and selection of the best weights."""

from __future__ import annotations

import logging
import math
from contextlib import nullcontext
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from latentfm_core.datasets.object_set import ObjectSet
from latentfm_core.errors import CheckpointError
from latentfm_core.files.atomic import atomic_path
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.tensor_names import current_name
from latentfm_core.once import first_time
from latentfm_core.training.loop import StageLoop
from latentfm_core.training.meters import EpochReport
from latentfm_core.training.run_data import DataSet
from latentfm_core.training.run_folder import BEST
from latentfm_core.training.run_state import RunState
from latentfm_core.training.runlog import NAMES
from latentfm_core.training.stage_progress import MAX_VALIDATION_SHARE
from latentfm_core.training.validate import selection_score, validate
from latentfm_core.training.validate_prompts import validate_prompts

logger = logging.getLogger(__name__)


def validate_epoch(run: RunState, loop: StageLoop, report: EpochReport) -> None:
    """Validate the flow if it is time; keep its best weights, and end it if it stagnates.

    Parameters
    ----------
    run
        State of the run; receives the scores.
    report
        Report of the epoch; receives the validation metrics.

    Raises
    ------
    Cancelled
        If a stop was requested.
    """
    flow, data = run.config.training.flow, run.data.val
    last = loop.share_done() >= 1
    if report.stage != "flow" or data is None:
        return
    if not last:
        if report.epoch % flow.validate_every:
            return
        if not loop.leaves_time():
            if first_time("validated less often", run.folder):
                logger.info(
                    "Validation is skipped if it would take more than %.0f%% of the time of "
                    "the flow.",
                    100 * MAX_VALIDATION_SHARE,
                )
            return
    with nullcontext() if loop.ema is None else loop.ema.applied():
        report.validation = figures_of(run, data, run.picture(epoch_picture(report)))
        if report.validation:
            run.options.on_validation(report)
            _keep_if_best(run, report)
    if flow.patience is not None and run.position.stale >= flow.patience and not last:
        loop.end_early(
            f"No improvement in {run.position.stale} validations in a row: the flow stage ends "
            "with the best weights."
        )
        report.seconds_left = 0.0


def epoch_picture(report: EpochReport) -> str:
    """Return the name of the picture of an epoch's validation."""
    return f"epoch_{report.epoch:04d}"


def score_unvalidated(run: RunState) -> None:
    """Validate a trained flow that has not been validated, because its run was shortened.

    Raises
    ------
    Cancelled
        If a stop was requested.
    """
    position, data = run.position, run.data.val
    if data is None or position.best_score > -math.inf or not position.step:
        return
    figures = figures_of(run, data, run.picture("end"))
    if figures:
        position.best_score = selection_score(figures)
        position.metrics |= figures


def score_best_again(run: RunState) -> None:
    """Score the best weights again, on validation images that are not those of their score.

    Raises
    ------
    Cancelled
        If a stop was requested; nothing is changed.
    """
    position, data = run.position, run.data.val
    if data is None or position.best_score == -math.inf:
        return
    latest = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    figures = {}
    try:
        if take_best(run.model, run.folder):
            figures = figures_of(run, data, run.picture("best_again"))
    finally:
        run.model.load_state_dict(latest)
    position.best_score, position.stale = -math.inf, 0
    if figures:
        position.best_score = selection_score(figures)
        position.metrics |= figures
        logger.info(
            "The validation images have changed: the best weights so far have a score of %.3f on "
            "them.",
            position.best_score,
        )


def score_few_steps(run: RunState, data: DataSet) -> None:
    """Add the validation metrics of the few-step network to those of the model card."""
    for steps in range(1, run.config.model.distilled_steps + 1):
        figures = figures_of(run, data, run.picture(f"steps_{steps}"), steps)
        named = {f"{name}_steps_{steps}": value for name, value in figures.items()}
        words = ", ".join(f"{NAMES.get(name, name)} {value:.3f}" for name, value in figures.items())
        logger.info("with %d ODE step%s: %s", steps, "s" if steps > 1 else "", words)
        run.position.metrics |= named


def take_best(model: LatentFM, folder: Path) -> bool:
    """Load the best weights of the run in `folder`; return whether there are any.

    Raises
    ------
    CheckpointError
        If the file is damaged.
    """
    path = folder / BEST
    if not path.is_file():
        return False
    try:
        model.load_state_dict({current_name(k): v for k, v in load_file(path).items()})
    except (SafetensorError, OSError, RuntimeError):
        raise CheckpointError(
            f"{path} is damaged or from another network. Remove it to continue with the latest "
            "weights instead of the best."
        ) from None
    return True


def _keep_if_best(run: RunState, report: EpochReport) -> None:
    position, score = run.position, selection_score(report.validation)
    position.stale += 1
    if score > position.best_score:
        position.best_score, position.stale = score, 0
        position.metrics |= report.validation
        if run.processes.first:
            tensors = {k: v.detach().cpu().contiguous() for k, v in run.model.state_dict().items()}
            with atomic_path(run.folder / BEST) as temporary:
                save_file(tensors, temporary)


def figures_of(
    run: RunState,
    data: DataSet,
    picture: Path,
    steps: int | None = None,
    images: int | None = None,
) -> dict[str, float]:
    """Return the validation metrics of the current weights.

    Parameters
    ----------
    picture
        PNG file for the first images.
    steps, images
        ODE steps and image limit; None takes those of the settings and of the time budget.

    Raises
    ------
    Cancelled
        If a stop was requested.
    """
    config, stop = run.config, run.options.should_stop
    if most := images or run.position.validation_images:
        training = config.training.model_copy(update={"validation_images": most})
        config = config.model_copy(update={"training": training})
    if isinstance(data, ObjectSet):
        return validate_prompts(run.model, config, data, run.processes, picture, stop, steps)
    return validate(run.model, config, data, run.processes, picture, stop, steps)
