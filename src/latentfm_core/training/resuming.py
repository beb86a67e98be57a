"""Rules for resumed runs: settings that may change, and trusted paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from latentfm_core.config import Config, config_from_mapping
from latentfm_core.errors import CheckpointError, ModelFolderError
from latentfm_core.files.own_runs import is_own
from latentfm_core.files.user_path import user_path
from latentfm_core.model_io.bundled import bundled_models
from latentfm_core.model_io.card import ModelCard, read_card
from latentfm_core.training.checkpoint import DONE, CheckpointHeader, read_header
from latentfm_core.training.extending import MAY_CHANGE, check_extension
from latentfm_core.training.options import RunOptions
from latentfm_core.training.run_folder import TRAINING
from latentfm_core.training.run_record import CANVAS, DRAW, signed_facts
from latentfm_core.training.stages import STAGES
from latentfm_core.training.time_budget import is_trained

_PATHS = ("images", "masks", "folder", "split_file", "group_file", "group_column", "cache")
_SHARED = ("kl_weight", "augmentation", "gradient_clip", "seed")
"""Settings of all stages."""
_MEANING = (
    *CANVAS,
    *(name for name in DRAW if name not in (*_PATHS, "fold")),
    "resolution",
    "unprompted",
    "rare_class",
)
"""Settings of the data that define what is learned from which images."""


def resumed_config(out: Path, trust_paths: bool = False, *, named: bool = False) -> Config:
    """Return the original settings of the run in model folder `out`.

    Parameters
    ----------
    trust_paths
        Follow the paths in the checkpoint even if it is another user's or was moved.
    named
        Whether the user names images and masks; then a checkpoint from elsewhere is used
        without its paths.

    Raises
    ------
    CheckpointError
        If there is no run, its checkpoint is damaged, or its paths are not trusted.
    """
    checkpoint = read_header(out / TRAINING)
    config = config_from_mapping(checkpoint.config)
    sources = (config.data, *config.data.sets)
    paths = [str(path) for of in sources for n in _PATHS[:5] if (path := getattr(of, n, None))]
    cache = config.data.cache
    if trust_paths or not (paths or cache) or _is_own(out, checkpoint):
        return config
    if named and not config.data.sets:
        free = dict.fromkeys(_PATHS)
        data = type(config.data).model_validate(config.data.model_dump(exclude={"reading"}) | free)
        return config.model_copy(update={"data": data})
    writes = f"; decoded images would be written to {cache}" if cache else ""
    # The folders of several sets cannot be named with options.
    own = "" if config.data.sets else "; else name your own with --images and --masks (or --data)"
    raise CheckpointError(
        f"The run in {out} was not started here by you, or its folder was moved, and it names "
        f"other folders: {', '.join(paths) or 'none'}{writes}. If these are what you mean, add "
        f"--trust-paths{own}."
    )


def resumed_options(options: RunOptions, checkpoint: CheckpointHeader) -> RunOptions:
    """Return the options of a resumed run, with the card and initial model it started with.

    A card that is given now replaces the first one.

    Raises
    ------
    CheckpointError
        If `options` name another initial model than that of the run.
    """
    run = checkpoint.run
    if run is None or run.init is None:
        return options
    if options.init is not None and model_named(options.init) != run.init:
        start = f"started from the model {run.init}" if run.init else "did not start from a model"
        raise CheckpointError(
            f"The run in {options.out} {start}, and a resumed run keeps its weights. Leave "
            f"--init {options.init} out, or start a new run in another --out."
        )
    return replace(options, card=options.card or dict(run.card), init=run.init or None)


def begun_with(options: RunOptions, begun: Path | None) -> RunOptions:
    """Return the options of a cross-validation, with the card and initial model it started with.

    Parameters
    ----------
    begun
        Folder of a fold that has begun, None if there is none.
    """
    if begun is None or not options.resume:
        return options
    checkpoint = read_header(begun / TRAINING)
    run = checkpoint.run
    if run is None or run.init is None:
        return options
    card = dict(run.card)
    if str(card.get("id", "")).endswith(f"-{begun.name}"):
        card["id"] = str(card["id"]).removesuffix(f"-{begun.name}")
    trusted = options.trust_paths or _is_own(begun, checkpoint)
    init = options.init or (run.init if trusted else "")
    return replace(options, card=options.card or card, init=init or None)


def model_named(init: str | None) -> str:
    """Return the name of a bundled model, or the absolute path of a model folder."""
    if not init or init in bundled_models():
        return init or ""
    return str(user_path(init).resolve())


def follows_paths(out: Path) -> bool:
    """Return whether ``--resume`` alone will follow the paths in the checkpoint of `out`."""
    try:
        return _is_own(out, read_header(out / TRAINING))
    except CheckpointError:
        return False


def _is_own(out: Path, checkpoint: CheckpointHeader) -> bool:
    if checkpoint.run is None:
        return False
    facts = signed_facts(out, checkpoint.config, checkpoint.run.init)
    return is_own(facts, checkpoint.run.signature)


def check_resumed(checkpoint: CheckpointHeader, config: Config, out: Path) -> None:
    """Reject changes of settings that a resumed run cannot apply.

    Raises
    ------
    CheckpointError
        If the network differs, or a finished stage has other settings.
    """
    stored = config_from_mapping(checkpoint.config)
    if stored.model != config.model:
        raise CheckpointError(
            "The network of a run cannot be changed: leave the settings of [model] as they were, "
            "or start in a new folder."
        )
    at = checkpoint.position.stage
    over = STAGES if at == DONE else STAGES[: STAGES.index(at)]
    changed = changed_settings(stored, config, over)
    if any(is_trained(stored, stage) for stage in over):
        changed += shared_settings(stored, config)
    if at == DONE and set(changed) <= set(MAY_CHANGE):
        check_extension(checkpoint.position, config, changed)
        return
    fixed = [name for name in changed if at != DONE or name not in MAY_CHANGE]
    if at != DONE:
        fixed = [name for name in fixed if name != "training.minutes"]
    if fixed:
        would = f"{', '.join(fixed)} would change a finished stage. Leave it out"
        if at != DONE:
            raise CheckpointError(
                f"The run is at stage {at}, and {would}, or start a new run with another --out."
            )
        raise CheckpointError(
            f"The run is finished, and {would}. To train the finished model further, raise "
            f"training.flow.epochs or --minutes, or start a new run from it: --init {out} with "
            "another --out, and with the epochs of training.image_vae and training.mask_vae set "
            "to 0."
        )


def extends(checkpoint: CheckpointHeader, config: Config) -> bool:
    """Return whether settings that passed `check_resumed` extend a finished run."""
    if checkpoint.position.stage != DONE:
        return False
    return bool(changed_settings(config_from_mapping(checkpoint.config), config, STAGES))


def changed_settings(stored: Config, config: Config, stages: Sequence[str]) -> list[str]:
    """Return the dotted names of differing settings of these stages and of the budget."""
    pairs = [(name, getattr(stored.training, name)) for name in stages]
    changed = [
        f"training.{name}.{key}"
        for name, before in pairs
        for key in type(before).model_fields
        if getattr(getattr(config.training, name), key) != getattr(before, key)
    ]
    if stored.training.minutes != config.training.minutes:
        changed.append("training.minutes")
    return changed


def shared_settings(stored: Config, config: Config) -> list[str]:
    """Return the dotted names of differing settings of all stages."""
    before, now = stored.training, config.training
    return [f"training.{n}" for n in _SHARED if getattr(before, n) != getattr(now, n)]


def data_settings(stored: Config, config: Config) -> list[str]:
    """Return the dotted names of differing settings of the data, except its folders."""
    pairs = [(n, getattr(stored.data, n), getattr(config.data, n)) for n in _MEANING]
    before, now = stored.data.reading, config.data.reading
    pairs.append(("reading.channel", before.channel, now.channel))
    pairs.append(("reading.mask_channel", before.for_masks.channel, now.for_masks.channel))
    return [f"data.{name}" for name, first, second in pairs if first != second]


def finished_card(out: Path) -> ModelCard | None:
    """Return the card of a finished run whose model is there; None if work is left.

    Raises
    ------
    CheckpointError
        If there is no run, or its checkpoint is damaged.
    """
    position = read_header(out / TRAINING).position
    if position.stage != DONE or not position.written:
        return None
    try:
        card = read_card(out)
    except ModelFolderError:
        return None
    return card if card.weights_sha256 == position.written else None
