"""Public API for sampling, used by the plugin, the command line and Python."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from latentfm_core.config import (
    CorrectionConfig,
    Precision,
    PromptConfig,
    SamplingConfig,
    TilingConfig,
)
from latentfm_core.images.large import LargeImage
from latentfm_core.images.read import to_rgb
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.loading import load_samplers
from latentfm_core.inference.network import Network
from latentfm_core.inference.sampler import Sampler
from latentfm_core.inference.tiled import Sink
from latentfm_core.model_io.card import ModelCard
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.progress import finish
from latentfm_core.prompts import Prompt
from latentfm_core.types import Float32, ImageLike, Mask, SampleSet, Summary, TiledDraw
from latentfm_core.uncertainty.domain import TrainingDomain
from latentfm_core.vocabulary import PromptGroup

_DEFAULTS = SamplingConfig()


class Segmenter:
    """A trained model, loaded on its device, that draws plausible masks of images.

    An ensemble is a model as well: sample n comes from member n modulo the number of members.

    Parameters
    ----------
    model, card
        The network, which is moved to the device, and its card.
    device, precision
        As in `SamplingConfig`; None uses the precision of the card.
    domain
        Statistics of the training images; without it samples have no domain score.

    Attributes
    ----------
    device, precision
        The device and the number format in use, never ``"auto"``.
    device_label
        Description of both for display.
    model
        The network; in an ensemble, that of the first member.
    members
        The models of an ensemble, in the order in which they draw samples; else this model alone.

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
        network = Network(model, device, precision or card.config.sampling.precision)
        self._use(Sampler((network,), card, (domain,)))

    def _use(self, sampler: Sampler, members: Sequence[Sampler] = ()) -> None:
        self._sampler, network = sampler, sampler.networks[0]
        self.members: tuple[Segmenter, ...] = tuple(map(self._of, members)) or (self,)
        self.device, self.precision = network.device, network.precision
        self.device_label, self.model = network.label, network.model

    @classmethod
    def _of(cls, sampler: Sampler, members: Sequence[Sampler] = ()) -> Segmenter:
        segmenter = cls.__new__(cls)
        segmenter._use(sampler, members)
        return segmenter

    @property
    def card(self) -> ModelCard:
        """The model's card; a new one applies to the next samples."""
        return self._sampler.card

    @card.setter
    def card(self, card: ModelCard) -> None:
        self._sampler.card = card

    def domain_score(self, image: ImageLike) -> float | None:
        """Return the distance of an image from the training images; above 1 is out of domain.

        Samples carry the same number. For an ensemble it is the mean over its members. None if the
        model, or a member, has no training statistics. Raises `ImageError` as `sample_steps` does.
        """
        return self._sampler.distance.score(to_rgb(image))

    @property
    def domain(self) -> TrainingDomain | None:
        """Statistics of the training images; None if unknown, or for an ensemble."""
        domains = self._sampler.domains
        return domains[0] if len(domains) == 1 else None

    def mean_features(self, image: ImageLike) -> Float32:
        """Return the mean image features ``(D,)`` of an image.

        `domain_score` compares them with those of the training images. An ensemble returns those
        of its first member. Raises `ImageError` as `sample_steps` does, except that an array of
        `to_rgb` is used as it is.
        """
        return self._sampler.distance.feature(image)

    @classmethod
    def load(
        cls, source: str | Path, device: str = _DEFAULTS.device, precision: Precision | None = None
    ) -> Segmenter:
        """Load a bundled model by name, a model folder, or a folder of models (an ensemble).

        Parameters
        ----------
        source
            Name of a bundled model, or the folder.
        device
            ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ... or ``"mps"``.
        precision
            Number format of the convolutions; None uses that of the card, usually ``"auto"``.

        Raises
        ------
        ModelFolderError
            If it is missing, incomplete, altered, or not a model folder, or the members of an
            ensemble do not fit each other.
        ResourceError
            If the device or precision is not available.
        """
        return cls._of(*load_samplers(source, device, precision))

    def sample_steps(
        self,
        image: ImageLike,
        settings: SamplingConfig,
        strokes: NDArray[Any] | None = None,
        correction: CorrectionConfig | None = None,
        prompt: Prompt | None = None,
        prompting: PromptConfig | None = None,
    ) -> Generator[Progress, None, SampleSet]:
        """Draw samples step by step.

        Yields a `Progress` after each ODE step and returns the samples; closing the generator
        cancels the job within one step.

        Parameters
        ----------
        image
            The image, or its pixels alone: ``(H, W)`` or ``(H, W, C)``.
        settings
            Number of samples, seed and solver.
        strokes
            ``(H, W)`` integers marking certain pixels: 0 unmarked, 1 background, k + 1 the
            k-th class. A model with prompts uses them as a prompt; samples of any other model
            are guided to agree with them.
        correction
            How samples are guided towards strokes. None: no guidance if the model takes prompts,
            else the defaults.
        prompt
            The object to segment. None: the model's trained target.
        prompting
            How the prompt selects the field; None uses the defaults.

        Returns
        -------
        SampleSet
            Probabilities ``(N, S, S)`` float32, with several classes ``(N, K, S, S)``, on the
            canvas of the network.

        Raises
        ------
        ImageError
            If the image, the strokes or the prompt cannot be used.
        ConfigError
            If the model does not take prompts, overflows in this precision, or `settings`
            require another precision.
        ResourceError
            If there is not enough memory for one sample at a time. Before that, batches are
            halved, which the progress reports; the samples are the same.
        """
        return self._sampler.one(image, settings, strokes, correction, prompt, prompting)

    def sample(
        self,
        image: ImageLike,
        settings: SamplingConfig | None = None,
        on_step: Callable[[Progress], None] | None = None,
        strokes: NDArray[Any] | None = None,
        correction: CorrectionConfig | None = None,
        prompt: Prompt | None = None,
        prompting: PromptConfig | None = None,
    ) -> SampleSet:
        """Draw samples; `on_step` is called after each ODE step and may raise to cancel.

        Parameters, results and errors are those of `sample_steps`; without `settings`, those of
        the model card are used.
        """
        used = settings or self.usual()
        steps = self.sample_steps(image, used, strokes, correction, prompt, prompting)
        return finish(steps, on_step)

    def sample_objects_steps(
        self,
        image: ImageLike,
        prompts: Sequence[Prompt],
        settings: SamplingConfig,
        prompting: PromptConfig | None = None,
    ) -> Generator[Progress, None, list[SampleSet]]:
        """Draw samples of several objects of one image, step by step.

        The objects share batches, seeds and, on one canvas, the image features. Returns a
        `SampleSet` for each prompt, in their order. Progress, cancelling, the other parameters
        and errors are those of `sample_steps`.
        """
        return self._sampler.many(image, prompts, settings, prompting)

    def sample_objects(
        self,
        image: ImageLike,
        prompts: Sequence[Prompt],
        settings: SamplingConfig | None = None,
        on_step: Callable[[Progress], None] | None = None,
        prompting: PromptConfig | None = None,
    ) -> list[SampleSet]:
        """Draw samples as `sample_objects_steps` does; `settings` and `on_step` as in `sample`."""
        used = settings or self.usual()
        return finish(self.sample_objects_steps(image, prompts, used, prompting), on_step)

    def sample_tiles(
        self,
        image: LargeImage | ImageLike,
        settings: SamplingConfig,
        tiling: TilingConfig,
        sink: Sink,
    ) -> Generator[Progress, None, TiledDraw]:
        """Draw samples of an image of any size, tile by tile.

        Neighbouring tiles overlap, share the noise of the overlap, and their probabilities are
        blended; memory use does not grow with the image. Returns the record of the drawing.
        Settings, progress, cancelling and errors are those of `sample_steps`.

        Parameters
        ----------
        sink
            Called with the row and column of a finished part and its maps. The parts do not
            overlap and together cover the scaled image.
        """
        return self._sampler.tiles(image, settings, tiling, sink)

    def usual(self) -> SamplingConfig:
        """Return the settings of the card, with the precision in use."""
        return self._sampler.settings.usual()

    def resolved(
        self, settings: SamplingConfig | None = None, group: PromptGroup = "none"
    ) -> SamplingConfig:
        """Return `settings` with the model's defaults filled in.

        Without `settings`, those of the card. Steps become the number on the card, threshold and
        noise scale the numbers fitted for the prompts of `group`, precision ``"auto"`` the one in
        use, and `calibrated` false if nothing was fitted.
        """
        return self._sampler.settings.resolved(settings, group)

    def summarise(self, samples: SampleSet, settings: SamplingConfig | None = None) -> Summary:
        """Return the maps ``(H, W)`` of samples of an image, drawn by this model.

        `settings` set threshold and calibration; None uses the settings of the samples.
        """
        return finish(self.summary_steps(samples, settings))

    def summary_steps(
        self, samples: SampleSet, settings: SamplingConfig | None = None
    ) -> Generator[Progress, None, Summary]:
        """Summarise as `summarise` does, yielding after each sample; may be closed to cancel."""
        return self._sampler.summary_steps(samples, settings)

    def reconstruct_mask(self, mask: Mask) -> Mask:
        """Encode and decode a mask ``(H, W)`` with the mask VAE; the dtype is kept.

        It is bool, or uint8 labels if the model has several classes. Its Dice with the result is
        an upper bound for samples at this latent size. Of an ensemble, the mean probability over
        its members is used. Raises `ImageError` if it has another shape or other labels.
        """
        return self._sampler.reconstruct(mask)
