"""Settings of one row of the comparison."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from latentfm_core.config import (
    FlowConfig,
    PositiveInt,
    Precision,
    Seed,
    Settings,
    SolverName,
)

Clock = Literal["wall", "processor"]

PositiveFloat = Annotated[float, Field(gt=0)]

DEFAULT_STEPS = {"pixel_flow": 10, "latent_diffusion": 10}
"""Steps K of the rows whose sampler needs more than `LATENTFM_STEPS`."""

LATENTFM_STEPS = 4

DEFAULT_SHARES = {"paper": (0.2, 0.2, 0.6)}
"""Shares of the budget for image VAE, mask VAE and flow, where they are not `SHARES`."""

SHARES = (0.08, 0.12, 0.8)

_NOT_IN_RESULT = ("images", "masks", "split", "out", "model")


class OptimiserSettings(Settings):
    """Optimisation of the networks that are not trained by `latentfm_core.training`.

    Attributes
    ----------
    label
        Name in the table and in progress bars.
    batch_size, learning_rate, weight_decay, ema_decay
        As in the training settings of LatentFM.
    encoder_rate
        Learning rate of a pretrained encoder, as a share of `learning_rate`.
    """

    label: str
    seed: Seed = 0
    batch_size: PositiveInt = 16
    learning_rate: PositiveFloat = 5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    encoder_rate: Annotated[float, Field(gt=0, le=1)] = FlowConfig().encoder_rate


class RunSettings(OptimiserSettings):
    """All settings that affect the metrics of one row.

    Attributes
    ----------
    row
        Name of the network.
    images, masks, split
        Folders, and the JSON file with the parts.
    out
        Folder of the result.
    model
        A model folder to evaluate as it is; nothing is trained then.
    size
        Side of the square input in pixels.
    budget
        Seconds of optimisation.
    clock
        Clock of the budget.
    samples
        N, samples per image of the rows that sample.
    steps
        K, sampler steps; None takes the row's own default.
    limit, val_limit
        Most test and validation images used, spread evenly over the sorted names.
    overrides
        ``section.key=value`` settings of the LatentFM configuration.
    shares
        Shares of the budget for image VAE, mask VAE and flow.
    """

    row: str
    images: Path
    masks: Path
    split: Path
    out: Path
    model: Path | None = None
    size: Annotated[int, Field(ge=32, multiple_of=32)] = 128
    budget: PositiveFloat = 60.0
    clock: Clock = "wall"
    samples: PositiveInt = 8
    steps: PositiveInt | None = None
    solver: SolverName = "euler"
    limit: PositiveInt | None = None
    val_limit: PositiveInt | None = 64
    mask_threshold: float | None = None
    device: str = "auto"
    precision: Precision = "auto"
    overrides: tuple[str, ...] = ()
    shares: tuple[float, float, float] | None = None

    @property
    def sampler_steps(self) -> int:
        """K as it is used."""
        return self.steps or DEFAULT_STEPS.get(self.row, LATENTFM_STEPS)

    @property
    def stage_seconds(self) -> tuple[float, float, float]:
        """Seconds of image VAE, mask VAE and flow (or diffusion)."""
        a, b, c = self.shares or DEFAULT_SHARES.get(self.row, SHARES)
        return a * self.budget, b * self.budget, c * self.budget

    def to_json(self) -> dict[str, Any]:
        """Return the settings without folders of this machine."""
        values = self.model_dump(mode="json", exclude=set(_NOT_IN_RESULT))
        images = self.images.resolve()
        return {
            "dataset": images.parent.name if images.name == "images" else images.name,
            "split": self.split.name,
            "split_sha256": hashlib.sha256(self.split.read_bytes()).hexdigest(),
            **values,
            "steps": self.sampler_steps,
        }

    def training_json(self) -> dict[str, Any]:
        """Return the settings that affect the weights; others need no new training."""
        evaluation = ("samples", "steps", "solver", "limit", "val_limit", "label")
        return {key: value for key, value in self.to_json().items() if key not in evaluation}
