"""Export the deterministic parts of a model as ONNX files, with a JSON recipe for the ODE."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ModelFolderError
from latentfm_core.export.graphs import (
    ConditionPart,
    DecoderPart,
    MeanVelocityPart,
    VelocityPart,
    starts,
)
from latentfm_core.export.onnx_file import OPSET, Graph, write_graph
from latentfm_core.files.atomic import atomic_folder
from latentfm_core.flow.solvers import TABLEAUS
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.folder import file_sha256
from latentfm_core.models.velocity import VelocityNetwork
from latentfm_core.output.sidecar import versions
from latentfm_core.uncertainty.summary import SAMPLE_THRESHOLD

RECIPE = "sampling.json"
NOISE = "noise.npy"


def write_parts(
    folder: Path, segmenter: Segmenter, settings: SamplingConfig, *, overwrite: bool = False
) -> None:
    """Write ``condition.onnx``, ``velocity.onnx``, ``decoder.onnx`` and the recipe.

    A model with a few-step network also has ``condition_few_steps.onnx`` and
    ``velocity_few_steps.onnx``.

    Parameters
    ----------
    folder
        Output folder; an existing one is replaced only if `overwrite`.
    segmenter
        On the CPU.
    settings
        Resolved; number of samples and seed of ``noise.npy``, and the usual steps and solver.

    Raises
    ------
    ConfigError
        If a package is missing.
    ModelFolderError
        If the model is an ensemble.
    OutputError
        If the folder exists or cannot be written.
    """
    refuse_ensemble(segmenter)
    model, card = segmenter.model, segmenter.card
    size = card.config.data.size
    facts = facts_of(segmenter)
    noise = starts(model, size, settings)
    with atomic_folder(folder, overwrite=overwrite) as work:
        maps = _write_network(work, segmenter, "", model.velocity, facts)
        if model.few_step_velocity is not None:
            _write_network(work, segmenter, "_few_steps", model.few_step_velocity, facts)
        z = torch.zeros(2, *noise.shape[1:])
        decoder = Graph(DecoderPart(model), {"z": z}, ["probability"], ["z", "probability"])
        write_graph(work / "decoder.onnx", decoder, facts)
        np.save(work / NOISE, noise.numpy(), allow_pickle=False)
        files = {path.name: file_sha256(path) for path in sorted(work.iterdir())}
        recipe = _recipe(segmenter, settings, maps, files)
        text = json.dumps(recipe, indent=2, ensure_ascii=False) + "\n"
        (work / RECIPE).write_text(text, "utf-8")


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


def refuse_ensemble(segmenter: Segmenter) -> None:
    """Refuse a model that is not a single network.

    Raises
    ------
    ModelFolderError
        If it is an ensemble; the message says what to export instead.
    """
    members = segmenter.card.members
    if members:
        folders = ", ".join(member.folder for member in members)
        raise ModelFolderError(
            f"{segmenter.card.id} is an ensemble of {len(members)} models, and an export holds a "
            f"single one. Export the folders in it one by one ({folders}), and average the "
            "probabilities."
        )


def facts_of(segmenter: Segmenter) -> dict[str, str]:
    """Return the model metadata of every exported file."""
    card = segmenter.card
    return {
        "model": card.id,
        "model_sha256": card.weights_sha256,
        "licence": card.licence,
        "intended_use": card.intended_use,
        "made_by": f"napari-latentfm {versions()['napari-latentfm']}",
    }


def _recipe(
    segmenter: Segmenter, settings: SamplingConfig, maps: list[str], files: dict[str, str]
) -> dict[str, Any]:
    card, model = segmenter.card, segmenter.model
    data, distilled = card.config.data, card.config.model.distilled_steps
    side = data.size // model.config.downsample
    classes = list(card.config.model.classes)
    return {
        "format": "latentfm-onnx",
        "format_version": 1,
        "opset": OPSET,
        **facts_of(segmenter),
        "files": files,
        "image": {
            "shape": [1, 3, data.size, data.size],
            "dtype": "float32",
            "channels": "red, green, blue; a grey image repeated",
            "range": [0, 1],
            "fit": data.fit,
            "fit_means": "pad: the longer side becomes the canvas, edge pixels fill the rest; "
            "stretch: both sides do; bilinear, anti-aliased where a side shrinks",
        },
        "noise": {
            "shape": ["samples", model.latent_channels, side, side],
            "distribution": "normal, with mean 0 and this standard deviation",
            "standard_deviation": settings.noise_scale,
            "file": NOISE,
            "seeds_of_file": [settings.seed, settings.seed + settings.n_samples - 1],
            "seed": "sample n: standard_deviation * torch.randn(shape[1:], "
            "generator=torch.Generator().manual_seed(seed + n)) on the CPU; any "
            "other source of noise gives other samples of the same distribution",
        },
        "ode": {
            "equation": "dz/dt = v(t, z, maps) from t = 0 (z = noise) to t = 1",
            "maps": maps,
            "steps": settings.steps,
            "solver": settings.solver,
            "step": "h = 1 / steps; stage i: s_i = v(t + nodes[i] h, z + h sum_j stages[i][j] s_j);"
            " then z + h sum_i weights[i] s_i",
            "solvers": {
                name: {"nodes": t.nodes, "stages": t.stages, "weights": t.weights}
                for name, t in TABLEAUS.items()
            },
        },
        "few_steps": None
        if not distilled
        else {
            "most_steps": distilled,
            "solver": "euler",
            "means": "runs of at most so many Euler steps take condition_few_steps.onnx and "
            "velocity_few_steps.onnx, with h = 1 / steps as one more input",
        },
        "decoder": {
            "channels": classes if len(classes) == 1 else ["background", *classes],
            "sample_mask": f"probability >= {SAMPLE_THRESHOLD}; of several classes the argmax",
            "mean_mask_threshold": settings.threshold,
        },
        "calibration": None
        if card.calibration is None
        else card.calibration.model_dump(mode="json"),
    }
