"""Request for a fine-tuning run, as one line of JSON; without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from latentfm_core.config import Config, DataConfig, Seed, Settings, with_overrides
from latentfm_core.finetuning.recipe import finetune_config, model_source
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import read_only_card


class LearningRequest(Settings):
    """Request for a fine-tuning run.

    Attributes
    ----------
    action
        ``"learn"`` starts, ``"resume"`` continues the run in `out`, ``"finish"`` makes a model
        of that run's best weights so far.
    model
        Name of a bundled model, or a model folder.
    images, masks
        Folders; images without a mask are skipped.
    minutes
        Time budget of the training; None trains to the last epoch. A run ended by
        the budget depends on the machine's speed.
    seed
        Seed of order, augmentation and noise.
    overrides
        ``section.key=value`` overrides of the preset ``finetune``.
    """

    action: Literal["learn", "resume", "finish"] = "learn"
    out: Path
    model: str = ""
    images: Path | None = None
    masks: Path | None = None
    minutes: Annotated[float, Field(gt=0, le=1e7)] | None = None
    seed: Seed = 0
    device: str = "auto"
    overrides: tuple[str, ...] = ()

    def config(self) -> Config:
        """Return the settings of a new run.

        Raises
        ------
        ModelFolderError, ConfigError, DatasetError
            If model, settings or folders cannot be used.
        """
        parent = read_only_card(resolve_model(model_source(self.model)))
        limits = [item for item in self.overrides if item.startswith("data.reading.")]
        reading = with_overrides(Config(), limits).data.reading
        data = DataConfig(images=self.images, masks=self.masks, reading=reading)
        config = finetune_config(parent, data)
        flags = [f"training.seed={self.seed}", f"training.device={self.device}"]
        if self.minutes is not None:
            flags.append(f"training.flow.max_seconds={self.minutes * 60}")
        return with_overrides(config, [*flags, *self.overrides])
