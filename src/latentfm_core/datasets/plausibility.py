"""Plausibility checks of a data set."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from latentfm_core.datasets.facts import MaskFacts
from latentfm_core.errors import DatasetError
from latentfm_core.images.read import name_some
from latentfm_core.types import PARTS

logger = logging.getLogger(__name__)

MOSTLY = 0.5
"""Minimum mean share of foreground for masks that may be inverted."""
WILD = 5.0
"""Minimum ratio of the longest to the shortest image for a warning about sizes."""
_CORNERS = 3
_EXPORT = "Check a mask in an image viewer, and how the masks were exported"


@dataclass(frozen=True)
class Finding:
    """A probable mistake in a data set.

    Attributes
    ----------
    text
        The problem, and how to fix it.
    stops
        Whether the data are unusable.
    """

    text: str
    stops: bool = False


def mask_findings(
    masks: Sequence[MaskFacts],
    classes: Sequence[str],
    threshold: float | None,
    *,
    where: str = "",
    stops: bool = True,
) -> list[Finding]:
    """Return problems with the masks of a part.

    Parameters
    ----------
    where
        Name of the part, for example ``" of the validation part"``.
    stops
        Whether masks that are all empty or all full are an error rather than a warning.
    """
    if not masks:
        return []
    lost = [mask.name for mask in masks if mask.vanishes]
    empty = [mask.name for mask in masks if mask.is_empty and not mask.vanishes]
    full = [mask.name for mask in masks if mask.is_full]
    setting = "" if threshold is None else f", with the mask threshold {threshold:g}"
    advice = f"{_EXPORT}" + ("." if threshold is None else ", or choose another threshold.")
    if len(empty) == len(masks):
        text = f"Every mask{where} is empty ({len(masks)}{setting}): {name_some(empty)}. {advice}"
        return [Finding(text, stops)]
    if len(full) == len(masks):
        text = f"Every mask{where} is full ({len(masks)}{setting}): {name_some(full)}. {advice}"
        return [Finding(text, stops)]
    empty_or_full = _vanishing(lost, len(masks), where, stops and len(lost + empty) == len(masks))
    if empty:
        count = f"{len(empty)} of {len(masks)} masks"
        empty_or_full.append(Finding(f"{count}{where} are empty{setting}: {name_some(empty)}."))
    if full:
        count = f"{len(full)} of {len(masks)} masks"
        empty_or_full.append(
            Finding(f"{count}{where} are full{setting}: {name_some(full)}. {advice}")
        )
    return [*empty_or_full, *_missing_classes(masks, classes, where), *_inverted(masks, where)]


def _vanishing(lost: Sequence[str], count: int, where: str, stops: bool) -> list[Finding]:
    if not lost:
        return []
    return [
        Finding(
            f"{len(lost)} of {count} masks{where} are empty at the size of training, because "
            f"their objects are too small for it: {name_some(lost)}. Raise data.size (of a "
            "promptable model data.resolution), or crop the images around the objects.",
            stops,
        )
    ]


def _missing_classes(
    masks: Sequence[MaskFacts], classes: Sequence[str], where: str
) -> list[Finding]:
    missing = [
        name
        for number, name in enumerate(classes)
        if len(classes) > 1 and not any(mask.shares[number] for mask in masks)
    ]
    if not missing:
        return []
    return [
        Finding(
            f"No mask{where} has a pixel of the class{'es' if len(missing) > 1 else ''} "
            f"{name_some(missing)}. Check the numbers in the masks, or remove the class "
            "(model.classes)."
        )
    ]


def _inverted(masks: Sequence[MaskFacts], where: str) -> list[Finding]:
    drawn = [mask for mask in masks if not mask.is_empty and not mask.is_full]
    if not drawn:
        return []
    mean = sum(mask.foreground for mask in drawn) / len(drawn)
    around = sum(mask.corners >= _CORNERS for mask in drawn) / len(drawn)
    if mean <= MOSTLY and around <= MOSTLY:
        some = [m.name for m in drawn if m.foreground > MOSTLY and m.corners >= _CORNERS]
        if not some:
            return []
        return [
            Finding(
                f"{len(some)} of {len(masks)} masks{where} are mostly foreground and reach three "
                f"corners of the image or more: {name_some(some)}. If they are inverted, export "
                "them again: 0 must be the background."
            )
        ]
    return [
        Finding(
            f"The masks{where} are mostly foreground ({mean:.0%} of the pixels; {around:.0%} of "
            "the masks reach three corners of the image or more). If this is not intended, they "
            "are inverted: 0 must be the background."
        )
    ]


def size_findings(sizes: Sequence[tuple[int, int]]) -> list[Finding]:
    """Return a finding if the image sizes ``(H, W)`` differ strongly."""
    longest = [max(size) for size in sizes]
    if not longest or max(longest) <= WILD * min(longest):
        return []
    small, large = (min(sizes, key=max), max(sizes, key=max))
    return [
        Finding(
            f"The images differ strongly in size: from {small[0]} x {small[1]} to {large[0]} x "
            f"{large[1]} pixels. Whole images are resized to one size, so similar objects will "
            "differ as much; crop or resample them if this is not intended."
        )
    ]


def copy_findings(groups: Sequence[tuple[str, ...]]) -> list[Finding]:
    """Return findings for images that are in two parts, or twice in one.

    `groups` lists images as ``part: name``, or as ``name`` if there is one part.
    """
    across = [group for group in groups if len({_part(name) for name in group}) > 1]
    within = [group for group in groups if group not in across]
    duplicates = []
    if across:
        duplicates.append(
            Finding(
                f"{len(across)} images are in two parts, which inflates the scores on val and "
                f"test: {_listed(across)}. Remove the copies, or keep them together with "
                "--group-file."
            )
        )
    if within:
        duplicates.append(Finding(f"{len(within)} images occur more than once: {_listed(within)}."))
    return duplicates


def _part(name: str) -> str:
    part = name.partition(": ")[0]
    return part if part in PARTS else ""


def _listed(groups: Iterable[tuple[str, ...]]) -> str:
    return name_some(" = ".join(group) for group in groups)


def log_findings(findings: Sequence[Finding]) -> None:
    """Log findings as warnings; raise `DatasetError` if the data are unusable."""
    for finding in findings:
        if finding.stops:
            raise DatasetError(finding.text)
    for finding in findings:
        logger.warning("%s", finding.text)
