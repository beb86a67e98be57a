"""Checkpoints: one safetensors file that contains tensors and, in its header, the state.

One file means that weights, optimiser and position can never come from different moments.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from latentfm_core.config import Config, config_from_mapping
from latentfm_core.config.explain import reason_of
from latentfm_core.datasets.folds import FILE as FOLDS
from latentfm_core.errors import CheckpointError, ConfigError
from latentfm_core.files.atomic import atomic_path
from latentfm_core.files.untrusted import parse_json
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.tensor_names import stored_names
from latentfm_core.names import shown
from latentfm_core.training.ema import EMA
from latentfm_core.training.meters import EpochSums
from latentfm_core.training.run_record import RunRecord
from latentfm_core.training.stages import STAGES

FILE = "checkpoint.safetensors"
DONE = "done"


@dataclass
class Position:
    """Progress of a run.

    Attributes
    ----------
    stage
        Name of the current stage, or ``"done"``.
    seconds, stage_seconds
        Training time of the run and of the stage so far, across interruptions.
    best_score
        Best validation figure of the flow stage so far: Dice, or -GED with several raters.
    stale
        Validations since the best score.
    epoch
        Sums of the current epoch, so that its line in the log equals that of an
        uninterrupted run.
    outside, stage_outside
        Seconds of the run, and of the stage, between its steps: validation, pictures, checkpoints
        and the end of a stage.
    validation_seconds, validated_seconds
        Expected time of one validation, 0 if unknown; time of all of them so far.
    validation_images
        Images of a validation, if the budget allows fewer than the settings; else 0.
    planned_seconds
        Time limit of the flow for which `validation_images` was chosen.
    epochs, stage_times, outside_times
        Epochs, seconds trained, and seconds between steps of each stage.
    extended_step, extended_seconds, extended_outside
        `step`, `stage_seconds` and `stage_outside` at which a finished run was extended last; 0 if
        it was not.
        The schedule of the learning rate starts there.
    """

    stage: str
    step: int = 0
    seconds: float = 0.0
    stage_seconds: float = 0.0
    best_score: float = -math.inf
    stale: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    epoch: EpochSums = field(default_factory=EpochSums)
    epochs: dict[str, float] = field(default_factory=dict)
    first_loss: float | None = None
    written: str = ""
    stage_times: dict[str, float] = field(default_factory=dict)
    extended_step: int = 0
    extended_seconds: float = 0.0
    extended_outside: float = 0.0
    outside: float = 0.0
    stage_outside: float = 0.0
    outside_times: dict[str, float] = field(default_factory=dict)
    validation_seconds: float = 0.0
    validated_seconds: float = 0.0
    validation_images: int = 0
    planned_seconds: float = 0.0

    def add_outside(self, seconds: float) -> None:
        """Count time of the stage that its steps did not take."""
        self.outside += seconds
        self.stage_outside += seconds

    def end_stage(self) -> None:
        """Go to the start of the next stage."""
        following = STAGES.index(self.stage) + 1
        self.stage_times[self.stage] = self.stage_seconds
        self.outside_times[self.stage] = self.stage_outside
        self.stage = STAGES[following] if following < len(STAGES) else DONE
        self.step, self.stage_seconds, self.stage_outside = 0, 0.0, 0.0
        self.extended_step, self.extended_seconds, self.extended_outside = 0, 0.0, 0.0
        self.first_loss = None


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{key}": value
        for index, values in state.items()
        for key, value in values.items()
    }


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    position: Position,
    config: dict[str, Any],
    optimizer: torch.optim.Optimizer | None = None,
    ema: EMA | None = None,
    run: RunRecord | None = None,
) -> None:
    """Write the run's checkpoint; it replaces the last one only when complete."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    if optimizer is not None:
        tensors |= _optimizer_tensors(optimizer)
    if ema is not None:
        tensors |= {f"ema.{i}": value for i, value in enumerate(ema.shadow)}
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {"position": json.dumps(asdict(position)), "config": json.dumps(config)}
    if run is not None:
        header["run"] = run.to_text()
    with atomic_path(folder / FILE) as temporary:
        save_file(stored, temporary, metadata=header)


@dataclass(frozen=True)
class CheckpointHeader:
    """The state of a run as its checkpoint stores it.

    ``run`` is None if an older version wrote it.
    """

    position: Position
    config: dict[str, Any]
    run: RunRecord | None


