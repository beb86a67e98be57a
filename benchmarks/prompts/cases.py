"""Images with the target object of a simulated annotator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.prompts.settings import DataSettings
from latentfm_core.config import DataConfig
from latentfm_core.datasets.pair_reading import read_binary, read_instances
from latentfm_core.datasets.pairs import Pair, find_pairs
from latentfm_core.datasets.splits import make_split, read_groups
from latentfm_core.errors import DatasetError
from latentfm_core.prompts.annotator import largest_object
from latentfm_core.types import Bool, ImageInput


@dataclass(frozen=True)
class PromptCase:
    """An image, its expert masks, and the target object.

    Attributes
    ----------
    image
        The image.
    whole
        ``(M, H, W)`` bool, the full mask of each of M raters; may be empty.
    drawn
        ``(R, H, W)`` bool, the object from each rater with a non-empty mask, R >= 1.
    target
        ``(H, W)`` bool, the object as the annotator sees it: ``drawn[0]``.
    group
        Images of one group are not independent.
    """

    image: ImageInput
    whole: Bool
    drawn: Bool
    target: Bool
    group: str


def make_case(
    image: ImageInput, masks: NDArray[np.integer | np.bool_], group: str, kind: str
) -> PromptCase | None:
    """Return the case of an image, or None if nobody drew an object on it.

    With one rater the target is the largest object: the largest connected piece, or with kind
    ``"instances"`` the largest numbered object. With several raters it is all that a rater
    drew, because their pieces do not correspond; this is how prompts are made in training.

    Parameters
    ----------
    masks
        ``(M, H, W)``, one for each rater.
    """
    whole = np.asarray(masks > 0)
    if len(masks) == 1:
        objects = [found for mask in masks if (found := largest_object(mask, kind)) is not None]
    else:
        objects = [mask for mask in whole if mask.any()]
    if not objects:
        return None
    drawn = np.stack(objects)
    return PromptCase(image, whole, drawn, drawn[0], group)


@dataclass(frozen=True)
class Selection:
    """The pairs to measure, and the group of each."""

    pairs: tuple[Pair, ...]
    groups: Mapping[str, str]


def select(settings: DataSettings) -> Selection:
    """Return the pairs of the part, or a random subset of them.

    Raises
    ------
    DatasetError
        If files are missing or the part is empty.
    """
    pairs = {pair.name: pair for pair in find_pairs(settings.images, settings.masks)}
    names = sorted(pairs)
    if settings.split is not None:
        split = make_split(pairs, DataConfig(split_file=settings.split))
        names = list(getattr(split, settings.part))
        if not names:
            raise DatasetError(f"The part {settings.part} of {settings.split} is empty.")
    if settings.limit is not None and settings.limit < len(names):
        order = np.random.default_rng(settings.subset_seed).permutation(len(names))
        names = sorted(names[i] for i in order[: settings.limit])
    return Selection(tuple(pairs[name] for name in names), _groups(settings, names))


def _groups(settings: DataSettings, names: Sequence[str]) -> dict[str, str]:
    if settings.group_file is None or settings.group_column is None:
        return {name: name for name in names}
    return read_groups(settings.group_file, settings.group_column, names, settings.group_key)


def read_cases(selection: Selection, settings: DataSettings) -> Iterator[PromptCase]:
    """Yield the cases one at a time; images without an object are left out."""
    for pair in selection.pairs:
        if settings.kind == "instances":
            read = read_instances(pair)
        else:
            read = read_binary(pair, settings.mask_threshold)
        case = make_case(read.image, read.masks, selection.groups[pair.name], settings.kind)
        if case is not None:
            yield case
