"""Draw a sample set from an image and a prompt."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentfm_core.config import CorrectionConfig, PromptConfig, SamplingConfig, TilingConfig
from latentfm_core.correction.strokes import check_strokes
from latentfm_core.errors import ImageError
from latentfm_core.images.canvas import canvas_geometry, from_canvas, labels_to_canvas
from latentfm_core.images.large import LargeImage, PixelField, as_large
from latentfm_core.images.read import to_rgb
from latentfm_core.inference.batches import Batches, Progress, Seeds
from latentfm_core.inference.calibration_use import (
    check_calibration,
    warn_of_unaligned,
)
from latentfm_core.inference.device import release_memory
from latentfm_core.inference.drawing import draw, draw_objects
from latentfm_core.inference.framing import Frame, frame
from latentfm_core.inference.model_settings import DEFAULT_BATCH, ModelSettings, seeds_of
from latentfm_core.inference.network import GuidedPath, Network, PlainPath
from latentfm_core.inference.prompting import (
    checked_prompt,
    checked_prompts,
    fitted_to_prompt,
    wants_second_pass,
    with_box,
)
from latentfm_core.inference.refining import Drawn, Refiner
from latentfm_core.inference.shares import DrawShare, draw_shares
from latentfm_core.inference.tiled import Sink, sample_tiled
from latentfm_core.inference.training_distance import TrainingDistance
from latentfm_core.model_io.card import ModelCard
from latentfm_core.models.onehot import one_hot
from latentfm_core.progress import follow
from latentfm_core.prompts import Prompt, group_of, recorded_group
from latentfm_core.types import (
    Float32,
    ImageLike,
    Mask,
    SampleSet,
    Summary,
    TiledDraw,
    check_labels,
)
from latentfm_core.uncertainty.calibration import sigma_on
from latentfm_core.uncertainty.domain import TrainingDomain
from latentfm_core.uncertainty.summary import SAMPLE_THRESHOLD, harden, summary_steps


class Sampler:
    """Sampling engine of `Segmenter`: the networks, and the card with their settings.

    A single model has one network, an ensemble those of its members, among which the samples are
    divided (`draw_shares`). Each network has its own training domain.

    `one`, `many` and `tiles` are generators of `Progress`; `Segmenter` documents their parameters,
    results and errors.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        card: ModelCard,
        domains: Sequence[TrainingDomain | None],
    ) -> None:
        self.networks = tuple(networks)
        self._first = self.networks[0]
        self.card = card
        self.domains = tuple(domains)

    @property
    def settings(self) -> ModelSettings:
        """Settings of the card, which its owner may replace."""
        return ModelSettings(self.card, self._first)

    @property
    def distance(self) -> TrainingDistance:
        """Distance of images from the training images."""
        return TrainingDistance(self.networks, self.domains, self.card.config.data)

    def one(
        self,
        image: ImageLike,
        settings: SamplingConfig,
        strokes: NDArray[Any] | None = None,
        correction: CorrectionConfig | None = None,
        prompt: Prompt | None = None,
        prompting: PromptConfig | None = None,
    ) -> Generator[Progress, None, SampleSet]:
        """Draw samples of one object or of the model's trained target."""
        start = time.perf_counter()
        self.settings.check_precision(settings)
        settings = self.settings.with_steps(settings)
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
        group = group_of(given)
        path: PlainPath | GuidedPath = self.settings.plain_path(settings, group)
        if marks is not None and (meant is None or correction is not None):
            path = self.settings.guided_path(settings, marks, seen.geometry, correction, group)
        decoded = yield from self._draw(seen, path, settings)
        decoded = fitted_to_prompt(decoded, given, seen.geometry, chosen)
        unlike = self.distance.score(rgb, seen)
        geometry, nfe = seen.geometry, path.nfe
        refines = given is None and self.settings.resolved(settings).refine
        if refines and isinstance(path, PlainPath):
            refiner = Refiner(rgb, self.card.config.data, chosen.field_scale)
            first = Drawn(decoded, geometry)
            decoded = yield from self._refine(refiner, first, path, settings)
            geometry, nfe = refiner.geometry, 2 * nfe
        seconds = time.perf_counter() - start
        record = self.settings.record(settings, nfe, seconds, given)
        return SampleSet(decoded, geometry, record, strokes=marks, domain_score=unlike)

    def many(
        self,
        image: ImageLike,
        prompts: Sequence[Prompt],
        settings: SamplingConfig,
        prompting: PromptConfig | None = None,
    ) -> Generator[Progress, None, list[SampleSet]]:
        """Draw samples of several objects of one image."""
        start = time.perf_counter()
        self.settings.check_precision(settings)
        settings = self.settings.with_steps(settings)
        rgb = to_rgb(image)
        shape = (rgb.shape[0], rgb.shape[1])
        chosen = prompting or PromptConfig()
        meant = checked_prompts(prompts, shape, self.card)
        if not meant:
            return []
        objects = list(meant)
        for index, one in enumerate(objects):
            if wants_second_pass(one, chosen):
                objects[index] = yield from self._with_first_answer(rgb, one, settings, chosen)
        data = self.card.config.data
        frames = [frame(rgb, one, data, chosen.field_scale) for one in objects]
        scales = [self.settings.noise_scale(settings, group_of(one)) for one in meant]
        rows = list(zip(frames, scales, strict=True))
        path = replace(self.settings.plain_path(settings), noise_scale=1.0)
        batch = settings.batch_size or DEFAULT_BATCH

        def share(network: Network, seeds: Seeds) -> Generator[Progress, None, Float32]:
            return draw_objects(network, rows, path, seeds, batch)

        drawn = yield from self._draw_shares(settings, share)
        unlike = self.distance.score(rgb)
        seconds = time.perf_counter() - start
        records = [self.settings.record(settings, path.nfe, seconds, one) for one in meant]
        fitted = [
            fitted_to_prompt(values, one, seen.geometry, chosen)
            for values, one, seen in zip(drawn.swapaxes(0, 1), meant, frames, strict=True)
        ]
        return [
            SampleSet(values, seen.geometry, record, domain_score=unlike)
            for values, seen, record in zip(fitted, frames, records, strict=True)
        ]

    def tiles(
        self,
        image: LargeImage | ImageLike,
        settings: SamplingConfig,
        tiling: TilingConfig,
        sink: Sink,
    ) -> Generator[Progress, None, TiledDraw]:
        """Draw samples of a large image, tile by tile."""
        start = time.perf_counter()
        image = as_large(image)
        self.settings.check_precision(settings)
        field = PixelField(image, tiling.scale)
        # Tiles have the resolution of the image already.
        used = self.settings.resolved(settings.model_copy(update={"refine": False}))
        job = self.settings.tiled_job(field, used, tiling)
        if job.calibration is not None:
            drawn = (used.n_samples, used.ode_steps, used.distilled)
            check_calibration(self.card, job.calibration, *drawn)
        unlike = yield from self.distance.score_of_large(image)
        tiles = yield from sample_tiled(self.networks, field, job, sink)
        return TiledDraw(
            shape=field.shape,
            scale=tiling.scale,
            tile=job.rows.tile,
            tiles=tiles,
            record=self.settings.record(used, job.path.nfe, time.perf_counter() - start),
            domain_score=unlike,
        )

    def summary_steps(
        self, samples: SampleSet, settings: SamplingConfig | None
    ) -> Generator[Progress, None, Summary]:
        """Summarise samples with the calibration of the card."""
        group = recorded_group(samples.prompt)
        given = settings or SamplingConfig.model_validate(samples.settings)
        chosen = self.settings.resolved(given, group)
        calibration = self.card.calibration_for(group) if chosen.calibrated else None
        fits = True
        if calibration is not None:
            if group == "box" and not calibration.box_aligned:
                warn_of_unaligned(self.card)
            steps_drawn = int(samples.settings.get("steps", calibration.steps))
            distilled = bool(samples.settings.get("distilled", False))
            fits = check_calibration(self.card, calibration, len(samples), steps_drawn, distilled)
            sigma = sigma_on(samples.geometry, calibration.sigma, self.card.config.data.size)
            calibration = calibration.model_copy(update={"sigma": sigma})
        steps = summary_steps(samples, chosen.threshold, calibration)
        summary = yield from follow(steps, lambda done: Progress(done, len(samples)))
        return replace(summary, calibration_fits=fits)

    def reconstruct(self, mask: Mask) -> Mask:
        """Encode and decode a mask with the mask VAEs, as `Segmenter.reconstruct_mask` does."""
        check_labels(mask, "mask")
        count, highest = len(self.card.config.model.classes), int(np.max(mask, initial=0))
        if mask.ndim != 2 or (count > 1 and highest > count):
            raise ImageError(
                f"A mask must be an array (H, W) with labels up to {count}, not one of shape "
                f"{mask.shape} with labels up to {highest}."
            )
        data = self.card.config.data
        labels = torch.from_numpy(labels_to_canvas(mask, data.size, data.fit))
        canvas = one_hot(labels[None], self.card.config.model.mask_channels)
        each = [network.decode(network.encode(canvas))[0] for network in self.networks]
        decoded = np.stack(each).mean(axis=0, dtype=np.float32)
        geometry = canvas_geometry((mask.shape[0], mask.shape[1]), data.size, data.fit)
        return harden(from_canvas(decoded, geometry), SAMPLE_THRESHOLD)

    def _with_first_answer(
        self, rgb: Float32, prompt: Prompt, settings: SamplingConfig, prompting: PromptConfig
    ) -> Generator[Progress, None, Prompt]:
        quick = prompting.first(settings)
        seen = frame(rgb, prompt, self.card.config.data, prompting.field_scale)
        decoded = yield from self._draw(seen, self.settings.plain_path(quick, "point"), quick)
        return with_box(prompt, decoded, seen.geometry)

    def _refine(
        self, refiner: Refiner, first: Drawn, path: PlainPath, settings: SamplingConfig
    ) -> Generator[Progress, None, Float32]:
        batch = settings.batch_size or DEFAULT_BATCH

        def share(network: Network, seeds: Seeds) -> Generator[Progress, None, Float32]:
            own = first.probabilities[[seed - settings.seed for seed in seeds]]
            return refiner.draw(network, replace(first, probabilities=own), path, seeds, batch)

        return (yield from self._draw_shares(settings, share))

    def _draw(
        self, seen: Frame, path: PlainPath | GuidedPath, settings: SamplingConfig
    ) -> Generator[Progress, None, Float32]:
        size, batch = self.card.config.data.size, settings.batch_size or DEFAULT_BATCH

        def share(network: Network, seeds: Seeds) -> Generator[Progress, None, Float32]:
            batches = Batches(seeds, batch, path.steps)
            noise = partial(network.noise, size=size)
            return draw(network, seen.canvas, path, batches, noise, seen.maps)

        return (yield from self._draw_shares(settings, share))

    def _draw_shares(
        self, settings: SamplingConfig, share: DrawShare
    ) -> Generator[Progress, None, Float32]:
        try:
            return (yield from draw_shares(self.networks, seeds_of(settings), share))
        finally:
            release_memory(self._first.device)
