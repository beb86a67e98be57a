"""The one door from an image to samples, used by the plugin, the command line and Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latentfm_core.config import CorrectionConfig, Precision, SamplingConfig, TilingConfig
from latentfm_core.correction.guidance import Mismatch
from latentfm_core.correction.strokes import check_strokes
from latentfm_core.data.canvas import (
    canvas_geometry,
    from_canvas,
    labels_to_canvas,
    strokes_to_canvas,
    to_canvas,
)
from latentfm_core.data.field import LargeImage, PixelField
from latentfm_core.data.images import to_rgb
from latentfm_core.errors import ConfigError
from latentfm_core.inference.batches import Batches, Progress
from latentfm_core.inference.device import release_memory
from latentfm_core.inference.drawing import draw
from latentfm_core.inference.large import Sink, TiledJob, sample_tiled
from latentfm_core.inference.network import GuidedPath, Network, PlainPath
from latentfm_core.inference.tiling import TileAxis
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.onehot import one_hot
from latentfm_core.stepping import finish
from latentfm_core.store.bundled import resolve_model
from latentfm_core.store.card import ModelCard
from latentfm_core.store.folder import load_model
from latentfm_core.types import Float32, Geometry, ImageInput, Mask, SampleSet, Summary, TiledDraw
from latentfm_core.uncertainty.noise_scale import USUAL_SCALE
from latentfm_core.uncertainty.summary import (
    DEFAULT_THRESHOLD,
    SAMPLE_THRESHOLD,
    harden,
    summarise,
)

DEFAULT_BATCH = 16
_USUAL = SamplingConfig()


class Segmenter:
    """A trained model, warm on its device, that draws plausible masks of images.

    Parameters
    ----------
    model
        The network; moved to the device.
    card
        Its card, which decides the preprocessing.
    device
        As in `SamplingConfig`.
    precision
        As in `SamplingConfig`; None takes that of the card, as the command line and the panel do.

    Attributes
    ----------
    card
        The model's card.
    device
        The resolved device.
    precision
        The number format in use, never ``"auto"``.
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
        device: str = _USUAL.device,
        precision: Precision | None = None,
    ) -> None:
        self.card = card
        self._network = Network(model, device, precision or card.config.sampling.precision)
        self.device = self._network.device
        self.precision = self._network.precision
        self.device_label = self._network.label
        self.model = self._network.model

    @classmethod
    def load(
        cls, source: str | Path, device: str = _USUAL.device, precision: Precision | None = None
    ) -> Segmenter:
        """Load a bundled model by name, or a model folder.

        Parameters
        ----------
        source
            Name of a bundled model, or the folder.
        device
            ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ... or ``"mps"``.
        precision
            Number format of the convolutions; None takes that of the model's card, which is
            ``"auto"`` unless its maker chose otherwise.

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
            that it is background, k + 1 that it is of the k-th class. The samples of the same
            seeds are then guided to agree with it. None: no correction.
        correction
            How they are guided; None takes the defaults.

        Raises
        ------
        ImageError
            If the image or the strokes cannot be used.
        ConfigError
            If the network overflows in this precision, or `settings` ask for another one.
        ResourceError
            If memory does not even suffice for one sample at a time. Before that, the batches
            are halved, and the progress says so; the samples are the same.
        """
        start = time.perf_counter()
        self._check_precision(settings)
        data = self.card.config.data
        canvas, geometry = to_canvas(to_rgb(image), data.size, data.fit)
        seeds = tuple(settings.seed + n for n in range(settings.n_samples))
        said = None
        if strokes is not None:
            said = check_strokes(strokes, geometry.shape, len(self.card.config.model.classes))
        path = self._path(settings, said, correction)
        batches = Batches(seeds, settings.batch_size or DEFAULT_BATCH, path.steps)
        try:
            decoded = yield from draw(
                self._network,
                canvas,
                path,
                batches,
                lambda part: self._network.noise(part, data.size),
            )
        finally:
            release_memory(self.device)
        drawn = self._sample_set(decoded, geometry, seeds, settings, start)
        return replace(drawn, nfe=path.nfe, strokes=said)

    def sample(
        self,
        image: ImageInput,
        settings: SamplingConfig | None = None,
        on_step: Callable[[Progress], None] | None = None,
        strokes: NDArray[Any] | None = None,
        correction: CorrectionConfig | None = None,
    ) -> SampleSet:
        """Draw samples; `on_step` is called after each ODE step and may raise to cancel.

        Parameters
        ----------
        image, strokes, correction
            As `sample_steps` takes them.
        settings
            Number of samples, seed and solver; None takes those of the model card.
        on_step
            Told of the progress.

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
        steps = self.sample_steps(image, self.resolved(settings), strokes, correction)
        return finish(steps, on_step)

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
        ConfigError
            As for `sample_steps`.
        ResourceError
            If memory does not even suffice for one sample of one tile at a time.
        """
        start = time.perf_counter()
        self._check_precision(settings)
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

    def resolved(self, settings: SamplingConfig | None = None) -> SamplingConfig:
        """Return `settings` with what they leave to the model filled in.

        Without `settings`, those of the card, with the precision of this segmenter. Threshold and
        noise scale become numbers, precision ``"auto"`` the one in use, and `calibrated` false
        if the model has no calibration.
        """
        # The card cannot know how this segmenter was loaded.
        chosen = settings or self.card.config.sampling.model_copy(
            update={"precision": self.precision}
        )
        calibration = self.card.calibration
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
                "precision": self.precision if chosen.precision == "auto" else chosen.precision,
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
        chosen = self.resolved(settings or SamplingConfig.model_validate(samples.settings))
        calibration = self.card.calibration if chosen.calibrated else None
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

    def _check_precision(self, settings: SamplingConfig) -> None:
        if settings.precision in ("auto", self.precision):
            return
        raise ConfigError(
            f"The settings ask for precision {settings.precision}, but the model was loaded for "
            f"{self.precision} ({self.device_label}). Load it with precision "
            f"{settings.precision}, or leave the precision of the settings at auto."
        )

    def _plain_path(self, settings: SamplingConfig) -> PlainPath:
        distilled = self.card.config.model.distilled_steps
        served = settings.solver == "euler" and settings.steps <= distilled
        return PlainPath(settings.steps, settings.solver, self._noise_scale(settings), served)

    def _noise_scale(self, settings: SamplingConfig) -> float:
        # Filled in by `resolved`; the usual one is for the type checker alone.
        return self.resolved(settings).noise_scale or USUAL_SCALE

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
        correction: CorrectionConfig | None,
    ) -> PlainPath | GuidedPath:
        if strokes is None:
            return self._plain_path(settings)
        data = self.card.config.data
        chosen = correction or CorrectionConfig()
        canvas = strokes_to_canvas(strokes, data.size, data.fit)
        mismatch = Mismatch(canvas, self.device)
        return GuidedPath(chosen.steps, chosen.scale, mismatch, self._noise_scale(settings))

    def _sample_set(
        self,
        probabilities: Float32,
        geometry: Geometry,
        seeds: tuple[int, ...],
        settings: SamplingConfig,
        start: float,
    ) -> SampleSet:
        return SampleSet(
            probabilities=probabilities,
            geometry=geometry,
            seeds=seeds,
            nfe=0,
            model_id=self.card.id,
            model_hash=self.card.weights_sha256,
            settings=self.resolved(settings).model_dump(mode="json"),
            seconds=time.perf_counter() - start,
            classes=self.card.config.model.classes,
        )
