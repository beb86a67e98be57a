"""Load a model folder, or the members of an ensemble, for sampling."""

from __future__ import annotations

import logging
from pathlib import Path

from latentfm_core.config import Precision
from latentfm_core.errors import ModelFolderError
from latentfm_core.inference.network import Network
from latentfm_core.inference.sampler import Sampler
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import read_card
from latentfm_core.model_io.domain import read_domain
from latentfm_core.model_io.folder import load_model
from latentfm_core.model_io.usable import usability_warning

logger = logging.getLogger(__name__)


def load_samplers(
    source: str | Path, device: str, precision: Precision | None
) -> tuple[Sampler, tuple[Sampler, ...]]:
    """Return the sampler of a model, and those of the members of an ensemble.

    Parameters and errors are those of `Segmenter.load`. A single model has no members. A warning
    is logged if the validation says that the model is not usable.
    """
    folder = resolve_model(source)
    sampler, members = _load(folder, device, precision)
    if warning := usability_warning(sampler.card):
        logger.warning("%s", warning)
    return sampler, members


def _load(
    folder: Path, device: str, precision: Precision | None
) -> tuple[Sampler, tuple[Sampler, ...]]:
    card = read_card(folder)
    if not card.members:
        model, card = load_model(folder)
        network = Network(model, device, precision or card.config.sampling.precision)
        return Sampler((network,), card, (read_domain(folder, card),)), ()
    used = precision or card.config.sampling.precision
    members = [_load(folder / each.folder, device, used)[0] for each in card.members]
    if [one.card.weights_sha256 for one in members] != [one.sha256 for one in card.members]:
        raise ModelFolderError(
            f"A model in {folder} was replaced while the ensemble was loaded. Load it again."
        )
    networks = [network for member in members for network in member.networks]
    domains = [domain for member in members for domain in member.domains]
    return Sampler(networks, card, domains), tuple(members)