@dataclass(frozen=True)
class Checkpoint(CheckpointHeader):
    """A loaded checkpoint: the state, and the tensors of networks, optimiser and averages."""

    tensors: dict[str, Tensor]

    def _part(self, prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): value
            for name, value in self.tensors.items()
            if name.startswith(prefix)
        }

    def restore_model(self, model: nn.Module) -> None:
        """Load the stored weights into `model`."""
        try:
            model.load_state_dict(self._part("model."))
        except RuntimeError:
            raise CheckpointError(_OTHER_NETWORK) from None

    def restore_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Load the stored moments into `optimizer`, if the checkpoint has any."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in self._part("optimizer.").items():
            index, key = name.split(".", 1)
            position_index = int(index)
            if position_index >= len(parameters):
                raise CheckpointError(_OTHER_NETWORK)
            if key != "step":
                if value.shape != parameters[position_index].shape:
                    raise CheckpointError(_OTHER_NETWORK)
                # The fused optimiser reads raw memory and ignores strides: moments must
                # have the layout of their weights, which may be channels-last.
                value = torch.empty_like(parameters[position_index]).copy_(value)
            state.setdefault(position_index, {})[key] = value
        if not state:
            return
        described = optimizer.state_dict()
        optimizer.load_state_dict({"state": state, "param_groups": described["param_groups"]})

    def restore_ema(self, ema: EMA) -> None:
        """Load the stored averages into `ema`, if the checkpoint has any."""
        for name, value in self._part("ema.").items():
            position_index = int(name)
            if position_index >= len(ema.shadow) or value.shape != ema.shadow[position_index].shape:
                raise CheckpointError(_OTHER_NETWORK)
            ema.shadow[position_index].copy_(value)


_OTHER_NETWORK = (
    "The network in the checkpoint differs from the configuration. "
    "Resume without changing model settings, or start in a new folder."
)
_NAME = re.compile(r"model\..+|ema\.\d{1,6}|optimizer\.\d{1,6}\.[a-z_]{1,40}")
_POSITION = TypeAdapter(Position)
MAX_HEADER_CHARACTERS = 1_000_000


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read the checkpoint of a run.

    Raises
    ------
    CheckpointError
        If it is missing or damaged, or its tensors do not fit the network that its header
        describes; this is checked before they are read.
    """
    with _opened(folder) as (stream, header):
        names = stored_names(stream.keys(), "model.")
        tensors = {name: stream.get_tensor(key) for name, key in names.items()}
        if not all(bool(value.isfinite().all()) for value in tensors.values()):
            raise ValueError("a weight is not a finite number")
    return Checkpoint(header.position, header.config, header.run, tensors)


def read_header(folder: Path) -> CheckpointHeader:
    """Read the state of a run without the tensors of its checkpoint; raise as `read_checkpoint`."""
    with _opened(folder) as (_, header):
        return header


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[Any, CheckpointHeader]]:
    path = folder / FILE
    if not path.is_file():
        if not folder.parent.exists():
            raise CheckpointError(
                f"{shown(folder.parent)} does not exist: there is no run to resume. Check the path."
            )
        raise CheckpointError(f"{folder} has no checkpoint to resume from; start without --resume.")
    try:
        with safe_open(path, framework="pt") as stream:
            header = stream.metadata() or {}
            run = RunRecord.from_text(header["run"]) if "run" in header else None
            position, config = _described({**header, "run": ""})
            _check_tensors(stream, config)
            yield stream, CheckpointHeader(position, config.to_json(), run)
    except (SafetensorError, ConfigError, OSError, KeyError, ValueError) as error:
        of_fold = (folder.parent.parent / FOLDS).is_file()
        again = "start without --resume"
        if of_fold:
            again = "resume again to train this fold from the start"
        raise CheckpointError(
            f"{path} is damaged ({reason_of(error)}). Remove that file and {again}, or choose "
            "another --out."
        ) from None


def _described(header: dict[str, str]) -> tuple[Position, Config]:
    if any(len(text) > MAX_HEADER_CHARACTERS for text in header.values()):
        raise ValueError("its header is too large")
    position = _POSITION.validate_json(header["position"])
    if position.stage not in (*STAGES, DONE) or position.step < 0:
        raise ValueError(f"there is no step {position.step} of {position.stage[:40]!r}")
    if position.stage != DONE and not 0 <= position.extended_step <= position.step:
        raise ValueError(f"it was extended at step {position.extended_step}")
    values = parse_json(header["config"])
    if not isinstance(values, dict):
        raise ValueError("its settings are not a table")
    if isinstance(data := values.get("data"), dict):
        # A run of a version without this setting continues as it began.
        data.setdefault("rare_class", 0.0)
    return position, config_from_mapping(values)


def _check_tensors(stream: Any, config: Config) -> None:
    with torch.device("meta"):
        model = LatentFM(config.model)
    expected = {f"model.{name}": value.shape for name, value in model.state_dict().items()}
    names = stored_names(stream.keys(), "model.")
    wrong = sorted(name for name in names if not _NAME.fullmatch(name))
    wrong += sorted({name for name in names if name.startswith("model.")} ^ expected.keys())
    for name in sorted(names.keys() & expected.keys()):
        if list(stream.get_slice(names[name]).get_shape()) != list(expected[name]):
            wrong.append(name)
    if wrong:
        raise ValueError(f"{wrong[0][:100]} is not part of the network that it describes")
