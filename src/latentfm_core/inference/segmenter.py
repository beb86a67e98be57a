"""The one door from an image to samples, used by the plugin, the command line and Python."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from latentfm_core.config import (
    CorrectionConfig,
    Precision,
    PromptConfig,
    SamplingConfig,
    TilingConfig,
)
from latentfm_core.images.canvas import (
    canvas_geometry,
    from_canvas,
    labels_to_canvas,
)
from latentfm_core.images.large import LargeImage
from latentfm_core.images.read import to_rgb
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.network import Network
from latentfm_core.inference.sampler import Sampler
from latentfm_core.inference.tiled import Sink
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import ModelCard
from latentfm_core.model_io.domain import read_domain
from latentfm_core.model_io.folder import load_model
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.onehot import one_hot
from latentfm_core.progress import finish, follow
from latentfm_core.prompts import Prompt, recorded_group
from latentfm_core.types import (
    Float32,
    ImageInput,
    Mask,
    PromptGroup,
    SampleSet,
    Summary,
    TiledDraw,
)
from latentfm_core.uncertainty.domain import TrainingDomain
from latentfm_core.uncertainty.summary import (
    SAMPLE_THRESHOLD,
    harden,
    summary_steps,
)

_DEFAULTS = SamplingConfig()


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
    domain
        What the training images are like; without it samples have no domain score.

    Attributes
    ----------
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
        device: str = _DEFAULTS.device,
        precision: Precision | None = None,
        domain: TrainingDomain | None = None,
    ) -> None:
        self._network = Network(model, device, precision or card.config.sampling.precision)
        self._sampler = Sampler(self._network, card, domain)
        self.device = self._network.device
        self.precision = self._network.precision
        self.device_label = self._network.label
        self.model = self._network.model

    @property
    def card(self) -> ModelCard:
        """The model's card; a new one takes effect with the next samples."""
        return self._sampler.card

    @card.setter
    def card(self, card: ModelCard) -> None:
        self._sampler.card = card

    @property
    def domain(self) -> TrainingDomain | None:
        """What the training images are like, None if not known; takes effect as the card does."""
        return self._sampler.domain

    @domain.setter
    def domain(self, domain: TrainingDomain | None) -> None:
        self._sampler.domain = domain

    def domain_score(self, image: ImageInput) -> float | None:
        """Return how unlike the training images an image is, above 1 out of domain.

        Samples carry the same number. None if the model does not know its training images.

        Raises
        ------
        ImageError
            If the image cannot be used.
        """
        return self._sampler.domain_score(to_rgb(image))

    def mean_features(self, rgb: Float32) -> Float32:
        """Return the mean image features ``(D,)`` of an image ``(H, W, 3)`` in [0, 1].

        They are what `domain_score` compares with those of the training images.
        """
        return self._sampler.feature(rgb)

    @classmethod
    def load(
        cls, source: str | Path, device: str = _DEFAULTS.device, precision: Precision | None = None
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
        folder = resolve_model(source)
        model, card = load_model(folder)
        return cls(model, card, device, precision, read_domain(folder, card))

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
            If the model does not take prompts, overflows in this precision, or `settings` ask
            for another precision.
        ResourceError
            If memory does not even suffice for one sample at a time. Before that, the batches
            are halved, and the progress says so; the samples are the same.
        """
        return self._sampler.one(image, settings, strokes, correction, prompt, prompting)

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
        used = settings or self._sampler.usual()
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
        return self._sampler.many(image, prompts, settings, prompting)

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
        used = settings or self._sampler.usual()
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
        ConfigError
            As for `sample_steps`.
        ResourceError
            If memory does not even suffice for one sample of one tile at a time.
        """
        return self._sampler.tiles(image, settings, tiling, sink)

    def resolved(
        self, settings: SamplingConfig | None = None, group: PromptGroup = "none"
    ) -> SamplingConfig:
        """Return `settings` with what they leave to the model filled in.

        Without `settings`, those of the card. Threshold and noise scale become numbers, those
        fitted for the prompts of `group`, precision ``"auto"`` the one in use, and `calibrated`
        false if nothing was fitted.
        """
        return self._sampler.resolved(settings, group)

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
        return finish(self.summary_steps(samples, settings))

    def summary_steps(
        self, samples: SampleSet, settings: SamplingConfig | None = None
    ) -> Generator[Progress, None, Summary]:
        """Do what `summarise` does; yields a `Progress` after each sample.

        Closing the generator cancels the work within one sample.
        """
        group = recorded_group(samples.prompt)
        given = settings or SamplingConfig.model_validate(samples.settings)
        chosen = self.resolved(given, group)
        calibration = self.card.calibration_for(group) if chosen.calibrated else None
        steps = summary_steps(samples, chosen.threshold, calibration)
        return (yield from follow(steps, lambda done: Progress(done, len(samples))))

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
