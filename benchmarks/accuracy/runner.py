"""One row from settings to ``result.json``."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model

from benchmarks.accuracy.baseline import BaselinePredictor, Predictor
from benchmarks.accuracy.clock import counting
from benchmarks.accuracy.data import Parts, read_cases, read_parts
from benchmarks.accuracy.evaluate import evaluate, fit_threshold
from benchmarks.accuracy.figures import Row, aggregate
from benchmarks.accuracy.latentfm import LatentFMPredictor, train_preset
from benchmarks.accuracy.rows import PRESET_ROWS, make_baseline
from benchmarks.accuracy.settings import RunSettings
from latentfm_core.files.atomic import atomic_path, write_text
from latentfm_core.inference.device import describe, resolve_device, resolve_precision
from latentfm_core.model_io.folder import read_card
from latentfm_core.output.paths import printable
from latentfm_core.output.sidecar import now, versions
from latentfm_core.training.batches import seed_for

logger = logging.getLogger(__name__)

RESULT = "result.json"
PER_IMAGE = "per_image.csv"
WEIGHTS = "weights.safetensors"
TRAINING = "training.json"


def run_row(settings: RunSettings, command: str) -> dict[str, Any]:
    """Train (unless a finished model is given or exists), evaluate, write the result.

    Returns
    -------
    dict
        Contents of ``result.json``.
    """
    parts = read_parts(settings)
    device = resolve_device(settings.device)
    dtype = resolve_precision(settings.precision, device)
    with counting(settings.clock):
        if settings.model is not None:
            predictor, log = _given_model(settings.model, settings)
        elif settings.row in PRESET_ROWS:
            predictor, log = _preset(settings, command)
        else:
            predictor, log = _baseline(settings, parts, device, dtype)
    result = _evaluate(predictor, parts, settings)
    result |= {
        "training": log,
        "device": describe(device, dtype),
        "versions": versions() | _monai(),
        "created": now(),
        "command": printable(command),
    }
    write_text(settings.out / RESULT, json.dumps(result, indent=1, allow_nan=False) + "\n")
    logger.info("written to %s", settings.out / RESULT)
    return result


def _evaluate(predictor: Predictor, parts: Parts, settings: RunSettings) -> dict[str, Any]:
    # The first images of a process are slow, but validation runs first: speed metrics
    # need no extra warm-up.
    threshold = fit_threshold(
        predictor, read_cases(parts.val, settings.mask_threshold), len(parts.val)
    )
    rows, bins = evaluate(
        predictor,
        read_cases(parts.test, settings.mask_threshold),
        threshold.value,
        len(parts.test),
    )
    _write_rows(settings.out / PER_IMAGE, rows)
    return {
        "schema_version": 1,
        "row": settings.row,
        "label": settings.label,
        "settings": settings.to_json(),
        "data": parts.counts(),
        "threshold": vars(threshold),
        "figures": aggregate(rows, bins) | {"parameters": predictor.parameters},
    }


def _given_model(folder: Path, settings: RunSettings) -> tuple[Predictor, dict[str, Any]]:
    card = read_card(folder)
    log = {"model_id": card.id, "model_sha256": card.weights_sha256}
    return LatentFMPredictor(folder, settings), log


def _preset(settings: RunSettings, command: str) -> tuple[Predictor, dict[str, Any]]:
    log = _finished(settings)
    folder = settings.out / "model"
    if log is None:
        folder, log = train_preset(settings, command)
        _finish(settings, log)
    return LatentFMPredictor(folder, settings), log


def _baseline(
    settings: RunSettings, parts: Parts, device: torch.device, dtype: torch.dtype
) -> tuple[Predictor, dict[str, Any]]:
    torch.manual_seed(seed_for(settings.seed, 98))
    baseline = make_baseline(settings)
    log = _finished(settings)
    if log is None:
        log = baseline.train(parts, device, dtype)
        # DynUNet registers its blocks twice: this pair of functions handles shared tensors,
        # but only of contiguous ones.
        # PyTorch's annotations leave memory_format out.
        baseline.module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        with atomic_path(settings.out / WEIGHTS) as temporary:
            save_model(baseline.module, str(temporary))
        _finish(settings, log)
    else:
        load_model(baseline.module, settings.out / WEIGHTS)
    return BaselinePredictor(baseline, device, dtype), log


def _finish(settings: RunSettings, log: dict[str, Any]) -> None:
    content = {"settings": settings.training_json(), "log": log}
    write_text(settings.out / TRAINING, json.dumps(content, indent=1) + "\n")


def _finished(settings: RunSettings) -> dict[str, Any] | None:
    """Return the log of a completed training with exactly these settings, if any."""
    try:
        content = json.loads((settings.out / TRAINING).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if content.get("settings") != settings.training_json():
        return None
    log: dict[str, Any] = content["log"]
    logger.info("%s is trained already; only the evaluation is done", settings.label)
    return log


def _write_rows(path: Path, rows: list[Row]) -> None:
    extra = ("hd95", "local_confidence", "one_empty", "empty_samples", "empty_references")
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        columns = [n for n in vars(rows[0].scores) if n not in ("mask_vae_dice", "object")]
        writer = csv.writer(stream)
        writer.writerow([*columns, *extra])
        for row in rows:
            values = [getattr(row.scores, name) for name in columns]
            writer.writerow([*values, *(getattr(row, name) for name in extra)])


def _monai() -> dict[str, str]:
    try:
        return {"monai": importlib.metadata.version("monai")}
    except importlib.metadata.PackageNotFoundError:
        return {}
