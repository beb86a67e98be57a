"""The model that the arguments of a command name."""

from __future__ import annotations

import argparse
import logging

from latentfm_core.cli.options import sampling_from
from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ConfigError, ModelFolderError
from latentfm_core.inference.device import own_device
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.bundled import bundled_models, resolve_model
from latentfm_core.model_io.folder import read_card
from latentfm_core.names import counted, name_some
from latentfm_core.torchrun import Launch
from latentfm_core.vocabulary import PromptGroup

logger = logging.getLogger("latentfm_core.cli.model")


def load_segmenter(
    args: argparse.Namespace, group: PromptGroup | None = "none", launch: Launch | None = None
) -> tuple[Segmenter, SamplingConfig]:
    """Return the model given by the arguments, and its sampling settings.

    Parameters
    ----------
    group
        Kind of prompts whose fitted values are the defaults of the options; None leaves them
        unset, for objects with several kinds of prompts.

    launch
        Processes that share the work; each takes its own GPU.

    Raises
    ------
    ModelFolderError
        If the model does not exist, or its folder is damaged.
    ConfigError, ResourceError
        If the settings contradict each other, or the device does not exist.
    """
    source = args.model
    if source is None:
        names = bundled_models()
        if not names:
            raise ModelFolderError(
                "This installation has no bundled model. Choose a model folder: --model FOLDER."
            )
        source = names[0]
    folder = resolve_model(source)
    base = read_card(folder).config.sampling
    # The device depends on this machine, not on the one that trained the model.
    base = base.model_copy(update={"device": SamplingConfig().device})
    settings = sampling_from(args, base)
    if launch is not None and launch.size > 1:
        device = own_device(settings.device, launch.local_rank)
        settings = settings.model_copy(update={"device": device})
    segmenter = Segmenter.load(folder, settings.device, settings.precision)
    count = len(segmenter.members)
    kind = f" (ensemble of {count} models)" if count > 1 else ""
    logger.info("model %s%s on %s", segmenter.card.id, kind, segmenter.device_label)
    learned = segmenter.card.config.data.reading.channel
    given = getattr(args, "channel", None)
    if learned is not None and learned != given:
        logger.warning(
            "The model was trained on channel %d of files with several. Add --channel %d, "
            "unless these images are different.",
            learned,
            learned,
        )
    if getattr(args, "confidence", None) == "calibrated" and segmenter.card.calibration is None:
        raise ConfigError(
            f"The model {segmenter.card.id} has no calibration. Fit one with latentfm-calibrate, "
            "or use --confidence raw."
        )
    return segmenter, settings if group is None else segmenter.resolved(settings, group)


def warn_of_one_sample(segmenter: Segmenter, settings: SamplingConfig) -> None:
    """Warn of a single sample whose confidence is not calibrated."""
    calibrated = settings.calibrated and segmenter.card.calibration is not None
    if settings.n_samples == 1 and not calibrated:
        logger.warning(
            "One sample has no spread: its variance is 0 and its confidence 1 everywhere. Leave "
            "--samples 1 out."
        )


def warn_of_unused_members(segmenter: Segmenter, samples: int) -> None:
    """Warn of the members of an ensemble that draw none of a number of samples."""
    members = segmenter.card.members
    if samples < len(members):
        logger.warning(
            "With %s, these models of the ensemble %s draw none: %s. Add --samples %d, so that "
            "each draws one.",
            counted(samples, "sample"),
            segmenter.card.id,
            name_some(member.folder for member in members[samples:]),
            len(members),
        )
