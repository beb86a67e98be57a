"""Training runs that only add a few-step network to a finished model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latentfm_core.config import Config, DataConfig, preset
from latentfm_core.errors import ModelFolderError
from latentfm_core.files.atomic import write_text
from latentfm_core.files.untrusted import decoded_text, read_bounded
from latentfm_core.model_io.card import MAX_CARD_BYTES, ModelCard, read_card
from latentfm_core.model_io.domain import read_domain, write_domain
from latentfm_core.model_io.file_names import CARD
from latentfm_core.training.stage import STAGES
from latentfm_core.training.time_budget import is_trained

PRESET = "distill"


def is_distillation(config: Config) -> bool:
    """Return whether a run trains only the few-step network."""
    return [name for name in STAGES if is_trained(config, name)] == ["distill"]


def distill_config(parent: ModelCard, data: DataConfig, base: Config | None = None) -> Config:
    """Return the settings for adding a few-step network to `parent`.

    Parameters
    ----------
    parent
        Card of the finished model; network, input size and sampling come from it.
    data
        Folders of images and masks, and how they are split.
    base
        Settings of the recipe; None takes the preset ``"distill"``.
    """
    recipe, parent_config = base or preset(PRESET), parent.config
    kept = ("size", "resolution", "fit", "unprompted")
    same = {name: getattr(parent_config.data, name) for name in kept}
    steps = {"distilled_steps": recipe.model.distilled_steps}
    return Config(
        data=data.model_copy(update=same),
        model=parent_config.model.model_copy(update=steps),
        training=recipe.training,
        sampling=parent_config.sampling,
    )


def remember_parent(folder: Path, parent: Path) -> None:
    """Copy the parent's card and domain to the run's folder for a resumed run."""
    card = read_card(parent)
    domain = read_domain(parent, card)
    if domain is not None:
        write_domain(folder, domain, card.weights_sha256)
    write_text(folder / CARD, card.model_dump_json(indent=2) + "\n")


def keep_domain(folder: Path, parent: ModelCard, out: Path, weights_sha256: str) -> None:
    """Write the domain of `parent`, kept in the run's folder, to a model with new weights.

    The image features are unchanged, so it stays valid.

    Raises
    ------
    ModelFolderError
        If the kept file is damaged.
    OutputError
        If it cannot be written.
    """
    domain = read_domain(folder, parent)
    if domain is not None:
        write_domain(out, domain, weights_sha256)


def kept_parent(folder: Path) -> ModelCard | None:
    """Return the card that `remember_parent` copied to the run's folder, if it distils a model.

    Raises
    ------
    ModelFolderError
        If the card is damaged.
    """
    if not (folder / CARD).is_file():
        return None
    try:
        return ModelCard.model_validate_json(
            decoded_text(read_bounded(folder / CARD, MAX_CARD_BYTES))
        )
    except (OSError, ValueError):
        raise ModelFolderError(
            f"{folder / CARD} is damaged. Start again in a new folder, without --resume."
        ) from None


def distilled_card(parent: ModelCard, card: dict[str, Any]) -> dict[str, Any]:
    """Return the card of `parent` with the fields that distillation adds.

    The flow is unchanged, so its metrics and calibration stay valid. The default number of steps is
    that of the run.
    """
    run = Config.model_validate(card["config"])
    steps = {"steps": run.sampling.steps}
    config = parent.config.model_copy(
        update={
            "model": run.model,
            "sampling": parent.config.sampling.model_copy(update=steps),
            "training": parent.config.training.model_copy(update={"distill": run.training.distill}),
        }
    )
    inherited = {"id", "title", "description", "created", "intended_use", "licence"} & card.keys()
    return {
        **parent.model_dump(mode="json", exclude={"weights"}),
        **{name: card[name] for name in inherited},
        "config": config.model_dump(mode="json"),
        "distillation": card["training"],
        "metrics": card["metrics"] | parent.metrics,
    }
