"""Settings for fine-tuning on a few annotated images."""

from __future__ import annotations

from pathlib import Path

from latentfm_core.config import Config, DataConfig, FlowConfig, SamplingConfig, preset
from latentfm_core.datasets.label_names import check_masks_of_list
from latentfm_core.datasets.layouts import training_pairs
from latentfm_core.datasets.splits import read_split
from latentfm_core.files.user_path import user_path
from latentfm_core.model_io.bundled import bundled_models
from latentfm_core.model_io.card import ModelCard

PRESET = "finetune"

HELD_OUT_FROM = 8
"""Minimum number of images for holding some out; with fewer, all are used for training."""
MIN_HELD_OUT = 3
MIN_EPOCHS = 12

_OBJECTIVE = ("time_sampling", "endpoint_weight", "auxiliary_weight")


def held_out_fraction(count: int, usual: float) -> float:
    """Return the share of `count` images to hold out, at least `MIN_HELD_OUT` images."""
    if count < HELD_OUT_FROM:
        return 0.0
    return max(usual, MIN_HELD_OUT / count)


def finetune_config(parent: ModelCard, data: DataConfig, base: Config | None = None) -> Config:
    """Return the settings for fine-tuning `parent` on the images of `data`.

    Network, input size, objective and sampling are the parent's. The number of steps hardly
    depends on the number of images, unless it is large.

    Parameters
    ----------
    data
        Folders of images and masks; a split file, if set, decides what is held out.
    base
        Settings of the recipe; None uses the preset ``"finetune"``.

    Raises
    ------
    ConfigError
        If no folders are named, or the masks come with the parent's classes in another order.
    DatasetError
        If the folders contain no images with masks, or the split file cannot be used.
    """
    check_masks_of_list(parent.config.model.classes, data.masks)
    pairs = training_pairs(data.model_copy(update={"skip_unmasked": True}))
    config = base or preset(PRESET)
    fraction = 0.0
    if data.split_file is None:
        count = len(pairs)
        fraction = held_out_fraction(count, config.data.val_fraction)
        n_train = round(count * (1 - fraction))
    else:
        n_train = len(read_split(data.split_file, [pair.name for pair in pairs]).train)
    own = {
        "size": parent.config.data.size,
        "resolution": parent.config.data.resolution,
        "fit": parent.config.data.fit,
        "unprompted": parent.config.data.unprompted,
        "val_fraction": fraction,
        "test_fraction": 0.0,
        "skip_unmasked": True,
    }
    # Settings for other images do not apply; the device is this machine's.
    this = {"threshold": None, "noise_scale": None, "device": SamplingConfig().device}
    # A few-step network would still match the old flow.
    kept = parent.config.without_few_steps()
    sampling = kept.sampling.model_copy(update=this)
    training = config.training.model_copy(
        update={
            "flow": _flow(config.training.flow, parent.config, n_train),
            "validation_steps": sampling.ode_steps,
        }
    )
    return Config(
        data=data.model_copy(update=own),
        model=kept.model,
        training=training,
        sampling=sampling,
    )


def _flow(recipe: FlowConfig, parent: Config, n_train: int) -> FlowConfig:
    """Return the flow settings for `n_train` images: the preset has 2 steps an epoch."""
    per_epoch = max(1, n_train // recipe.batch_size)
    epochs = max(MIN_EPOCHS, round(recipe.epochs * 2 / per_epoch))
    share = epochs / recipe.epochs
    objective = {name: getattr(parent.training.flow, name) for name in _OBJECTIVE}
    return recipe.model_copy(
        update=objective
        | {
            "epochs": epochs,
            "small_epochs": round(recipe.small_epochs * share),
            "small_size": max(32, parent.data.size // 64 * 32),
            "validate_every": max(1, round(recipe.validate_every * share)),
        }
    )


def model_source(source: str | Path) -> str:
    """Return a bundled model's name unchanged, and a folder as an absolute path."""
    if source in bundled_models():
        return str(source)
    folder = user_path(source)
    return str(folder.resolve()) if folder.is_dir() else str(source)
