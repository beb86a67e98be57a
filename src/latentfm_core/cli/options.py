"""Command-line options, each declared once, so that a name means the same everywhere.

In help texts, ``default`` is the program's default; ``model default`` is the value that most
model cards set.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from typing import get_args

from latentfm_core.cli.setting_types import type_of
from latentfm_core.config import (
    Precision,
    SamplingConfig,
    SolverName,
    TilingConfig,
    sampling_settings,
    tiling_settings,
)
from latentfm_core.model_io.bundled import bundled_models

DEVICES = "device: auto, cpu, cuda, cuda:1, ... or mps"
PRECISION = "number format of the convolutions"
AUTO_PRECISION = "auto is bf16 where the hardware supports it, else fp32"

_SAMPLING = {
    "n_samples": "number of plausible masks to draw, N",
    "steps": "ODE solver steps per sample, K",
    "solver": f"ODE solver: {', '.join(get_args(SolverName))}",
    "seed": "seed of the first sample; sample n has seed + n. Equal seeds give equal samples",
    "threshold": "lowest mean probability of a pixel in the mean mask",
    "noise_scale": "standard deviation of the initial noise; above 1 the samples differ "
    "more from each other",
    "batch_size": "samples computed at once; affects memory and speed, not results",
}
_RUN = {
    "device": DEVICES,
    "precision": f"{PRECISION}: {', '.join(get_args(Precision))}; {AUTO_PRECISION}",
}
_FLAGS = {
    name: "--samples" if name == "n_samples" else f"--{name.replace('_', '-')}"
    for name in (*_SAMPLING, *_RUN)
}
_CHOSEN = {
    "steps": str(SamplingConfig().ode_steps),
    "threshold": "fitted by calibration, else 0.5",
    "noise_scale": "fitted by calibration, else 1",
}
"""Source of a value that is not set."""


def add_model(parser: argparse.ArgumentParser, *, own: bool = False) -> None:
    """Add ``--model``, which is required if the command changes the user's `own` model."""
    parser.add_argument("--model", help=_OWN_MODEL if own else _any_model())


def add_sampling_arguments(
    parser: argparse.ArgumentParser, leave_out: Collection[str] = ()
) -> None:
    """Add the options that `sampling_from` reads, except `leave_out`.

    Parameters
    ----------
    leave_out
        Fields of `SamplingConfig` that the command sets itself.
    """
    group = parser.add_argument_group(
        "sampling",
        "Defaults come from the model's card; model default is the value on most cards.",
    )
    for field, meaning in _SAMPLING.items():
        if field not in leave_out:
            _add(group, field, meaning)
    if "confidence" not in leave_out:
        group.add_argument(
            "--confidence",
            choices=("calibrated", "raw"),
            help="calibrated: the probability that a pixel of the mean mask agrees with an expert, "
            "fitted on validation data; raw: 1 - 4 variance of the samples (default: calibrated "
            "if the model has a calibration)",
        )
    if "refine" not in leave_out:
        group.add_argument(
            "--refine",
            action=argparse.BooleanOptionalAction,
            help="without a prompt, draw each sample a second time in the extent that it found "
            "(default: as the model card says)",
        )
    if "distilled" not in leave_out:
        group.add_argument(
            "--distilled",
            action=argparse.BooleanOptionalAction,
            help="for one or two Euler steps, use the distilled network of a model that has one "
            "(default: yes)",
        )
    run = parser.add_argument_group("run")
    for field, meaning in _RUN.items():
        if field not in leave_out:
            _add(run, field, meaning)


_OWN_MODEL = "folder of a model or ensemble written by latentfm-train; required"


def _any_model() -> str:
    bundled = bundled_models()
    listed = f"{', '.join(bundled)}; default: {bundled[0]}" if bundled else "none installed"
    return (
        "folder of a model written by latentfm-train, a folder of such folders (an ensemble), or "
        f"name of a bundled model ({listed})"
    )


def _add(group: argparse._ArgumentGroup, field: str, meaning: str) -> None:
    default = getattr(SamplingConfig(), field)
    taken = _CHOSEN.get(field, "chosen by the program") if default is None else default
    # The device depends on this machine, not on the card.
    whose = "default" if field == "device" else "model default"
    group.add_argument(
        _FLAGS[field],
        dest=field,
        metavar=_FLAGS[field].strip("-").upper().replace("-", "_"),
        type=type_of(SamplingConfig, field),
        help=f"{meaning} ({whose}: {taken})",
    )


def sampling_from(args: argparse.Namespace, base: SamplingConfig | None = None) -> SamplingConfig:
    """Return `base` (or the defaults) with the given options applied."""
    given: dict[str, object] = {
        name: value for name in _FLAGS if (value := getattr(args, name, None)) is not None
    }
    confidence = getattr(args, "confidence", None)
    if confidence is not None:
        given["calibrated"] = confidence == "calibrated"
    for name in ("refine", "distilled"):
        if (chosen := getattr(args, name, None)) is not None:
            given[name] = chosen
    return sampling_settings(base, **given)


def tiling_from(args: argparse.Namespace) -> TilingConfig:
    """Return the tiling that the options set."""
    given = {"scale": args.scale, "overlap": args.overlap}
    return tiling_settings(**{key: value for key, value in given.items() if value is not None})


def add_tiling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--tiled`` and its options."""
    usual = TilingConfig()
    group = parser.add_argument_group("large images")
    group.add_argument(
        "--tiled",
        action="store_true",
        help="segment images of any size in overlapping tiles; each result is a Zarr folder",
    )
    group.add_argument(
        "--scale",
        type=type_of(TilingConfig, "scale"),
        metavar="SCALE",
        help="with --tiled, resize the image by this factor first; the maps have that size "
        f"(default: {usual.scale:g})",
    )
    group.add_argument(
        "--overlap",
        type=type_of(TilingConfig, "overlap"),
        metavar="OVERLAP",
        help="with --tiled, overlap of neighbouring tiles as a fraction of a tile's side "
        f"(default: {usual.overlap:g})",
    )
