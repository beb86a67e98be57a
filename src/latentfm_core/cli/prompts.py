"""``--box`` and ``--prompts``: the objects to segment in an image."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentfm_core.cli.inputs import reject_all
from latentfm_core.config import ReadingConfig
from latentfm_core.datasets.facts import image_orientation, image_size
from latentfm_core.datasets.plausibility import log_findings
from latentfm_core.datasets.stored import StoredPair
from latentfm_core.datasets.stored_findings import orientation_findings
from latentfm_core.errors import ConfigError, DatasetError, ImageError
from latentfm_core.images.orientation import drawn_as_read
from latentfm_core.images.read import read_image
from latentfm_core.images.tiff_stack import TiffStack
from latentfm_core.names import counted, name_some, shown
from latentfm_core.once import first_time
from latentfm_core.prompts import Prompt
from latentfm_core.prompts.file_checks import CORNERS, leaves, may_be_corners
from latentfm_core.prompts.files import PromptFile, in_folders, read_prompts
from latentfm_core.prompts.prompt import check_prompt, reject_fractions

logger = logging.getLogger(__name__)

_ANY = (2**31, 2**31)
"""A shape that every box and point fits."""


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

    @property
    def source(self) -> dict[str, Any]:
        """What the file of prompts says about the object; empty without one."""
        return {} if self.prompt is None else dict(self.prompt.source)

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
                f"its prompts are for an image of {self.size[0]} x {self.size[1]}. Use the image "
                "that was annotated, or scale the prompts."
            )
        which = f" ({self.suffix.removeprefix('_')})" if self.suffix else ""
        try:
            check_prompt(self.prompt, (shape[0], shape[1]))
            if self.prompt.box is not None and self.prompt.mask is None:
                reject_fractions(self.prompt.box)
        except ImageError as error:
            raise ImageError(f"{shown(self.image)}{which}: {error}") from None
        # Where the size is known, the boxes were checked with the file.
        box = None if self.size is not None else self.prompt.box
        if box is None or not leaves(box, (shape[0], shape[1])):
            return
        size = f"the image of {shape[0]} x {shape[1]} pixels (rows x columns)"
        if self.corners and may_be_corners([box], (shape[0], shape[1])):
            raise ImageError(
                f"{shown(self.image)}{which}: the box {box} extends beyond {size}. The boxes "
                f"of this file {CORNERS}"
            )
        if first_time("box beyond its image", self.image, self.suffix):
            logger.warning(
                "%s%s: the box %s extends beyond %s and is cut off at its border. Check that it "
                "is (top, left, bottom, right)",
                shown(self.image),
                which,
                box,
                size,
            )

    def check_form(self) -> None:
        """Reject a box or point that fits no image; raise `ImageError` as `check` does."""
        if self.prompt is not None and self.prompt.mask is None:
            self.check(self.size or _ANY)

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
        which = images[0].name if len(images) == 1 else f"any of the {len(images)} images"
        raise ConfigError(
            f"{args.prompts} has no prompt for {which}. Its names must be "
            "the names of the image files."
        )
    _warn_of_rest(prompts, images, found)
    _warn_of_orientation(prompts, dict.fromkeys(item.image for item in found), limits)
    return found


def _check_names(prompts: PromptFile, images: Sequence[Path]) -> None:
    """Reject prompts that match two images or name none; warn if folders of names differ.

    Raises
    ------
    DatasetError
        The message names both images.
    """
    if not prompts.names and len(images) > 1:
        raise DatasetError(
            f"{shown(prompts.labels[''])} labels the objects of one image, and there are "
            f"{len(images)} images. Name its image alone, or use a folder of label images "
            "with the names of their images: --prompts FOLDER."
        )
    owners: dict[str, Path] = {}
    elsewhere = []
    for image in images:
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
            "%s prompts by file name alone, because the folder in the file of prompts is another "
            "one: %s",
            counted(len(elsewhere), "image has", "images have"),
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
            "no prompt for %d of %d images, which are not segmented: %s",
            len(without),
            len(images),
            name_some(without),
        )
    unused = prompts.names - {prompts.used(image) for image in images}
    if unused:
        logger.warning(
            "%s no image: %s",
            counted(len(unused), "name with prompts matches", "names with prompts match"),
            name_some(unused),
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


def check_early(
    items: Sequence[PromptedImage], args: argparse.Namespace, limits: ReadingConfig
) -> bool:
    """Check before the model is loaded that prompts fit their images.

    A single image is read; of several, only the headers are. Return whether an image was read.

    Raises
    ------
    ImageError
        If some do not; the message lists them.
    """
    by_image: dict[Path, list[PromptedImage]] = {}
    for item in items:
        by_image.setdefault(item.image, []).append(item)
    if args.skip_bad or all(item.prompt is None for item in items):
        return False
    alone = len(by_image) == 1 and not args.stack
    problems: list[str] = []
    for image, objects in by_image.items():
        try:
            shape = _early_shape(image, args, limits, alone)
            for item in objects:
                item.check_form() if shape is None else item.check(shape)
        except ImageError as error:
            problems.append(str(error))
    reject_all(problems, len(by_image))
    return alone


def _early_shape(
    image: Path, args: argparse.Namespace, limits: ReadingConfig, alone: bool
) -> tuple[int, ...] | None:
    """Return ``(H, W, ...)`` of an image or of a plane of a stack; None if it is not known yet."""
    if args.stack:
        with TiffStack(image, args.plane, limits) as stack:
            return tuple(stack.shape[axis] for axis in stack.plane)
    return read_image(image, limits).pixels.shape if alone else image_size(image)
