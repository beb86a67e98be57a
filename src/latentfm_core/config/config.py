"""All settings of a training run and its model."""

from __future__ import annotations

from typing import Any, Self

from pydantic import model_validator

from latentfm_core.config.base import Settings
from latentfm_core.config.data import DataConfig
from latentfm_core.config.model import ModelConfig
from latentfm_core.config.sampling import SamplingConfig
from latentfm_core.config.training import TrainingConfig


class Config(Settings):
    """All settings of a training run and the resulting model."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    sampling: SamplingConfig = SamplingConfig()

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        multiple = self.model.downsample * 4 if self.model.condition == "frozen" else 32
        if self.data.size % multiple:
            raise ValueError(f"data.size must be a multiple of {multiple} for this model")
        if len(self.model.classes) > 1 and any(s.kind == "instances" for s in self.data.sets):
            raise ValueError(
                'numbered objects (kind = "instances" in data.sets) are of one class, but '
                "model.classes names several: leave kind out if the numbers are classes"
            )
        # Without its stage the few-step network would return noise or, after further training
        # of the flow, results of the older flow.
        if bool(self.model.distilled_steps) != bool(self.training.distill.epochs):
            raise ValueError(
                "model.distilled_steps and training.distill.epochs belong together: "
                "set both, or both to 0"
            )
        halvings = len(self.model.velocity_widths) - 1
        if self.data.size // self.model.downsample % 2**halvings:
            raise ValueError(
                f"data.size / model.downsample must be a multiple of {2**halvings}, so that every "
                "level of model.velocity_widths can halve the latent"
            )
        return self

    def steps_of(self, settings: SamplingConfig) -> int:
        """Return K of this model with `settings`."""
        return settings.steps or self.sampling.ode_steps

    def is_distilled(self, settings: SamplingConfig) -> bool:
        """Return whether the network for few steps of this model draws samples with `settings`."""
        few = self.steps_of(settings) <= self.model.distilled_steps
        return settings.distilled and settings.solver == "euler" and few

    def without_few_steps(self) -> Config:
        """Return the settings of this model after its weights change.

        The network for few steps would still match the original flow, so it is left out. Sampling
        that used it by default gets the default number of steps of the flow.
        """
        distill = self.training.distill.model_copy(update={"epochs": 0})
        values = self.model_dump() | {
            "model": self.model.model_copy(update={"distilled_steps": 0}),
            "training": self.training.model_copy(update={"distill": distill}),
            "sampling": _flow_settings(self.sampling, self.is_distilled(self.sampling)),
        }
        return Config.model_validate(values)

    def sampling_for(self, settings: SamplingConfig, chosen: Config) -> SamplingConfig:
        """Return `settings`, made for the model `chosen`, for this model in its place.

        The flow needs more steps than the network for few steps that it replaces.
        """
        replaced = chosen.is_distilled(settings) and not self.is_distilled(settings)
        return _flow_settings(settings, replaced)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return self.model_dump(mode="json")


def _flow_settings(settings: SamplingConfig, few_steps: bool) -> SamplingConfig:
    """Return settings for few steps with the number that a model uses by default."""
    return settings.model_copy(update={"steps": None}) if few_steps else settings
