"""Export a module to a checked ONNX file."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentfm_core.errors import ConfigError

OPSET = 17
"""The oldest opset with all required operators, for wide compatibility."""


@dataclass(frozen=True)
class Graph:
    """A module with example inputs.

    Attributes
    ----------
    inputs
        Name and example, in the order of the module's arguments.
    samples
        Names of inputs and outputs whose first axis may have any length.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]
    samples: Sequence[str] = ()


def needed(name: str) -> Any:
    """Import a package of the extra ``export``; raise `ConfigError` if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"Export needs the package {name.partition('.')[0]} ({error}). Install it: "
            "pip install 'napari-latentfm[export]'"
        ) from None


def write_graph(path: Path, graph: Graph, facts: Mapping[str, str]) -> list[str]:
    """Write `graph` to `path` with all weights, and check the file.

    Returns the inputs of the file: those of `graph` that its outputs depend on.

    Raises
    ------
    ConfigError
        If a package is missing.
    """
    onnx = needed("onnx")
    axes = {name: {0: "samples"} for name in graph.samples}
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter by tracing: that by torch.export needs two packages more and takes eight
        # times as long. Nothing here depends on values of tensors, which tracing cannot follow.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes=axes,
        )
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return [item.name for item in model.graph.input]


def build_in(path: Path, name: str, values: Tensor) -> None:
    """Turn an input of a graph into a constant."""
    onnx = needed("onnx")
    model = onnx.load(str(path))
    model.graph.input.remove(next(item for item in model.graph.input if item.name == name))
    model.graph.initializer.append(onnx.numpy_helper.from_array(values.numpy(), name))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
