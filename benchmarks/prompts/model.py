"""A promptable LatentFM model as users call it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.prompts.answers import Answer, PromptUse
from benchmarks.prompts.settings import MeasureSettings
from latentfm_core.config import sampling_settings
from latentfm_core.errors import ConfigError
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.prompts import Prompt
from latentfm_core.types import ImageInput

UNPROMPTED: frozenset[PromptUse] = frozenset({"none"})
ALL_USES: frozenset[PromptUse] = UNPROMPTED | {"box", "corrected_box", "clicks"}


class LatentFMMethod:
    """`Segmenter.sample` with prompts, and the mean mask and samples of its summary.

    Parameters
    ----------
    source
        Name of a bundled model, or a model folder.
    settings
        Number of samples and steps, device and precision.

    Raises
    ------
    ConfigError
        If the model has several classes.
    ModelFolderError, ResourceError
        As `Segmenter.load` does.
    """

    stochastic = True

    def __init__(self, source: str | Path, settings: MeasureSettings) -> None:
        self.segmenter = Segmenter.load(source, settings.device, settings.precision)
        card = self.segmenter.card
        if len(card.config.model.classes) > 1:
            raise ConfigError(f"The model {card.id} has several classes; choose one with one.")
        given = {"n_samples": settings.samples, "steps": settings.steps}
        changed = {key: value for key, value in given.items() if value is not None}
        self._sampling = sampling_settings(card.config.sampling, **changed)
        self.label = card.id
        self.uses = ALL_USES if card.config.model.prompts else UNPROMPTED

    def reseed(self, seed: int) -> None:
        """Set the base seed of the following answers."""
        self._sampling = self._sampling.model_copy(update={"seed": seed})

    def answer(self, image: ImageInput, prompt: Prompt | None, hypotheses: int | None) -> Answer:
        """Return mean mask and samples."""
        settings = self._sampling
        if hypotheses is not None:
            settings = settings.model_copy(update={"n_samples": hypotheses})
        samples = self.segmenter.sample(image, settings, prompt=prompt)
        summary = self.segmenter.summarise(samples, settings)
        return Answer(np.asarray(summary.mean_mask > 0), np.asarray(summary.sample_masks > 0))
