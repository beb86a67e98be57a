"""Find settings that cannot take effect, mostly in the number of steps or epochs of a run."""

from __future__ import annotations

from latentfm_core.config import Config, DataConfig
from latentfm_core.config.base import Settings
from latentfm_core.config.training import DistillConfig, FlowConfig, StageConfig
from latentfm_core.datasets.plausibility import Finding
from latentfm_core.names import name_some
from latentfm_core.training.batches import steps_per_epoch
from latentfm_core.training.schedule import longest_warm_up
from latentfm_core.training.stages import STAGES
from latentfm_core.training.time_budget import is_trained


def plan_findings(config: Config, images: int, *, validated: bool) -> list[Finding]:
    """Return the chosen settings that are out of proportion to the run, except defaults."""
    texts = []
    if config.data.cache is not None and config.model.prompts:
        texts.append(
            "data.cache (--cache) has no effect for a model that takes prompts, whose images stay "
            "in memory at their own resolution. Leave it out."
        )
    stages = [name for name in STAGES if is_trained(config, name)]
    for name in stages:
        stage: StageConfig = getattr(config.training, name)
        texts += _warm_up(name, stage, images) + _batch(name, stage, images)
        if isinstance(stage, FlowConfig | DistillConfig):
            texts += _small(name, stage, config.data.size)
        if isinstance(stage, FlowConfig) and validated:
            texts += _validation(name, stage)
    texts += [*_weights(config.data), *_checkpoints(config, stages, images)]
    return [Finding(text) for text in texts]


def _weights(data: DataConfig) -> list[str]:
    given = [one.name for one in data.sets if one.weight is not None]
    without = [one.name for one in data.sets if one.weight is None]
    if not given or not without:
        return []
    return [
        f"Of the data sets, {name_some(given)} have a weight and {name_some(without)} have none, "
        "which is then the square root of the number of training images and may be far larger. "
        "The row sets of the summary shows how often each is drawn. Set weight for all, or for "
        "none."
    ]


def _chosen(settings: Settings, name: str) -> bool:
    """Return whether a setting differs from its default."""
    return bool(getattr(settings, name) != type(settings).model_fields[name].default)


def _warm_up(name: str, stage: StageConfig, images: int) -> list[str]:
    steps = stage.epochs * steps_per_epoch(images, stage.batch_size)
    if not _chosen(stage, "warmup_steps") or stage.warmup_steps <= steps:
        return []
    return [
        f"training.{name}.warmup_steps is {stage.warmup_steps:,}, but the stage has {steps:,} "
        f"steps; the rate rises over {longest_warm_up(steps):,}. Set at most that, or train for "
        "more epochs."
    ]


def _batch(name: str, stage: StageConfig, images: int) -> list[str]:
    if not _chosen(stage, "batch_size") or stage.batch_size <= images:
        return []
    return [
        f"training.{name}.batch_size is {stage.batch_size:,}, but there are {images:,} training "
        f"images: each epoch is one step. Set at most {images:,}."
    ]


def _small(name: str, stage: FlowConfig | DistillConfig, side: int) -> list[str]:
    smaller = stage.small_size < (stage.size or side)
    if not smaller or not 0 < stage.epochs <= stage.small_epochs:
        return []
    return [
        f"training.{name}.small_epochs is {stage.small_epochs:,} of {stage.epochs:,} epochs: the "
        f"stage sees only images of side {stage.small_size}. Set fewer than {stage.epochs:,}."
    ]


def _validation(name: str, stage: FlowConfig) -> list[str]:
    every = stage.validate_every
    if every > stage.epochs and _chosen(stage, "validate_every"):
        return [
            f"training.{name}.validate_every is {every:,} of {stage.epochs:,} epochs: only the "
            f"weights at the end are validated, so none are chosen as the best. Set at most "
            f"{max(1, stage.epochs // 2):,}."
        ]
    most = -(-stage.epochs // every)
    if stage.patience is None or most == 1 or stage.patience < most:
        return []
    return [
        f"training.{name}.patience is {stage.patience:,} validations, but the stage has {most:,}: "
        f"it never ends early. Set fewer than {most:,}, or train for more epochs."
    ]


def _checkpoints(config: Config, stages: list[str], images: int) -> list[str]:
    training = config.training
    texts = []
    late = training.minutes is not None and training.checkpoint_minutes > training.minutes
    if late and _chosen(training, "checkpoint_minutes"):
        texts.append(
            f"training.checkpoint_minutes is {training.checkpoint_minutes:g}, but the run takes "
            f"at most {training.minutes:g} minutes: after a crash it starts again. Set fewer "
            "minutes."
        )
    steps = [
        settings.epochs * steps_per_epoch(images, settings.batch_size)
        for settings in (getattr(training, name) for name in stages)
    ]
    if training.checkpoint_steps is not None and steps and training.checkpoint_steps > max(steps):
        texts.append(
            f"training.checkpoint_steps is {training.checkpoint_steps:,}, but no stage has more "
            f"than {max(steps):,} steps: it has no effect. Set at most that."
        )
    return texts
