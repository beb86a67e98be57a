"""Draw a sample set from an image and a prompt."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import CorrectionConfig, PromptConfig, SamplingConfig, TilingConfig
from latentfm_core.correction.guidance import Mismatch
from latentfm_core.correction.strokes import check_strokes
from latentfm_core.errors import ConfigError
from latentfm_core.images.canvas import strokes_to_canvas, window_of
from latentfm_core.images.large import LargeImage, PixelField
from latentfm_core.images.read import to_rgb
from latentfm_core.inference.batches import Batches, Progress, Seeds
from latentfm_core.inference.device import release_memory
from latentfm_core.inference.drawing import draw
from latentfm_core.inference.framing import Frame, frame
from latentfm_core.inference.network import GuidedPath, Network, PlainPath
from latentfm_core.inference.objects import ObjectRow, draw_objects
from latentfm_core.inference.prompting import checked_prompt, wants_second_pass, with_box
from latentfm_core.inference.shares import draw_shares
from latentfm_core.inference.tiled import Sink, TiledJob, sample_tiled
from latentfm_core.inference.tiling import TileAxis
from latentfm_core.model_io.card import ModelCard
from latentfm_core.prompts import Prompt, group_of
from latentfm_core.types import (
    Float32,
    Geometry,
    ImageInput,
    PromptGroup,
    SampleSet,
    SamplingRecord,
    TiledDraw,
)
from latentfm_core.uncertainty.domain import TrainingDomain
from latentfm_core.uncertainty.summary import DEFAULT_THRESHOLD, USUAL_SCALE

DEFAULT_BATCH = 16


class Sampler:
    """Sampling engine of `Segmenter`: the networks, and the card with their settings.

    A single model has one network, an ensemble those of its members, which share out the samples
    (`draw_shares`). Each network has its own training domain.

    `one`, `many` and `tiles` are generators of `Progress`; `Segmenter` documents their parameters,
    results and errors.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        card: ModelCard,
        domains: Sequence[TrainingDomain | None],
    ) -> None:
        self._networks = tuple(networks)
        self._first = self._networks[0]
        self.card = card
        self.domains = tuple(domains)

    def usual(self) -> SamplingConfig:
        """Return the settings of the card, with the precision of the network."""
        # The card does not know the loaded precision.
        sampling = self.card.config.sampling
        return sampling.model_copy(update={"precision": self._first.precision})

    def _check_precision(self, settings: SamplingConfig) -> None:
        if settings.precision in ("auto", self._first.precision):
            return
        raise ConfigError(
            f"The settings require precision {settings.precision}, but the model was loaded for "
            f"{self._first.precision} ({self._first.label}). Load it with precision "
            f"{settings.precision}, or set the precision to auto."
        )

    def one(
        self,
        image: ImageInput,
        settings: SamplingConfig,
        strokes: NDArray[Any] | None = None,
        correction: CorrectionConfig | None = None,
        prompt: Prompt | None = None,
        prompting: PromptConfig | None = None,
    ) -> Generator[Progress, None, SampleSet]:
        """Draw samples of one object or of the model's trained target."""
        start = time.perf_counter()
        self._check_precision(settings)
        rgb = to_rgb(image)
        shape = (rgb.shape[0], rgb.shape[1])
        marks = None
        if strokes is not None:
            marks = check_strokes(strokes, shape, len(self.card.config.model.classes))
        given = meant = checked_prompt(prompt, marks, shape, self.card)
        chosen = prompting or PromptConfig()
        if meant is not None and wants_second_pass(meant, chosen):
            meant = yield from self._with_first_answer(rgb, meant, settings, chosen)
        seen = frame(rgb, meant, self.card.config.data, chosen.field_scale)
        guided = marks is not None and (meant is None or correction is not None)
        group = group_of(given)
        path = self._path(settings, marks if guided else None, seen.geometry, correction, group)
        decoded = yield from self._draw(seen, path, settings)
        unlike = self.domain_score(rgb, seen)
        seconds = time.perf_counter() - start
        drawn = self._sample_set(decoded, seen.geometry, path.nfe, settings, seconds, marks, given)
        return replace(drawn, domain_score=unlike)

    def many(
        self,
        image: ImageInput,
        prompts: Sequence[Prompt],
        settings: SamplingConfig,
        prompting: PromptConfig | None = None,
    ) -> Generator[Progress, None, list[SampleSet]]:
        """Draw samples of several objects of one image."""
        start = time.perf_counter()
        self._check_precision(settings)
        rgb = to_rgb(image)
        shape = (rgb.shape[0], rgb.shape[1])
        chosen = prompting or PromptConfig()
        meant = [checked_prompt(one, None, shape, self.card) for one in prompts]
        objects = [one for one in meant if one is not None]
        if not objects:
            return []
        for index, one in enumerate(objects):
            if wants_second_pass(one, chosen):
                objects[index] = yield from self._with_first_answer(rgb, one, settings, chosen)
        data = self.card.config.data
        frames = [frame(rgb, one, data, chosen.field_scale) for one in objects]
        rows = [
            ObjectRow(seen, self._noise_scale(settings, group_of(one)))
            for seen, one in zip(frames, meant, strict=True)
        ]
        path = replace(self._plain_path(settings), noise_scale=1.0)
        batch = settings.batch_size or DEFAULT_BATCH
        try:
            drawn = yield from self._draw_objects(rows, path, _seeds(settings), batch)
        finally:
            release_memory(self._first.device)
        unlike = self.domain_score(rgb)
        seconds = time.perf_counter() - start
        sets = (
            self._sample_set(values, seen.geometry, path.nfe, settings, seconds, prompt=one)
            for values, seen, one in zip(drawn, frames, meant, strict=True)
        )
        return [replace(one, domain_score=unlike) for one in sets]

    def tiles(
        self,
        image: LargeImage,
        settings: SamplingConfig,
        tiling: TilingConfig,
        sink: Sink,
    ) -> Generator[Progress, None, TiledDraw]:
        """Draw samples of a large image, tile by tile."""
        start = time.perf_counter()
        self._check_precision(settings)
        field = PixelField(image, tiling.scale)
        used = self.resolved(settings)
        job = self._tiled_job(field, used, tiling)
        tiles = yield from sample_tiled(self._networks, field, job, sink)
        return TiledDraw(
            shape=field.shape,
            scale=tiling.scale,
            tile=job.rows.tile,
            tiles=tiles,
            record=self._record(used, job.path.nfe, time.perf_counter() - start),
        )

    def domain_score(self, rgb: Float32, seen: Frame | None = None) -> float | None:
        """Return the distance of an image from the training images; None if unknown.

        Of an ensemble the mean over its members, each with its own training images and limit.
        Uses the whole image even with a prompt, because the training images are whole as well.

        Parameters
        ----------
        rgb
            ``(H, W, 3)`` float32 in [0, 1].
        seen
            Existing frame of the image.
        """
        size = self.card.config.data.size
        known = [domain for domain in self.domains if domain is not None and domain.size == size]
        if len(known) < len(self._networks):
            return None
        whole = self._whole(rgb, seen)
        pairs = zip(known, self._networks, strict=True)
        return float(np.mean([domain.score(_pooled(network, whole)) for domain, network in pairs]))

    def feature(self, rgb: Float32) -> Float32:
        """Return the mean image features ``(D,)`` of a whole image, in the first network."""
        return _pooled(self._first, self._whole(rgb))

    def _whole(self, rgb: Float32, seen: Frame | None = None) -> Frame:
        if seen is None or seen.geometry.window is not None:
            return frame(rgb, None, self.card.config.data, 1.0)
        return seen

    def resolved(
        self, settings: SamplingConfig | None = None, group: PromptGroup = "none"
    ) -> SamplingConfig:
        """Return `settings` with the model's defaults filled in.

        Without `settings`, those of the card. Threshold and noise scale become the numbers fitted
        for the prompts of `group`, and `calibrated` becomes false if nothing was fitted.
        """
        chosen = settings or self.usual()
        calibration = self.card.calibration_for(group)
        threshold = chosen.threshold
        if threshold is None:
            threshold = DEFAULT_THRESHOLD if calibration is None else calibration.threshold
        precision = chosen.precision
        if precision == "auto":
            precision = self._first.precision
        spread = chosen.noise_scale
        if spread is None:
            spread = USUAL_SCALE if calibration is None else calibration.noise_scale
        return chosen.model_copy(
            update={
                "threshold": threshold,
                "noise_scale": spread,
                "precision": precision,
                "calibrated": chosen.calibrated and calibration is not None,
            }
        )

    def _with_first_answer(
        self, rgb: Float32, prompt: Prompt, settings: SamplingConfig, prompting: PromptConfig
    ) -> Generator[Progress, None, Prompt]:
        quick = settings.model_copy(
            update={
                "n_samples": min(settings.n_samples, prompting.first_samples),
                "steps": min(settings.steps, prompting.first_steps),
            }
        )
        seen = frame(rgb, prompt, self.card.config.data, prompting.field_scale)
        decoded = yield from self._draw(seen, self._plain_path(quick, "point"), quick)
        return with_box(prompt, decoded, seen.geometry)

    def _draw(
        self, seen: Frame, path: PlainPath | GuidedPath, settings: SamplingConfig
    ) -> Generator[Progress, None, Float32]:
        size, batch = self.card.config.data.size, settings.batch_size or DEFAULT_BATCH

        def share(network: Network, seeds: Seeds) -> Generator[Progress, None, Float32]:
            batches = Batches(seeds, batch, path.steps)
            noise = partial(network.noise, size=size)
            return draw(network, seen.canvas, path, batches, noise, seen.maps)

        try:
            return (yield from draw_shares(self._networks, _seeds(settings), share))
        finally:
            release_memory(self._first.device)

    def _draw_objects(
        self, rows: Sequence[ObjectRow], path: PlainPath, seeds: Seeds, batch: int
    ) -> Generator[Progress, None, list[Float32]]:
        if len(self._networks) == 1:
            return (yield from draw_objects(self._first, rows, path, seeds, batch))

        def share(network: Network, part: Seeds) -> Generator[Progress, None, Float32]:
            drawn = yield from draw_objects(network, rows, path, part, batch)
            return np.stack(drawn, axis=1)

        drawn = yield from draw_shares(self._networks, seeds, share)
        return [drawn[:, index] for index in range(len(rows))]

    def _plain_path(self, settings: SamplingConfig, group: PromptGroup = "none") -> PlainPath:
        distilled = self.card.config.model.distilled_steps
        served = settings.solver == "euler" and settings.steps <= distilled
        return PlainPath(
            settings.steps, settings.solver, self._noise_scale(settings, group), served
        )

    def _noise_scale(self, settings: SamplingConfig, group: PromptGroup) -> float:
        # Filled in by `resolved`; the default only satisfies the type checker.
        return self.resolved(settings, group).noise_scale or USUAL_SCALE

    def _tiled_job(self, field: PixelField, used: SamplingConfig, tiling: TilingConfig) -> TiledJob:
        side = tiling.tile or self.card.config.data.size
        rows, columns = (TileAxis(length, side, tiling.overlap) for length in field.shape)
        mask_channels = self.card.config.model.mask_channels
        return TiledJob(
            rows=rows,
            columns=columns,
            seeds=_seeds(used),
            path=self._plain_path(used),
            batch=used.batch_size or DEFAULT_BATCH,
            channels=() if mask_channels == 1 else (mask_channels,),
            threshold=DEFAULT_THRESHOLD if used.threshold is None else used.threshold,
            calibration=self.card.calibration if used.calibrated else None,
            memory=tiling.memory_mb * 2**20,
        )

    def _path(
        self,
        settings: SamplingConfig,
        strokes: NDArray[np.uint8] | None,
        geometry: Geometry,
        correction: CorrectionConfig | None,
        group: PromptGroup,
    ) -> PlainPath | GuidedPath:
        if strokes is None:
            return self._plain_path(settings, group)
        data = self.card.config.data
        chosen = correction or CorrectionConfig()
        fit = data.fit if geometry.window is None else "pad"
        canvas = strokes_to_canvas(strokes[window_of(geometry)], data.size, fit)
        mismatch = Mismatch(canvas, self._first.device)
        return GuidedPath(chosen.steps, chosen.scale, mismatch, self._noise_scale(settings, group))

    def _sample_set(
        self,
        probabilities: Float32,
        geometry: Geometry,
        nfe: int,
        settings: SamplingConfig,
        seconds: float,
        strokes: NDArray[np.uint8] | None = None,
        prompt: Prompt | None = None,
    ) -> SampleSet:
        return SampleSet(
            probabilities=probabilities,
            geometry=geometry,
            record=self._record(settings, nfe, seconds, prompt),
            strokes=strokes,
        )

    def _record(
        self, settings: SamplingConfig, nfe: int, seconds: float, prompt: Prompt | None = None
    ) -> SamplingRecord:
        return SamplingRecord(
            model_id=self.card.id,
            model_hash=self.card.weights_sha256,
            seeds=_seeds(settings),
            nfe=nfe,
            settings=self.resolved(settings, group_of(prompt)).model_dump(mode="json"),
            classes=self.card.config.model.classes,
            seconds=seconds,
            prompt={} if prompt is None else prompt.to_json(),
            members=tuple((member.id, member.sha256) for member in self.card.members),
        )


def _pooled(network: Network, whole: Frame) -> Float32:
    return network.pooled(whole.canvas, whole.geometry.box)


def _seeds(settings: SamplingConfig) -> tuple[int, ...]:
    return tuple(settings.seed + n for n in range(settings.n_samples))
