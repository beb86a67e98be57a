"""Settings of a sampling, completed from the card of the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import CorrectionConfig, SamplingConfig, TilingConfig
from latentfm_core.correction.guidance import Mismatch
from latentfm_core.errors import ConfigError
from latentfm_core.images.canvas import strokes_to_canvas, window_of
from latentfm_core.images.large import PixelField
from latentfm_core.inference.batches import Seeds
from latentfm_core.inference.network import GuidedPath, Network, PlainPath
from latentfm_core.inference.tiled import TiledJob
from latentfm_core.inference.tiling import TileAxis
from latentfm_core.model_io.card import ModelCard
from latentfm_core.prompts import Prompt, group_of
from latentfm_core.types import Geometry, SamplingRecord
from latentfm_core.uncertainty.summary import DEFAULT_THRESHOLD, USUAL_SCALE, usual_threshold
from latentfm_core.vocabulary import PromptGroup

DEFAULT_BATCH = 16


@dataclass(frozen=True)
class ModelSettings:
    """Sampling settings, completed from the model card and the loaded network."""

    card: ModelCard
    network: Network

    def usual(self) -> SamplingConfig:
        """Return the settings of the card, with the precision of the network."""
        sampling = self.card.config.sampling
        return sampling.model_copy(update={"precision": self.network.precision})

    def check_precision(self, settings: SamplingConfig) -> None:
        """Raise `ConfigError` for settings that require another precision."""
        if settings.precision in ("auto", self.network.precision):
            return
        raise ConfigError(
            f"The settings require precision {settings.precision}, but the model was loaded for "
            f"{self.network.precision} ({self.network.label}). Load it with precision "
            f"{settings.precision}, or set the precision to auto."
        )

    def resolved(
        self, settings: SamplingConfig | None = None, group: PromptGroup = "none"
    ) -> SamplingConfig:
        """Return `settings` with the defaults filled in, as `Segmenter.resolved` does."""
        chosen = settings or self.usual()
        calibration = self.card.calibration_for(group)
        threshold, spread, precision = chosen.threshold, chosen.noise_scale, chosen.precision
        able = group == "none" and self.card.config.model.prompts
        wanted = self.card.config.sampling.refine if chosen.refine is None else chosen.refine
        refine = able and wanted is not False
        if threshold is None:
            threshold = usual_threshold(refine) if calibration is None else calibration.threshold
        if spread is None:
            spread = USUAL_SCALE if calibration is None else calibration.noise_scale
        return chosen.model_copy(
            update={
                "steps": self.card.config.steps_of(chosen),
                "threshold": threshold,
                "noise_scale": spread,
                "precision": self.network.precision if precision == "auto" else precision,
                "refine": refine,
                "distilled": self.card.config.is_distilled(chosen),
                "calibrated": chosen.calibrated and calibration is not None,
            }
        )

    def with_steps(self, settings: SamplingConfig) -> SamplingConfig:
        """Return `settings` with a number of steps."""
        return settings.model_copy(update={"steps": self.card.config.steps_of(settings)})

    def noise_scale(self, settings: SamplingConfig, group: PromptGroup) -> float:
        """Return the standard deviation of the noise for prompts of `group`."""
        # Filled in by `resolved`; the default only satisfies the type checker.
        return self.resolved(settings, group).noise_scale or USUAL_SCALE

    def plain_path(self, settings: SamplingConfig, group: PromptGroup = "none") -> PlainPath:
        """Return the path of samples without strokes."""
        scale = self.noise_scale(settings, group)
        config = self.card.config
        return PlainPath(
            config.steps_of(settings), settings.solver, scale, config.is_distilled(settings)
        )

    def guided_path(
        self,
        settings: SamplingConfig,
        strokes: NDArray[np.uint8],
        geometry: Geometry,
        correction: CorrectionConfig | None,
        group: PromptGroup,
    ) -> GuidedPath:
        """Return the path of samples guided towards strokes ``(H, W)`` of the image."""
        data = self.card.config.data
        chosen = correction or CorrectionConfig()
        fit = data.fit if geometry.window is None else "pad"
        canvas = strokes_to_canvas(strokes[window_of(geometry)], data.size, fit)
        mismatch = Mismatch(canvas, self.network.device)
        return GuidedPath(chosen.steps, chosen.scale, mismatch, self.noise_scale(settings, group))

    def tiled_job(self, field: PixelField, used: SamplingConfig, tiling: TilingConfig) -> TiledJob:
        """Return the job for a large image, with resolved settings."""
        side = tiling.tile or self.card.config.data.size
        rows, columns = (TileAxis(length, side, tiling.overlap) for length in field.shape)
        mask_channels = self.card.config.model.mask_channels
        return TiledJob(
            rows=rows,
            columns=columns,
            seeds=seeds_of(used),
            path=self.plain_path(used),
            batch=used.batch_size or DEFAULT_BATCH,
            channels=() if mask_channels == 1 else (mask_channels,),
            threshold=DEFAULT_THRESHOLD if used.threshold is None else used.threshold,
            calibration=self.card.calibration if used.calibrated else None,
            memory=tiling.memory_mb * 2**20,
        )

    def record(
        self, settings: SamplingConfig, nfe: int, seconds: float, prompt: Prompt | None = None
    ) -> SamplingRecord:
        """Return the record of samples drawn with these settings."""
        group = group_of(prompt)
        return SamplingRecord(
            model_id=self.card.id,
            model_hash=self.card.weights_sha256,
            seeds=seeds_of(settings),
            nfe=nfe,
            settings=self.resolved(settings, group).model_dump(mode="json"),
            classes=self.card.config.model.classes,
            seconds=seconds,
            prompt={} if prompt is None else prompt.to_json(),
            colours=self.card.config.model.class_colours,
            members=tuple((member.id, member.sha256) for member in self.card.members),
            calibration=self.card.calibration_digest(group),
        )


def seeds_of(settings: SamplingConfig) -> Seeds:
    """Return the seed of each sample."""
    return tuple(settings.seed + n for n in range(settings.n_samples))
