"""Export a complete run as a BioImage Model Zoo (bioimage.io) package."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ConfigError, ImageError, ModelFolderError
from latentfm_core.export.graphs import Run, WholeRun, starts
from latentfm_core.export.onnx_file import OPSET, Graph, build_in, needed, write_graph
from latentfm_core.export.recipe import facts_of
from latentfm_core.files.atomic import atomic_path
from latentfm_core.images.canvas import to_canvas
from latentfm_core.images.read import to_rgb
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.card import ModelCard
from latentfm_core.model_io.folder import file_sha256
from latentfm_core.output.sidecar import now
from latentfm_core.types import ImageInput

WEIGHTS = "weights.onnx"
DOCUMENTATION = "README.md"
DESCRIPTION = "rdf.yaml"
OUTPUTS = ("mean_mask", "mean_probability", "confidence", "samples")
PAPER = ("LatentFM: latent flow matching segmentation", "10.48550/arXiv.2512.04821")

ABSOLUTE, MISMATCHED = 2e-3, 1000
"""Allowed difference from PyTorch, and pixels per million that may differ by more: where a
probability is a threshold but for rounding, a mask may be either."""

ABSOLUTE_CALIBRATED, MISMATCHED_CALIBRATED = 5e-3, 5000
"""The same for a calibrated mean probability: where all samples are sure, the calibration separates
what float32 hardly can (0.9999998 and 1). It is the maximum that the format accepts."""


@dataclass(frozen=True)
class Described:
    """User-supplied fields of the package.

    Attributes
    ----------
    licence
        SPDX identifier, or None.
    picture
        8-bit test image of the package; None draws one.
    """

    authors: tuple[str, ...] = ()
    licence: str | None = None
    picture: ImageInput | None = None


def write_package(
    path: Path, segmenter: Segmenter, settings: SamplingConfig, described: Described | None = None
) -> None:
    """Write a ``.zip`` of description, ONNX file, documentation and test tensors.

    The test outputs are computed by PyTorch, so testing the package also verifies the ONNX
    conversion.

    Parameters
    ----------
    path
        Output file; an existing one is replaced.
    segmenter
        On the CPU.
    settings
        Resolved; samples, seed, steps, solver, network, threshold and calibration are built in.

    Raises
    ------
    ConfigError
        If a package is missing, or the description is invalid.
    ModelFolderError
        If the model is an ensemble.
    ImageError
        If the test image is not 8-bit, or nothing is found in it.
    OutputError
        If the file cannot be written.
    """
    _reject_ensemble(segmenter.card)
    described = described or Described()
    # Check for missing packages first.
    for name in ("onnx", "bioimageio.spec"):
        needed(name)
    card, data = segmenter.card, segmenter.card.config.data
    calibration = card.calibration if settings.calibrated else None
    module = WholeRun(segmenter.model, Run(settings, calibration)).eval()
    pixels = _test_pixels(described.picture, segmenter)
    image = torch.from_numpy(pixels.transpose(2, 0, 1)[None] / np.float32(255))
    noise = starts(segmenter.model, data.size, settings)
    with torch.no_grad():
        maps = dict(zip(OUTPUTS, module(image, noise), strict=True))
    empty = [name for name, values in maps.items() if not values.any()]
    if empty:
        raise ImageError(
            f"The model finds nothing in the test image ({', '.join(empty)}), and the format "
            "rejects tests whose result is 0 everywhere. Use an image with something to find: "
            "--test-image FILE."
        )
    graph = Graph(module, {"image": image, "noise": noise}, OUTPUTS)
    with atomic_path(path) as temporary, TemporaryDirectory() as folder:
        work = Path(folder)
        write_graph(work / WEIGHTS, graph, facts_of(segmenter))
        build_in(work / WEIGHTS, "noise", noise)
        np.save(work / "image.npy", image_tensor(pixels), allow_pickle=False)
        for name, values in maps.items():
            np.save(work / f"{name}.npy", values.numpy(), allow_pickle=False)
        (work / DOCUMENTATION).write_text(_documentation(card, settings), "utf-8")
        _describe(work, card, settings, described)
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(work.iterdir()):
                archive.write(file, file.name)


def _reject_ensemble(card: ModelCard) -> None:
    if card.members:
        folders = ", ".join(member.folder for member in card.members)
        raise ModelFolderError(
            f"{card.id} is an ensemble of {len(card.members)} models, and a BioImage.IO package "
            f"has a single one. Export one of the folders in it ({folders}), or all of them with "
            "--format onnx."
        )


def image_tensor(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return ``(S, S, 3)`` in the layout of the package, ``(1, 3, S, S)``."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def _test_pixels(picture: ImageInput | None, segmenter: Segmenter) -> NDArray[np.uint8]:
    """Return ``(S, S, 3)`` uint8: `picture` on the canvas, or a dark disc on a light ground."""
    data = segmenter.card.config.data
    if picture is None:
        rows, columns = np.mgrid[: data.size, : data.size] / data.size - 0.5
        inside = (rows**2 + columns**2 < 0.05)[..., None]
        drawn = np.where(inside, (110, 70, 50), (220, 180, 160)).astype(float)
        drawn += np.random.default_rng(0).normal(0, 8, drawn.shape)
        return drawn.clip(0, 255).astype(np.uint8)
    if picture.pixels.dtype != np.uint8:
        raise ImageError(
            f"{picture.name}: the test image of a package must be 8-bit, this one is "
            f"{picture.pixels.dtype}. Convert it, or omit --test-image."
        )
    canvas, _ = to_canvas(to_rgb(picture), data.size, data.fit)
    return (canvas * 255).round().astype(np.uint8)


def _describe(work: Path, card: ModelCard, settings: SamplingConfig, described: Described) -> None:
    spec = needed("bioimageio.spec")
    version = spec.ModelDescr.implemented_format_version
    content = _content(work, card, settings, described, version)
    context = spec.ValidationContext(root=work, perform_io_checks=False)
    described = spec.build_description(content, context=context)
    if isinstance(described, spec.InvalidDescr):
        problems = "; ".join(
            f"{'.'.join(map(str, error.loc))}: {error.msg[:200]}"
            for error in described.validation_summary.errors
        )
        raise ConfigError(
            f"bioimageio.spec rejects the description of the model: {problems}. Fix --author, "
            "--licence, or the model's card."
        )
    with context:
        spec.save_bioimageio_yaml_only(described, work / DESCRIPTION)


def _content(
    work: Path, card: ModelCard, settings: SamplingConfig, described: Described, version: str
) -> dict[str, Any]:
    classes = ", ".join(card.config.model.classes)
    return {
        "type": "model",
        "format_version": version,
        "name": re.sub(r"[^\w+\- ().]", " ", card.title or f"LatentFM model {card.id}")[:100],
        "description": (card.description or f"Plausible outlines of {classes}.")[:1000],
        "authors": [{"name": name} for name in described.authors],
        "cite": [{"text": PAPER[0], "doi": PAPER[1]}],
        "license": described.licence,
        "documentation": _file(work, DOCUMENTATION),
        "tags": ["segmentation", "uncertainty", "flow-matching", "2d", "medical"],
        "timestamp": now(),
        **_tensors(work, card, settings),
        "weights": {"onnx": {**_file(work, WEIGHTS), "opset_version": OPSET}},
        "config": _how(card, settings),
    }


def _file(work: Path, name: str) -> dict[str, str]:
    return {"source": name, "sha256": file_sha256(work / name)}


def _tensor(
    work: Path, size: int, name: str, channels: list[str], data: dict[str, Any], about: str
) -> dict[str, Any]:
    sides = [{"type": "space", "id": side, "size": size} for side in "yx"]
    axes = [{"type": "batch", "size": 1}, {"type": "channel", "channel_names": channels}]
    return {
        "id": name,
        "description": about,
        "axes": [*axes, *sides],
        "data": data,
        "test_tensor": _file(work, f"{name}.npy"),
    }


def _tensors(work: Path, card: ModelCard, settings: SamplingConfig) -> dict[str, Any]:
    classes = list(card.config.model.classes)
    channels = classes if len(classes) == 1 else ["background", *classes]
    tensor = partial(_tensor, work, card.config.data.size)
    labels = {"type": "uint8", "values": list(range(len(classes) + 1))}
    share = {"type": "float32", "range": [0.0, 1.0]}
    samples = [f"sample_{n}" for n in range(settings.n_samples)]
    scale = {"id": "scale_linear", "kwargs": {"gain": 1 / 255, "offset": 0.0}}
    as_float = {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}
    colours, levels = ["red", "green", "blue"], {"type": "uint8", "range": [0, 255]}
    image = tensor("image", colours, levels, "8-bit colours; a grey image three times")
    # The second, because else bioimageio.spec adds one back to 8 bits.
    image["preprocessing"] = [as_float, scale, as_float]
    return {
        "inputs": [image],
        "outputs": [
            tensor("mean_mask", ["mask"], labels, "0 background, k the k-th class"),
            tensor("mean_probability", channels, share, "mean over the samples"),
            tensor("confidence", ["confidence"], share, "how far the mean mask can be trusted"),
            tensor("samples", samples, labels, "masks that an expert might have drawn"),
        ],
    }


def _how(card: ModelCard, settings: SamplingConfig) -> dict[str, Any]:
    calibrated = settings.calibrated and card.calibration is not None
    usual = {"absolute_tolerance": ABSOLUTE, "mismatched_elements_per_million": MISMATCHED}
    looser = {
        "output_ids": ["mean_probability"],
        "absolute_tolerance": ABSOLUTE_CALIBRATED,
        "mismatched_elements_per_million": MISMATCHED_CALIBRATED,
    }
    return {
        "bioimageio": {
            # The first that fits an output counts.
            "reproducibility_tolerance": [*([looser] if calibrated else []), usual]
        },
        "latentfm": {
            "model": card.id,
            "model_sha256": card.weights_sha256,
            "samples": settings.n_samples,
            "seed": settings.seed,
            "steps": settings.ode_steps,
            "solver": settings.solver,
            "noise_scale": settings.noise_scale,
            "threshold": settings.threshold,
            "calibrated": calibrated,
        },
    }


def _documentation(card: ModelCard, settings: SamplingConfig) -> str:
    size, fit = card.config.data.size, card.config.data.fit
    how = "longer side to it, the rest filled with edge pixels" if fit == "pad" else "both sides"
    last = settings.seed + settings.n_samples - 1
    figures = "\n".join(f"- {name}: {value:.4g}" for name, value in sorted(card.metrics.items()))
    return f"""# {card.title or card.id}

{card.description}

{card.intended_use}

The model draws {settings.n_samples} plausible masks of one image (seeds {settings.seed} to {last},
{settings.ode_steps} {settings.solver} steps) and summarises them. It is deterministic: the noise
that the samples start from is built in.

Images are resized to {size} x {size} ({how}) before inference; the maps have that size too.

Licence of the weights: {card.licence or "not stated"}

## Validation

Compare the mean mask with masks of experts on images outside the training data (Dice, IoU), and
the samples with the masks of several experts (GED). Figures of this model, where measured:

{figures or "- none"}
"""
