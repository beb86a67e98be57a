"""Prepare a training run: checks before the first image is read, images, and networks."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace

import torch

from latentfm_core.config import Config, config_from_mapping
from latentfm_core.datasets.set_checks import check_sets
from latentfm_core.errors import ConfigError
from latentfm_core.inference.device import resolve_precision, to_device
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import read_card
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.output.paths import check_writable
from latentfm_core.training.announce import announce
from latentfm_core.training.batches import seed_for
from latentfm_core.training.checkpoint import Checkpoint, Position, read_checkpoint
from latentfm_core.training.distributed import ProcessGroup
from latentfm_core.training.extending import reopen, warn_of_calibration
from latentfm_core.training.imagenet import check_imagenet, imagenet_origin, load_imagenet
from latentfm_core.training.initial_model import check_initial, load_initial
from latentfm_core.training.options import RunOptions
from latentfm_core.training.resuming import (
    check_resumed,
    data_settings,
    extends,
    finished_card,
    model_named,
    resumed_options,
)
from latentfm_core.training.run_card import check_card, portable
from latentfm_core.training.run_data import DataReader, RunData
from latentfm_core.training.run_folder import (
    BEST,
    TRAINING,
    check_places,
    reject_second_run,
)
from latentfm_core.training.run_record import (
    DataRecord,
    RunRecord,
    data_record,
    fingerprints,
    reject_changed_pixels,
    with_command,
)
from latentfm_core.training.run_state import RunState
from latentfm_core.training.selection import score_best_again
from latentfm_core.training.stages import STAGES
from latentfm_core.training.trained_on import images_of_parent, read_parent_images


def check_start(config: Config, options: RunOptions) -> tuple[Checkpoint | None, RunOptions]:
    """Check what the whole run needs; return the checkpoint if it is resumed, and its options.

    Raises
    ------
    ConfigError, CheckpointError, OutputError
        If the run could not start, or its model could not be written at the end.
    """
    if config.data.folds is not None and config.data.fold is None:
        raise ConfigError(
            "data.folds trains several models: train them with CrossValidation, or choose one "
            "with data.fold."
        )
    if not options.resume:
        check_sets(config)
        reject_second_run(options.out)
    check_places(options.out, config.data)
    checkpoint = read_checkpoint(options.out / TRAINING) if options.resume else None
    if checkpoint is not None:
        options = resumed_options(options, checkpoint)
    check_card(options.card or {}, portable(config), options.out.resolve().name)
    options.tracking.check()
    if checkpoint is not None:
        check_resumed(checkpoint, config, options.out)
    elif options.init is not None:
        check_initial(options.init, config)
    elif config.model.condition == "pretrained":
        check_imagenet(config.model.encoder)
    check_writable(options.out)
    if config.training.precision == "fp16":
        raise ConfigError("Training in fp16 is not supported; use bf16, fp32 or auto.")
    return checkpoint, options


def prepare(
    config: Config, options: RunOptions, checkpoint: Checkpoint | None, processes: ProcessGroup
) -> RunState:
    """Read the images, build the networks and log a summary of the run."""
    dtype = resolve_precision(config.training.precision, processes.device)
    reader = DataReader(config, options, checkpoint, quiet=not processes.first)
    # The others read from the cache what one has decoded; without a cache none waits.
    turns = processes.local_first() if config.data.cache else nullcontext()
    with processes.together(), turns:
        data = reader.read()
    torch.manual_seed(seed_for(config.training.seed, 99))
    model = LatentFM(config.model)
    parent = _load_start(model, config, options.init) if checkpoint is None else ""
    before = None if checkpoint is None else checkpoint.run
    record = replace(
        with_command(before, options.command, _record(before, data, options)),
        card=options.card or {},
        init=_initial_source(checkpoint, options),
        encoder=_encoder_origin(before, config, options),
        init_sha256=parent if before is None else before.init_sha256,
    )
    position = Position(STAGES[0]) if checkpoint is None else checkpoint.position
    images = _parent_images(checkpoint, options)
    state = RunState(
        config, options, processes, dtype, data, model, position, record, checkpoint, images
    )
    if checkpoint is not None:
        checkpoint.restore_model(model)
        if extends(checkpoint, config):
            _extend(state)
    to_device(model, processes.device)
    announce(state)
    if checkpoint is not None and _validation_changed(state, checkpoint):
        score_best_again(state)
    # No process writes to the folder before all have checked for an existing run.
    processes.wait()
    return state


def _load_start(model: LatentFM, config: Config, init: str | None) -> str:
    """Load the weights that a new run starts from; return the digest of the model `init`."""
    if init is not None:
        return load_initial(model, init)
    if model.encoder is not None:
        load_imagenet(model.encoder.encoder, config.model.encoder)
    return ""


def _parent_images(checkpoint: Checkpoint | None, options: RunOptions) -> dict[str, str]:
    """Return the images that the models a run started from were trained on, by signature."""
    if checkpoint is not None:
        return read_parent_images(options.out / TRAINING)
    return {} if options.init is None else images_of_parent(resolve_model(options.init))


def _initial_source(checkpoint: Checkpoint | None, options: RunOptions) -> str | None:
    """Return the model that the run started from; None if an older version did not record it."""
    if checkpoint is None or options.init is not None:
        return model_named(options.init)
    return None if checkpoint.run is None else checkpoint.run.init


def _encoder_origin(
    before: RunRecord | None, config: Config, options: RunOptions
) -> dict[str, str]:
    """Return the origin of the pretrained weights, also through a parent model."""
    if before is not None and before.encoder is not None:
        return before.encoder
    if config.model.condition != "pretrained":
        return {}
    if options.init is not None:
        return dict(read_card(resolve_model(options.init)).encoder)
    return imagenet_origin(config.model.encoder)


def _record(before: RunRecord | None, data: RunData, options: RunOptions) -> DataRecord:
    """Return the description of the images; reject changed ones unless the options allow it."""
    known = None if before is None else before.data
    found = fingerprints(data.train, data.val)
    if known is not None and options.changed_data == "reject":
        reject_changed_pixels(known, found)
    left_out = {*data.train.skipped, *(data.val.skipped if data.val else ())}
    return data_record(known, data.split, found, left_out)


def _validation_changed(state: RunState, checkpoint: Checkpoint) -> bool:
    """Return whether the validation images, or what the network sees of them, have changed."""
    before, val = checkpoint.run, state.data.val
    if before is None or val is None:
        return False
    stored = config_from_mapping(checkpoint.config)
    found, known = state.record.data.fingerprints, before.data.fingerprints
    same = set(val.names) == set(before.data.split.val) and all(
        found.get(name) == known.get(name) for name in val.names
    )
    return not same or bool(data_settings(stored, state.config))


def _extend(state: RunState) -> None:
    if not (state.folder / BEST).is_file():
        state.position.best_score = -math.inf
    warn_of_calibration(finished_card(state.options.out))
    reopen(state.position, state.config, len(state.data.train.names))
