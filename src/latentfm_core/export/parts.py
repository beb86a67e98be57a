"""Export the deterministic parts of a model as ONNX files, with a JSON recipe for the ODE."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import OutputError
from latentfm_core.export.graphs import (
    ConditionPart,
    DecoderPart,
    ImagePart,
    MeanVelocityPart,
    PromptPart,
    VelocityPart,
    starts,
)
from latentfm_core.export.onnx_file import Graph, write_graph
from latentfm_core.export.recipe import NOISE, facts_of, recipe
from latentfm_core.files.atomic import atomic_folder
from latentfm_core.files.untrusted import parse_json, read_bounded
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.folder import file_sha256
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.prompt_encoder import PROMPT_CHANNELS
from latentfm_core.models.velocity import VelocityNetwork
from latentfm_core.names import is_there, name_some, shown

RECIPE = "sampling.json"
_MAX_RECIPE = 4_000_000


def write_parts(
    folder: Path, segmenter: Segmenter, settings: SamplingConfig, *, overwrite: bool = False
) -> None:
    """Write ``condition.onnx``, ``velocity.onnx``, ``decoder.onnx`` and the recipe.

    Of an ensemble, those of each member are in a folder with its name.

    A model with a few-step network also has ``condition_few_steps.onnx`` and
    ``velocity_few_steps.onnx``, a promptable model ``image_encoder.onnx`` and
    ``prompt_encoder.onnx`` (and ``prompt_encoder_few_steps.onnx``).

    Parameters
    ----------
    folder
        Output folder; an existing one is replaced only if `overwrite` and it has nothing but an
        earlier export.
    segmenter
        On the CPU.
    settings
        Resolved; number of samples and seed of ``noise.npy``, and the usual steps and solver.

    Raises
    ------
    ConfigError
        If a package is missing.
    OutputError
        If the folder may not be replaced or cannot be written.
    """
    if overwrite:
        reject_foreign(folder)
    members = segmenter.members
    names = [member.folder for member in segmenter.card.members] or ["."]
    noise = starts(members[0].model, segmenter.card.config.data.size, settings)
    with atomic_folder(folder, overwrite=overwrite) as work:
        maps = {}
        for name, member in zip(names, members, strict=True):
            (work / name).mkdir(exist_ok=True)
            maps[name] = _write_member(work / name, member, tuple(noise.shape[1:]))
        np.save(work / NOISE, noise.numpy(), allow_pickle=False)
        files = {name: file_sha256(work / name) for name in _files_in(work)}
        content = recipe(segmenter, settings, maps[names[0]], files)
        if segmenter.card.members:
            content["members"] = {"means": _MEMBERS, "maps": maps}
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (work / RECIPE).write_text(text, "utf-8")


_MEMBERS = (
    "an ensemble of M models, each in the folder of its name, with its own maps; sample n is drawn "
    "by model n modulo M, in this order; threshold and calibration are of all samples together"
)


def _write_member(work: Path, segmenter: Segmenter, latent: tuple[int, ...]) -> list[str]:
    """Write the functions of one model; return the names of its condition maps."""
    model, card = segmenter.model, segmenter.card
    facts = facts_of(segmenter)
    maps = _write_network(work, segmenter, "", model.velocity, facts)
    if model.few_step_velocity is not None:
        _write_network(work, segmenter, "_few_steps", model.few_step_velocity, facts)
    if card.config.model.prompts:
        _write_prompts(work, model, card.config.data.size, facts)
    given = {"z": torch.zeros(2, *latent)}
    decoder = Graph(DecoderPart(model), given, ["probability"], ["z", "probability"])
    write_graph(work / "decoder.onnx", decoder, facts)
    return maps


def _files_in(folder: Path) -> list[str]:
    """Return the paths of all files in a folder and its subfolders."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def reject_foreign(folder: Path) -> None:
    """Reject a folder that contains anything but an earlier export, which would be lost.

    Raises
    ------
    OutputError
        If it does; the message names its contents.
    """
    if not is_there(folder):
        return
    try:
        content = parse_json(read_bounded(folder / RECIPE, _MAX_RECIPE))
        own = {RECIPE, *content["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        own = set()
    others = _files_in(folder) if folder.is_dir() else [folder.name]
    others = [name for name in others if name not in own]
    if others:
        raise OutputError(
            f"{shown(folder)} contains more than an earlier export, and all of it would be lost: "
            f"{name_some(others)}. Choose another --out."
        )


def _write_network(
    work: Path, segmenter: Segmenter, ending: str, network: VelocityNetwork, facts: dict[str, str]
) -> list[str]:
    model, size = segmenter.model, segmenter.card.config.data.size
    side = size // model.config.downsample
    image = torch.zeros(1, 3, size, size)
    few = network.step_embedding is not None
    with torch.no_grad():
        condition = model.condition(image, few_steps=few)
    maps = {f"map_{index}": values for index, values in enumerate(condition)}
    graph = Graph(ConditionPart(model, few), {"image": image}, list(maps))
    write_graph(work / f"condition{ending}.onnx", graph, facts)
    inputs = {"z": torch.zeros(2, model.latent_channels, side, side), "t": torch.zeros(1)}
    part = MeanVelocityPart(network) if few else VelocityPart(network)
    if few:
        inputs["h"] = torch.full((1,), 0.5)
    graph = Graph(part, {**inputs, **maps}, ["v"], ["z", "v"])
    write_graph(work / f"velocity{ending}.onnx", graph, facts)
    return list(maps)


def _write_prompts(work: Path, model: LatentFM, size: int, facts: dict[str, str]) -> None:
    """Write the image encoder, and the encoder of prompts for each velocity network."""
    image = torch.zeros(1, 3, size, size)
    with torch.no_grad():
        found = model.image_features(image)
    features = {f"feature_{index}": values for index, values in enumerate(found)}
    inputs = {"prompt": torch.zeros(1, PROMPT_CHANNELS, size, size), **features}
    used: set[str] = set()
    for ending, few in (("", False), ("_few_steps", True)):
        if few and model.few_step_velocity is None:
            continue
        part = PromptPart(model, few)
        with torch.no_grad():
            count = len(part(*inputs.values()))
        graph = Graph(part, inputs, [f"map_{index}" for index in range(count)])
        used |= set(write_graph(work / f"prompt_encoder{ending}.onnx", graph, facts))
    # Coarse features that the velocity network does not use are not worth their time.
    kept = [index for index, name in enumerate(features) if name in used]
    names = [f"feature_{index}" for index in kept]
    graph = Graph(ImagePart(model, kept), {"image": image}, names)
    write_graph(work / "image_encoder.onnx", graph, facts)
