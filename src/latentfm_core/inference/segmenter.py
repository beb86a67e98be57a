"""The one door from an image to samples, used by the plugin, the command line and Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentfm_core.config import Precision, SamplingConfig
from latentfm_core.data.canvas import canvas_geometry, from_canvas, labels_to_canvas, to_canvas
from latentfm_core.data.images import to_rgb
from latentfm_core.errors import ResourceError
from latentfm_core.flow.noise import seeded_noise
from latentfm_core.flow.solvers import integrate, nfe
from latentfm_core.inference.device import (
    autocast,
    describe,
    resolve_device,
    resolve_precision,
    to_device,
)
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.onehot import one_hot
from latentfm_core.store.bundled import resolve_model
from latentfm_core.store.card import ModelCard
from latentfm_core.store.folder import load_model
from latentfm_core.types import Float32, Geometry, ImageInput, Mask, SampleSet, Summary
from latentfm_core.uncertainty.summary import (
    DEFAULT_THRESHOLD,
    SAMPLE_THRESHOLD,
    harden,
    summarise,
)

DEFAULT_BATCH = 16


@dataclass(frozen=True)
class Progress:
    """ODE steps done and to do, over all batches of samples."""

    done: int
    total: int


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
        self.device = resolve_device(device)
        self._dtype = resolve_precision(precision, self.device)
        self.device_label = describe(self.device, self._dtype)
        self.model = to_device(model, self.device).eval()

    @classmethod
    def load(
        cls, source: str | Path, device: str = "auto", precision: Precision = "auto"
    ) -> Segmenter:
        """Load a bundled model by name, or a model folder.

        Raises
        ------
        ModelFolderError
            If it is missing, incomplete, foreign or altered.
        """
        model, card = load_model(resolve_model(source))
        return cls(model, card, device, precision)

    def sample_steps(
        self, image: ImageInput, settings: SamplingConfig
    ) -> Generator[Progress, None, SampleSet]:
        """Draw samples step by step.

        Yields a `Progress` after each ODE step and returns the samples; closing the
        generator cancels the job within one step.

        Raises
        ------
        ImageError
            If the image cannot be used.
        ResourceError
            If memory runs out.
        """
        start = time.perf_counter()
        data = self.card.config.data
        canvas, geometry = to_canvas(to_rgb(image), data.size, data.fit)
        seeds = tuple(settings.seed + n for n in range(settings.n_samples))
        batch = settings.batch_size or DEFAULT_BATCH
        batches = [seeds[i : i + batch] for i in range(0, len(seeds), batch)]
        progress = _Counter(settings.steps * len(batches))
        decoded: list[Float32] = []
        try:
            condition = self._condition(canvas)
            for part in batches:
                z = self._noise(part)
                for state in self._integrate(z, condition, settings):
                    z = state
                    yield progress.step()
                decoded.append(self._decode(z))
        except torch.OutOfMemoryError as error:
            raise out_of_memory(settings) from error
        except RuntimeError as error:
            # The CPU allocator reports exhaustion by a plain RuntimeError.
            if "not enough memory" in str(error) or "can't allocate memory" in str(error):
                raise out_of_memory(settings) from error
            raise
        return self._sample_set(np.concatenate(decoded), geometry, seeds, settings, start)

    def sample(
        self,
        image: ImageInput,
        settings: SamplingConfig | None = None,
        on_step: Callable[[Progress], None] | None = None,
    ) -> SampleSet:
        """Draw samples; `on_step` is called after each ODE step and may raise to cancel.

        Without `settings`, those of the model card are used.
        """
        steps = self.sample_steps(image, settings or self.card.config.sampling)
        while True:
            try:
                progress = next(steps)
            except StopIteration as stop:
                samples: SampleSet = stop.value
                return samples
            if on_step is not None:
                on_step(progress)

    def resolved(self, settings: SamplingConfig | None = None) -> SamplingConfig:
        """Return `settings` with what they leave to the model filled in.

        Without `settings`, those of the card. The threshold becomes a number, and
        `calibrated` false if the model has no calibration.
        """
        chosen = settings or self.card.config.sampling
        calibration = self.card.calibration
        threshold = chosen.threshold
        if threshold is None:
            threshold = DEFAULT_THRESHOLD if calibration is None else calibration.threshold
        calibrated = chosen.calibrated and calibration is not None
        return chosen.model_copy(update={"threshold": threshold, "calibrated": calibrated})

    def summarise(self, samples: SampleSet, settings: SamplingConfig | None = None) -> Summary:
        """Return the maps of samples that this model drew.

        `settings` decide on threshold and calibration; without them, those with which the
        samples were drawn.
        """
        chosen = self.resolved(settings or SamplingConfig.model_validate(samples.settings))
        calibration = self.card.calibration if chosen.calibrated else None
        return summarise(samples, chosen.threshold, calibration)

    @torch.inference_mode()
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
        with autocast(self.device, self._dtype):
            z = self.model.encode_mask(canvas.to(self.device))
        decoded = self._decode(z)[0]
        geometry = canvas_geometry((mask.shape[0], mask.shape[1]), data.size, data.fit)
        return harden(from_canvas(decoded, geometry), SAMPLE_THRESHOLD)

    @torch.inference_mode()
    def _condition(self, canvas: Float32) -> list[Tensor]:
        image = torch.from_numpy(canvas).permute(2, 0, 1)[None].to(self.device)
        with autocast(self.device, self._dtype):
            maps = self.model.condition(image.contiguous(memory_format=torch.channels_last))
        return maps

    def _noise(self, seeds: tuple[int, ...]) -> Tensor:
        side = self.card.config.data.size // self.model.config.downsample
        noise = seeded_noise(seeds, (self.model.latent_channels, side, side))
        return noise.to(self.device).contiguous(memory_format=torch.channels_last)

    def _integrate(
        self, z: Tensor, condition: list[Tensor], settings: SamplingConfig
    ) -> Iterator[Tensor]:
        # Inference mode is entered in each call, never across a yield: it is a state of
        # the thread, and the caller's code runs between two steps.
        @torch.inference_mode()
        def velocity(t: float, state: Tensor) -> Tensor:
            with autocast(self.device, self._dtype):
                times = torch.full((len(state),), t, device=self.device)
                slope: Tensor = self.model.velocity(times, state, condition)
            return slope

        return integrate(velocity, z, settings.steps, settings.solver)

    @torch.inference_mode()
    def _decode(self, z: Tensor) -> Float32:
        with autocast(self.device, self._dtype):
            logits = self.model.decode_mask(z)
        one = logits.shape[1] == 1
        p = logits.sigmoid()[:, 0] if one else logits.softmax(dim=1)
        probabilities: Float32 = p.cpu().numpy()
        return probabilities

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
            nfe=nfe(settings.solver, settings.steps),
            model_id=self.card.id,
            model_hash=self.card.weights_sha256,
            settings=self.resolved(settings).model_dump(mode="json"),
            seconds=time.perf_counter() - start,
            classes=self.card.config.model.classes,
        )


class _Counter:
    def __init__(self, total: int) -> None:
        self._done = 0
        self._total = total

    def step(self) -> Progress:
        self._done += 1
        return Progress(self._done, self._total)


def out_of_memory(settings: SamplingConfig) -> ResourceError:
    """Return the error that tells which setting to lower."""
    batch = settings.batch_size or DEFAULT_BATCH
    return ResourceError(
        f"Not enough memory to draw {min(batch, settings.n_samples)} samples at once. "
        "Lower the batch size (--batch-size) or the number of samples, or use device cpu."
    )
