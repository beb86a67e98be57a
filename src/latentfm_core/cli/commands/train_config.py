"""The settings of a training run, from files and options."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from latentfm_core.cli.data_options import reading_overrides, reject_two_sources
from latentfm_core.config import Config, config_from_mapping, load_config, preset, with_overrides
from latentfm_core.config.loading import override_values, read_toml
from latentfm_core.datasets.folds import FOLDER
from latentfm_core.datasets.label_names import check_masks_of_list
from latentfm_core.datasets.layouts import read_layout, with_classes_of_folder
from latentfm_core.errors import ConfigError
from latentfm_core.finetuning.recipe import PRESET, finetune_config
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import read_only_card
from latentfm_core.names import matching
from latentfm_core.training.cross_validation import with_fold
from latentfm_core.training.distillation import PRESET as DISTILL
from latentfm_core.training.distillation import distill_config
from latentfm_core.training.fold_checks import begun_fold, is_begun
from latentfm_core.training.initial_model import count_and_names
from latentfm_core.training.resuming import resumed_config


def _flag_overrides(args: argparse.Namespace) -> list[str]:
    flags: dict[str, Any] = {
        "data.images": args.images and args.images.resolve(),
        "data.masks": args.masks and args.masks.resolve(),
        "data.folder": args.data and args.data.resolve(),
        "data.split_file": args.split and args.split.resolve(),
        "data.folds": args.folds,
        "data.fold": args.fold,
        "data.mask_threshold": args.mask_threshold,
        "data.skip_bad": "true" if args.skip_bad else None,
        "data.cache": args.cache and args.cache.resolve(),
        "training.minutes": args.minutes,
        "training.device": args.device,
        "training.precision": args.precision,
        "training.seed": args.seed,
    }
    # A data source on the command line replaces another kind of source in the configuration.
    if args.data:
        flags |= {"data.images": "null", "data.masks": "null"}
    elif args.images or args.masks:
        flags["data.folder"] = "null"
    limits = {f"data.reading.{name}": value for name, value in reading_overrides(args).items()}
    flags |= {key: str(value).lower() for key, value in limits.items()}
    return [f"{key}={value}" for key, value in flags.items() if value is not None]


def make_config(args: argparse.Namespace) -> Config:
    """Return the configuration: file or preset, then flags, then ``--set``."""
    if not args.resume and (args.trust_paths or args.changed_data):
        raise ConfigError("--trust-paths and --changed-data belong to --resume: remove them.")
    if args.fold is not None and args.folds is None and not args.resume:
        raise ConfigError("--fold needs --folds, the number of folds. Add it.")
    if args.resume:
        if args.config or args.preset:
            raise ConfigError(
                "--resume uses the settings of the run: remove --config and --preset; --set may "
                "still change single settings."
            )
        named = args.data is not None or (args.images is not None and args.masks is not None)
        config = _resumed(args, named)
    elif args.config:
        config = load_config(args.config)
        args.preset = read_toml(args.config).get("preset")  # as if it were the option
    else:
        config = preset(args.preset or "default")
    reject_two_sources(args)
    if (args.group_file is None) != (args.group_column is None):
        raise ConfigError("--group-file and --group-column belong together: use both or neither.")
    config = _with_flags(config, args)
    if args.init is not None and not args.resume:
        config = _from_initial(config, args)
    if not args.resume:
        config = with_classes_of_folder(config)
    if args.preset in _FROM_PARENT:
        config = _from_parent(config, args)
        if args.config:  # its settings override those of the recipe
            config = _with_flags(load_config(args.config, config), args)
    config = with_overrides(config, args.overrides)
    if args.init is not None and not args.resume and not config.model.class_colours:
        config = _with_colours_of(config, args.init)
    if config.data.folder is not None:
        layout = read_layout(config.data.folder, config.data.reading)
        layout.check_classes(config.model.classes)
    masks = (config.data.masks, *(one.masks for one in config.data.sets))
    check_masks_of_list(config.model.classes, *masks)
    return config


def _with_flags(config: Config, args: argparse.Namespace) -> Config:
    """Return the configuration with the settings that have their own options."""
    config = with_overrides(config, _flag_overrides(args))
    if args.group_file is None:
        return config
    group = {"group_file": args.group_file.resolve(), "group_column": args.group_column}
    return config.model_copy(update={"data": config.data.model_copy(update=group)})


def _resumed(args: argparse.Namespace, named: bool) -> Config:
    """Return the settings of the run in ``--out``, of a cross-validation those of its folds."""
    if args.out is None:
        raise ConfigError("Name the folder of the run to resume: --out FOLDER.")
    own = None if args.fold is None else args.out / FOLDER.format(args.fold)
    fold = own if own is not None and is_begun(own) else begun_fold(args.out)
    config = resumed_config(fold or own or args.out, args.trust_paths, named=named)
    return config if fold is None else with_fold(config, args.fold)


_LABELS = ("classes", "class_colours")
"""Settings of a model that do not change its network."""


def _named_classes(config: Config, args: argparse.Namespace) -> Sequence[str] | None:
    """Return the classes that ``--set`` or the folder of the data names, None without any."""
    model = override_values(args.overrides).get("model")
    named = model.get("classes") if isinstance(model, dict) else None
    if isinstance(named, list):
        return named
    if config.data.folder is None:
        return None
    return read_layout(config.data.folder, config.data.reading).classes or None


def _from_initial(config: Config, args: argparse.Namespace) -> Config:
    """Return the configuration with the network of ``--init``, if none is named.

    A file that names only the classes and their colours does not name a network.
    """
    file = read_toml(args.config) if args.config else {}
    named = file.get("model", {})
    labels = {key: getattr(config.model, key) for key in named if key in _LABELS}
    if len(named) > len(labels) or args.preset not in (None, "default"):
        return config
    classes = _named_classes(config, args) or labels.get("classes")
    made = _with_network_of(config, args.init, classes, file.get("data", {}))
    return made.model_copy(update={"model": made.model.model_copy(update=labels)})


def _with_network_of(
    config: Config, model: str | Path, classes: Sequence[str] | None, own: Collection[str]
) -> Config:
    """Return the configuration with the network and input size of the model to start from.

    Without prompts if several classes are named: these need a model of one class. `own` are the
    names of the data settings that stay.
    """
    card = read_only_card(resolve_model(model)).config
    shape = {"size": card.data.size, "fit": card.data.fit}
    data = config.data.model_copy(update={k: v for k, v in shape.items() if k not in own})
    values = config.model_copy(update={"model": card.model, "data": data}).to_json()
    values["model"]["distilled_steps"] = 0  # trained from the flow in its own stage
    values["model"]["class_colours"] = []  # the classes may get other names
    values["model"]["prompts"] &= len(classes or ()) < 2
    return config_from_mapping(values)


def _with_colours_of(config: Config, model: str | Path) -> Config:
    """Return the configuration with the colours of the model to start from.

    They are kept if it has all of the classes.
    """
    colours = read_only_card(resolve_model(model)).config.model.colours_of(config.model.classes)
    own = config.model.model_copy(update={"class_colours": colours})
    return config.model_copy(update={"model": own})


_FROM_PARENT = {PRESET: finetune_config, DISTILL: distill_config}
"""Presets that continue training a finished model."""


def _from_parent(config: Config, args: argparse.Namespace) -> Config:
    if args.init is None:
        raise ConfigError(f"--preset {args.preset} continues training a model: add --init MODEL.")
    make = _FROM_PARENT[args.preset]
    card = read_only_card(resolve_model(args.init))
    own, named = card.config.model.classes, _named_classes(config, args)
    if named is not None and len(named) != len(own):
        raise ConfigError(
            f"--preset {args.preset} keeps the network of {card.id}, which has "
            f"{count_and_names(own)}, but this run names "
            f"{len(named)} ({', '.join(map(str, named))}). Leave the preset out: --init alone "
            "starts a model of other classes."
        )
    made = make(card, config.data, config)
    # The classes may still get other names, and those of the folder say which label is which.
    same = named is not None and None not in matching(named, own)
    classes = tuple(map(str, named)) if named is not None and same else own
    model = made.model.model_copy(update={"class_colours": (), "classes": classes})
    return made.model_copy(update={"model": model})
