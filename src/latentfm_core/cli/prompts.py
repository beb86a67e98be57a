"""``--box`` and ``--prompts``: the objects to segment in an image."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latentfm_core.config import ReadingConfig, SamplingConfig
from latentfm_core.datasets.facts import image_orientation
from latentfm_core.datasets.plausibility import log_findings
from latentfm_core.datasets.stored import StoredPair
from latentfm_core.datasets.stored_findings import orientation_findings
from latentfm_core.errors import ConfigError, DatasetError, ImageError
from latentfm_core.images.orientation import drawn_as_read
from latentfm_core.images.read import name_some, read_image
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.names import shown
from latentfm_core.once import first_time
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.file_checks import CORNERS, leaves, may_be_corners
from latentfm_core.prompts.files import PromptFile, in_folders, read_prompts
from latentfm_core.prompts.prompt import check_prompt, refuse_fractions
from latentfm_core.types import ImageInput, SampleSet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PromptedImage:
    """An image with the prompt of one object, or without a prompt.

    Attributes
    ----------
    suffix
        Added to the name of the result.
    size
        Rows and columns of the annotated image, if the file of prompts gives them.
    corners
        Whether the sizes of the boxes in the file could be corners.
    """

    image: Path
    prompt: Prompt | None = None
    suffix: str = ""
    size: tuple[int, int] | None = None
    corners: bool = False

    def check(self, shape: tuple[int, ...]) -> None:
        """Reject a prompt that does not fit the image, of `shape` ``(H, W, ...)``.

        Raises
        ------
        ImageError
            The message names image and object.
        """
        if self.prompt is None:
            return
        if self.size is not None and self.size != shape[:2]:
            raise ImageError(
                f"{shown(self.image)} has {shape[0]} x {shape[1]} pixels (rows x columns), and "
                f"its prompts are of an image of {self.size[0]} x {self.size[1]}. Use the image "
                "that was annotated, or scale the prompts."
            )
        which = f" ({self.suffix.removeprefix('_')})" if self.suffix else ""
        try:
            check_prompt(self.prompt, (shape[0], shape[1]))
            if self.prompt.box is not None and self.prompt.mask is None:
                refuse_fractions(self.prompt.box)
        except ImageError as error:
            raise ImageError(f"{shown(self.image)}{which}: {error}") from None
        # Where the size is known, the boxes were checked with the file.
        box = None if self.size is not None else self.prompt.box
        if box is None or not leaves(box, (shape[0], shape[1])):
            return
        size = f"the image of {shape[0]} x {shape[1]} pixels (rows x columns)"
        if self.corners and may_be_corners([box], (shape[0], shape[1])):
            raise ImageError(
                f"{shown(self.image)}{which}: the box {box} leaves {size}. The boxes of this file "
                f"{CORNERS}"
            )
        if first_time("box that leaves its image", self.image, self.suffix):
            logger.warning(
                "%s%s: the box %s leaves %s and is cut off at its border. Check that it "
                "is (top, left, bottom, right)",
                shown(self.image),
                which,
                box,
                size,
            )

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether `check` accepts the prompt."""
        try:
            self.check(shape)
        except ImageError:
            return False
        return True


def prompted_images(
    images: Sequence[Path], args: argparse.Namespace, limits: ReadingConfig
) -> list[PromptedImage]:
    """Return all prompted objects, image by image.

    Raises
    ------
    DatasetError
        If the prompts cannot be read, or it is unclear which image they mean.
    ConfigError
        If no image has a prompt.
    """
    if args.box is not None:
        return [PromptedImage(image, Prompt(box=args.box)) for image in images]
    if args.prompts is None:
        return [PromptedImage(image) for image in images]
    prompts = read_prompts(args.prompts, limits)
    _check_names(prompts, images)
    found = [
        PromptedImage(image, prompt, f"_object{number}", prompts.size_of(image), prompts.corners)
        for image in images
        for number, prompt in enumerate(prompts.of(image), start=1)
    ]
    if not found:
        raise ConfigError(
            f"{args.prompts} has no prompt for any of the {len(images)} images. Its names must be "
            "the names of the image files."
        )
    _warn_of_rest(prompts, images, found)
    _warn_of_orientation(prompts, dict.fromkeys(item.image for item in found), limits)
    return found


def _check_names(prompts: PromptFile, images: Sequence[Path]) -> None:
    """Refuse prompts that match two images; warn if folders of names differ.

    Raises
    ------
    DatasetError
        The message names both images.
    """
    owners: dict[str, Path] = {}
    elsewhere = []
    for image in images if prompts.names else ():
        used = prompts.used(image)
        if used is None:
            continue
        other = owners.setdefault(used, image)
        if other is not image:
            raise DatasetError(
                f"The prompts of {shown(used)} could mean {shown(other)} or {shown(image)}. Give "
                "one of them only, or write names with folder and extension into the prompts."
            )
        if not in_folders(used, image):
            elsewhere.append(f"{used} for {image}")
    if elsewhere:
        logger.warning(
            "%d images have prompts by their file name alone, because the folder in the "
            "file of prompts is another one: %s",
            len(elsewhere),
            name_some(elsewhere),
        )


def _warn_of_rest(
    prompts: PromptFile, images: Sequence[Path], found: Sequence[PromptedImage]
) -> None:
    """Name the images without a prompt, and the prompts without an image."""
    prompted = {item.image for item in found}
    without = [image.name for image in images if image not in prompted]
    if without:
        logger.warning(
            "%d of %d images have no prompt and are not segmented: %s",
            len(without),
            len(images),
            name_some(without),
        )
    unused = prompts.names - {prompts.used(image) for image in images}
    if unused:
        logger.warning(
            "%d names with prompts belong to no image: %s", len(unused), name_some(unused)
        )


def _warn_of_orientation(
    prompts: PromptFile, images: Iterable[Path], limits: ReadingConfig
) -> None:
    """Warn of label images without the orientation of their image, as training does."""
    stored = []
    for image in images:
        labels = prompts.labels.get(prompts.used(image) or "")
        if labels is None:
            continue
        own, turn = image_orientation(image), image_orientation(labels)
        if own == turn:
            continue
        try:
            pixels = read_image(image, limits).pixels
        except ImageError:
            continue  # reported with the other bad images
        if turn != 1 or not drawn_as_read(labels, own, pixels):
            square = pixels.shape[0] == pixels.shape[1]
            stored.append(StoredPair(image.name, own, (turn,), square=square))
    log_findings(orientation_findings(stored))


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
