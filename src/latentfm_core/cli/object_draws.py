"""Samples of the objects of an image, drawn in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latentfm_core.cli.prompts import PromptedImage
from latentfm_core.config import ReadingConfig, SamplingConfig
from latentfm_core.errors import ImageError
from latentfm_core.images.read import read_image
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.types import ImageInput, SampleSet


@dataclass
class ObjectDraws:
    """Samples of the objects of one image, drawn together when the first is requested.

    Attributes
    ----------
    wanted
        All objects to draw, in any order.
    """

    segmenter: Segmenter
    settings: SamplingConfig
    wanted: Sequence[PromptedImage]
    limits: ReadingConfig
    _image: tuple[Path, ImageInput] | None = None
    _drawn: dict[int, SampleSet] = field(default_factory=dict)

    def get(
        self, item: PromptedImage, show: Callable[[Progress], None]
    ) -> tuple[ImageInput, SampleSet]:
        """Return an image and the samples of one of its objects.

        Raises
        ------
        ImageError
            If the image or a prompt cannot be used; the message names the image.
        """
        if self._image is None or self._image[0] != item.image:
            self._image = (item.image, read_image(item.image, self.limits))
            self._drawn = {}
        image = self._image[1]
        if item.prompt is None:
            return image, self.segmenter.sample(image, self.settings, show)
        if id(item.prompt) not in self._drawn:
            shape = image.pixels.shape
            item.check(shape)
            same = [each for each in self.wanted if each.image == item.image]
            prompts = [each.prompt for each in same if each.prompt and each.fits(shape)]
            try:
                drawn = self.segmenter.sample_objects(image, prompts, self.settings, show)
            except ImageError as error:
                raise ImageError(f"{item.image}: {error}") from None
            self._drawn = {id(p): samples for p, samples in zip(prompts, drawn, strict=True)}
        return image, self._drawn[id(item.prompt)]
