"""The one door from an image to samples, used by the plugin, the command line and Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentfm_core.config import (
    CorrectionConfig,
    Precision,
    PromptConfig,
    SamplingConfig,
    TilingConfig,
)
from latentfm_core.correction.guidance import Mismatch
from latentfm_core.correction.strokes import check_strokes
from latentfm_core.images.canvas import (
    canvas_geometry,
    from_canvas,
    labels_to_canvas,
    strokes_to_canvas,
    window_of,
)
from latentfm_core.images.large import LargeImage, PixelField
from latentfm_core.images.read import to_rgb
from latentfm_core.inference.batches import Batches, Progress
from latentfm_core.inference.device import release_memory
from latentfm_core.inference.drawing import draw
from latentfm_core.inference.framing import Frame, frame
from latentfm_core.inference.network import GuidedPath, Network, PlainPath
from latentfm_core.inference.objects import ObjectRow, draw_objects
from latentfm_core.inference.prompting import checked_prompt, wants_second_pass, with_box
from latentfm_core.inference.tiled import Sink, TiledJob, sample_tiled
from latentfm_core.inference.tiling import TileAxis
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import ModelCard
from latentfm_core.model_io.folder import load_model
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.onehot import one_hot
from latentfm_core.progress import finish
from latentfm_core.prompts import Prompt, group_of, recorded_group
from latentfm_core.types import (
    Float32,
    Geometry,
    ImageInput,
    Mask,
    PromptGroup,
    SampleSet,
    Summary,
    TiledDraw,
)
from latentfm_core.uncertainty.summary import (
    DEFAULT_THRESHOLD,
    SAMPLE_THRESHOLD,
    USUAL_SCALE,
    harden,
    summarise,
)

DEFAULT_BATCH = 16


class Segmenter:
    """A trained model, warm on its device, that draws plausible masks of images.

    Parameters
    ----------
    model
        The network; moved to the device.
    card
        Its card, which decides the preprocessing.
    device, precision
        As in `SamplingConfig`.

    Attributes
    ----------
    card
        The model's card.
    device
        The resolved device.
    device_label
        One line about device and precision for people.

    Raises
    ------
    ResourceError
        If the device or precision is not available.
    """

    def __init__(
        self,
        model: LatentFM,
        card: ModelCard,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> None:
        self.card = card
        self._network = Network(model, device, precision)
        self.device = self._network.device
        self.device_label = self._network.label
        self.model = self._network.model

    @classmethod
    def load(
        cls, source: str | Path, device: str = "auto", precision: Precision = "auto"
    ) -> Segmenter:
        """Load a bundled model by name, or a model folder.

        Parameters
        ----------
        source
            Name of a bundled model, or the folder.
        device
            ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ... or ``"mps"``.
        precision
            Number format of the convolutions.

        Returns
        -------
        Segmenter
            Warm on its device.

        Raises
        ------
        ModelFolderError
            If it is missing, incomplete, foreign or altered.
        ResourceError
            If the device or precision is not available.
        """
        model, card = load_model(resolve_model(source))
        return cls(model, card, device, precision)

    def sample_steps(
        self,
        image: ImageInput,
        settings: SamplingConfig,
        strokes: NDArray[Any] | None = None,
        correction: CorrectionConfig | None = None,
        prompt: Prompt | None = None,
        prompting: PromptConfig | None = None,
    ) -> Generator[Progress, None, SampleSet]:
        """Draw samples step by step.

        Yields a `Progress` after each ODE step and returns the samples; closing the
        generator cancels the job within one step.

        Parameters
        ----------
        image
            The image.
        settings
            Number of samples, seed and solver.
        strokes
            ``(H, W)`` integers, what the annotator is sure of: 0 says nothing of a pixel, 1
            that it is background, k + 1 that it is of the k-th class. A model with prompts
            takes them as one; the samples of any other are guided to agree with them.
        correction
            How samples are guided towards strokes. None: not at all if the model takes prompts,
            else by the defaults.
        prompt
            Which object is meant. None: what the model was trained to find.
        prompting
            How the prompt chooses the field; None takes the defaults.

        Raises
        ------
        ImageError
            If the image, the strokes or the prompt cannot be used.
        ConfigError
            If the model does not take prompts, or overflows in this precision.
        ResourceError
            If memory does not even suffice for one sample at a time. Before that, the batches
            are halved, and the progress says so; the samples are the same.
        """
        start = time.perf_counter()
        rgb = to_rgb(image)
        shape = (rgb.shape[0], rgb.shape[1])
        said = None
        if strokes is not None:
            said = check_strokes(strokes, shape, len(self.card.config.model.classes))
        given = meant = checked_prompt(prompt, said, shape, self.card)
        chosen = prompting or PromptConfig()
        if meant is not None and wants_second_pass(meant, chosen):
            meant = yield from self._with_first_answer(rgb, meant, settings, chosen)
        seen = frame(rgb, meant, self.card.config.data, chosen.field_scale)
        guided = said is not None and (meant is None or correction is not None)
        group = group_of(given)
        path = self._path(settings, said if guided else None, seen.geometry, correction, group)
        decoded = yield from self._draw(seen, path, settings)
        seconds = time.perf_counter() - start
        return self._sample_set(decoded, seen.geometry, path.nfe, settings, seconds, said, given)

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
        size = self.card.config.data.size
        batches = Batches(_seeds(settings), settings.batch_size or DEFAULT_BATCH, path.steps)
        try:
            return (
                yield from draw(
                    self._network,
                    seen.canvas,
                    path,
                    batches,
                    lambda part: self._network.noise(part, size),
                    seen.maps,
                )
            )
        finally:
            release_memory(self.device)

    def sample(
        self,
        image: ImageInput,
        settings: SamplingConfig | None = None,
        on_step: Callable[[Progress], None] | None = None,
        strokes: NDArray[Any] | None = None,
        correction: CorrectionConfig | None = None,
        prompt: Prompt | None = None,
        prompting: PromptConfig | None = None,
    ) -> SampleSet:
        """Draw samples; `on_step` is called after each ODE step and may raise to cancel.

        Parameters
        ----------
        image, strokes, correction, prompt, prompting
            As `sample_steps` takes them.
        settings
            Number of samples, seed and solver; None takes those of the model card.
        on_step
            Called with the progress.

        Returns
        -------
        SampleSet
            Probabilities ``(N, S, S)`` float32, with several classes ``(N, K, S, S)``, on the
            canvas of the network.

        Raises
        ------
        ImageError, ConfigError, ResourceError
            As `sample_steps` does.
        """
        used = settings or self.card.config.sampling
        steps = self.sample_steps(image, used, strokes, correction, prompt, prompting)
        return finish(steps, on_step)

    def sample_objects_steps(
        self,
        image: ImageInput,
        prompts: Sequence[Prompt],
        settings: SamplingConfig,
        prompting: PromptConfig | None = None,
    ) -> Generator[Progress, None, list[SampleSet]]:
        """Draw samples of several objects of one image, step by step.

        The objects share batches and, on one canvas, the image features. Yields and is
        cancelled as `sample_steps` is.

        Parameters
        ----------
        image
            The image.
        prompts
            One for each object.
        settings, prompting
            As `sample_steps` takes them; all objects are drawn from the same seeds.

        Returns
        -------
        list of SampleSet
            In the order of the prompts.

        Raises
        ------
        ImageError, ConfigError, ResourceError
            As `sample_steps` does.
        """
        start = time.perf_counter()
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
            drawn = yield from draw_objects(self._network, rows, path, _seeds(settings), batch)
        finally:
            release_memory(self.device)
        seconds = time.perf_counter() - start
        return [
            self._sample_set(values, seen.geometry, path.nfe, settings, seconds, prompt=one)
            for values, seen, one in zip(drawn, frames, meant, strict=True)
        ]

    def sample_objects(
        self,
        image: ImageInput,
        prompts: Sequence[Prompt],
        settings: SamplingConfig | None = None,
        on_step: Callable[[Progress], None] | None = None,
        prompting: PromptConfig | None = None,
    ) -> list[SampleSet]:
        """Draw samples of several objects; `on_step` may raise to cancel.

        Parameters, results and errors are those of `sample_objects_steps`.
        """
        used = settings or self.card.config.sampling
        return finish(self.sample_objects_steps(image, prompts, used, prompting), on_step)

    def sample_tiles(
        self,
        image: LargeImage,
        settings: SamplingConfig,
        tiling: TilingConfig,
        sink: Sink,
    ) -> Generator[Progress, None, TiledDraw]:
        """Draw samples of an image of any size, tile by tile.

        Yields a `Progress` after each ODE step; closing the generator cancels the job within
        one step. Neighbouring tiles overlap, start from the same noise where they do, and their
        probabilities are blended; the memory that is needed does not grow with the image.

        Parameters
        ----------
        image
            The image; only the pixels of a tile are read at a time.
        settings
            Number of samples, seed and solver.
        tiling
            Overlap and scale.
        sink
            Called with the row and column of a finished part and its maps. The parts do not
            overlap and together cover the image, times the scale.

        Returns
        -------
        TiledDraw
            What was drawn; its maps went to `sink`.

        Raises
        ------
        ImageError
            If the image cannot be read or used.
        ResourceError
            If memory does not even suffice for one sample of one tile at a time.
        """
        start = time.perf_counter()
        field = PixelField(image, tiling.scale)
        used = self.resolved(settings)
        job = self._tiled_job(field, used, tiling)
        tiles = yield from sample_tiled(self._network, field, job, sink)
        return TiledDraw(
            shape=field.shape,
            scale=tiling.scale,
            tile=job.rows.tile,
            tiles=tiles,
            seeds=job.seeds,
            nfe=job.path.nfe,
            model_id=self.card.id,
            model_hash=self.card.weights_sha256,
            settings=used.model_dump(mode="json"),
            seconds=time.perf_counter() - start,
            classes=self.card.config.model.classes,
        )

    def resolved(
        self, settings: SamplingConfig | None = None, group: PromptGroup = "none"
    ) -> SamplingConfig:
        """Return `settings` with what they leave to the model filled in.

        Without `settings`, those of the card. Threshold and noise scale become numbers, those
        fitted for the prompts of `group`, and `calibrated` false if nothing was.
        """
        chosen = settings or self.card.config.sampling
        calibration = self.card.calibration_for(group)
        threshold = chosen.threshold
        if threshold is None:
            threshold = DEFAULT_THRESHOLD if calibration is None else calibration.threshold
        spread = chosen.noise_scale
        if spread is None:
            spread = USUAL_SCALE if calibration is None else calibration.noise_scale
        return chosen.model_copy(
            update={
                "threshold": threshold,
                "noise_scale": spread,
                "calibrated": chosen.calibrated and calibration is not None,
            }
        )

    def summarise(self, samples: SampleSet, settings: SamplingConfig | None = None) -> Summary:
        """Return the maps of samples that this model drew.

        Parameters
        ----------
        samples
            Of one image.
        settings
            Decide on threshold and calibration; None takes those with which the samples were
            drawn.

        Returns
        -------
        Summary
            Maps of the image's own ``(H, W)``.
        """
        group = recorded_group(samples.prompt)
        given = settings or SamplingConfig.model_validate(samples.settings)
        chosen = self.resolved(given, group)
        calibration = self.card.calibration_for(group) if chosen.calibrated else None
        return summarise(samples, chosen.threshold, calibration)

    def reconstruct_mask(self, mask: Mask) -> Mask:
        """Send a mask through the mask VAE and back.

        Its Dice with `mask` bounds what any sample can reach at this latent size.

        Parameters
        ----------
        mask
            ``(H, W)`` bool, or uint8 labels if the model has several classes.

        Returns
        -------
        Mask
            The same shape and dtype.
        """
        data = self.card.config.data
        labels = torch.from_numpy(labels_to_canvas(mask, data.size, data.fit))
        canvas = one_hot(labels[None], self.card.config.model.mask_channels)
        decoded = self._network.decode(self._network.encode(canvas))[0]
        geometry = canvas_geometry((mask.shape[0], mask.shape[1]), data.size, data.fit)
        return harden(from_canvas(decoded, geometry), SAMPLE_THRESHOLD)

    def _plain_path(self, settings: SamplingConfig, group: PromptGroup = "none") -> PlainPath:
        distilled = self.card.config.model.distilled_steps
        served = settings.solver == "euler" and settings.steps <= distilled
        return PlainPath(
            settings.steps, settings.solver, self._noise_scale(settings, group), served
        )

    def _noise_scale(self, settings: SamplingConfig, group: PromptGroup) -> float:
        # Filled in by `resolved`; the usual one is for the type checker alone.
        return self.resolved(settings, group).noise_scale or USUAL_SCALE

    def _tiled_job(self, field: PixelField, used: SamplingConfig, tiling: TilingConfig) -> TiledJob:
        side = tiling.tile or self.card.config.data.size
        rows, columns = (TileAxis(length, side, tiling.overlap) for length in field.shape)
        mask_channels = self.card.config.model.mask_channels
        return TiledJob(
            rows=rows,
            columns=columns,
            seeds=tuple(used.seed + n for n in range(used.n_samples)),
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
        mismatch = Mismatch(canvas, self.device)
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
            seeds=_seeds(settings),
            nfe=nfe,
            model_id=self.card.id,
            model_hash=self.card.weights_sha256,
            settings=self.resolved(settings, group_of(prompt)).model_dump(mode="json"),
            seconds=seconds,
            classes=self.card.config.model.classes,
            strokes=strokes,
            prompt={} if prompt is None else prompt.to_json(),
        )


def _seeds(settings: SamplingConfig) -> tuple[int, ...]:
    return tuple(settings.seed + n for n in range(settings.n_samples))
