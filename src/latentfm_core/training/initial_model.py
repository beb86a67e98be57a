"""Start a run from the weights of a finished model, as far as they fit its classes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from latentfm_core.config import Config, ModelConfig, TrainingConfig
from latentfm_core.errors import ConfigError
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import read_only_card
from latentfm_core.model_io.folder import load_model
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.names import counted, matching

logger = logging.getLogger(__name__)

_FREE = ("classes", "class_colours", "prompts", "distilled_steps")
"""Settings of the network that may differ from those of the model to start from."""


def check_initial(init: str, config: Config) -> None:
    """Check that a run can start from the model `init`.

    The classes may have other names, colours and another order. With another number of classes the
    mask VAE is new, and either model may take prompts.

    Raises
    ------
    ModelFolderError
        If the model does not exist.
    ConfigError
        If its network differs, or a mask VAE that does not fit the classes would not be trained.
    """
    card = read_only_card(resolve_model(init))
    parent, own = card.config.model.model_dump(), config.model.model_dump()
    different = [name for name in own if name not in _FREE and own[name] != parent[name]]
    if different:
        changes = ", ".join(f"{name} {parent[name]} -> {own[name]}" for name in different)
        settings = [f"--set model.{name}={_written(parent[name])}" for name in different]
        raise ConfigError(
            f"The model {card.id} that --init names has other network settings than this run "
            f"({changes}). Use those of that model: {' '.join(settings)}"
        )
    if not _same_masks(card.config.model, config.model) and not config.training.mask_vae.epochs:
        raise ConfigError(
            f"The model {card.id} that --init names has "
            f"{count_and_names(card.config.model.classes)}, this run "
            f"{count_and_names(config.model.classes)}: its mask VAE does not fit. Train a new one: "
            f"set training.mask_vae.epochs above 0 (default: {TrainingConfig().mask_vae.epochs}), "
            "or start from a model with as many classes."
        )


def load_initial(model: LatentFM, init: str) -> str:
    """Load the weights of the model `init` into a new network; log which do not fit it.

    Returns the digest of that model.
    """
    folder = resolve_model(init)
    source, card = load_model(folder)
    before, now = source.config, model.config
    # The few-step network always starts from the flow, in its own stage.
    left_out = ["few_step_velocity."]
    if not _same_masks(before, now):
        left_out += ["mask_vae.", "latent_"]
        logger.info(
            "%s has %s, the new model %s: it gets a new mask VAE. Its encoder and flow start from "
            "%s.",
            card.id,
            count_and_names(before.classes),
            count_and_names(now.classes),
            card.id,
        )
    elif len(now.classes) > 1:
        _match_classes(source, now.classes, card.id)
    if before.prompts != now.prompts:
        left_out.append("prompt_encoder.")
        logger.info("%s", _prompts(card.id, now))
    weights = source.state_dict().items()
    fitting = {name: tensor for name, tensor in weights if not name.startswith(tuple(left_out))}
    model.load_state_dict(fitting, strict=False)
    return card.weights_sha256


def _match_classes(source: LatentFM, classes: Sequence[str], name: str) -> None:
    """Give the mask VAE of `source` the order of `classes`; log which class starts from which.

    Classes of the same name match; the others follow in their order.
    """
    own = source.config.classes
    places = matching(classes, own)
    left = [at for at in range(len(own)) if at not in places]
    order = [left.pop(0) if place is None else place for place in places]
    if own != tuple(classes):
        pairs = [f"{one} from {own[at]}" for one, at in zip(classes, order, strict=True)]
        logger.info("Each class starts from one of %s: %s.", name, ", ".join(pairs))
    source.mask_vae.reorder_channels([0, *(at + 1 for at in order)])


def _prompts(name: str, own: ModelConfig) -> str:
    if own.prompts:
        return f"{name} does not take prompts: the new model gets a new prompt encoder."
    several = len(own.classes) > 1
    reason = "prompts need a model of one class" if several else "model.prompts is false"
    return f"{name} takes prompts, the new model does not: {reason}."


def _same_masks(parent: ModelConfig, own: ModelConfig) -> bool:
    return parent.mask_channels == own.mask_channels


def _written(value: object) -> str:
    """Return a value as `with_overrides` reads it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def count_and_names(classes: Sequence[str]) -> str:
    """Return how many classes there are, and their names."""
    return f"{counted(len(classes), 'class', 'classes')} ({', '.join(classes)})"
