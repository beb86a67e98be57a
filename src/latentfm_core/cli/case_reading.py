"""Reading of an image and its masks as a case to compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from latentfm_core.cli.inputs import BadFiles
from latentfm_core.config import ReadingConfig
from latentfm_core.datasets.pair_reading import read_instances, read_references
from latentfm_core.datasets.pairs import Pair
from latentfm_core.datasets.stored import StoredPair
from latentfm_core.errors import ImageError
from latentfm_core.evaluation.evaluate import Case
from latentfm_core.images.read import check_pixels
from latentfm_core.names import shown


def read_masks(
    pair: Pair, threshold: float | None, classes: int, limits: ReadingConfig
) -> tuple[Case, StoredPair]:
    """Read an image and the masks of all its raters, and how the files store them.

    Raises
    ------
    ImageError
        If a file cannot be read or used, or the sizes differ.
    """
    pair_read = read_references(pair, threshold, classes, limits)
    check_pixels(pair_read.image)
    return Case(pair_read.image, pair_read.masks), pair_read.stored


def read_objects(pair: Pair, limits: ReadingConfig) -> tuple[Case, StoredPair]:
    """Read an image and its numbered objects as `read_masks` does.

    Raises `ImageError` also if there are several raters, whose numbers do not correspond.
    """
    if len(pair.masks) > 1:
        raise ImageError(
            f"{shown(pair.image)}: {len(pair.masks)} raters numbered its objects, and it is "
            "unknown which of them correspond. Choose the folder of one rater with --masks."
        )
    pair_read = read_instances(pair, limits)
    check_pixels(pair_read.image)
    case = Case(pair_read.image, pair_read.masks > 0, numbered=pair_read.masks[0])
    return case, pair_read.stored


def read_all(
    pairs: Sequence[Pair], read: Callable[[Pair], tuple[Case, StoredPair]], bad: BadFiles | None
) -> Iterator[Case]:
    """Yield one case after the other; with `bad`, unusable ones are recorded and skipped.

    Raises
    ------
    ImageError
        If a pair cannot be used and `bad` is None.
    DatasetError
        If no pair can be used.
    """
    for pair in pairs:
        try:
            case, _ = read(pair)
        except ImageError as error:
            if bad is None:
                raise
            bad.skip(pair.name, error)
        else:
            yield case
    if bad is not None:
        bad.check_any_left()
