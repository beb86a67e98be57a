"""Plausibility checks of a data set."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from latentfm_core.datasets.facts import MaskFacts
from latentfm_core.errors import DatasetError
from latentfm_core.names import counted, name_some
from latentfm_core.vocabulary import PARTS

logger = logging.getLogger(__name__)

MOSTLY = 0.5
"""Minimum mean share of foreground for masks that may be inverted."""
WILD = 5.0
"""Minimum ratio of the longest to the shortest image for a warning about sizes."""
_CORNERS = 3
_SAME = 3
"""Images with one mask from which on it is named."""
_COPIES_SHOWN = 3
"""Copies of one image that a message names."""
_FEW = 10
"""Masks from which on their mean share of foreground alone may show that they are inverted."""
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
    names_classes
        Whether one solution is to name other classes.
    """

    text: str
    stops: bool = False
    names_classes: bool = False


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
        count = f"{len(empty)} of {len(masks)} masks{where}"
        empty_or_full.append(Finding(f"{count} {_are(empty)} empty{setting}: {name_some(empty)}."))
    if full:
        count = f"{len(full)} of {len(masks)} masks{where}"
        empty_or_full.append(
            Finding(f"{count} {_are(full)} full{setting}: {name_some(full)}. {advice}")
        )
    return [
        *empty_or_full,
        *_missing_classes(masks, classes, where),
        *_inverted(masks, where),
        *_equal(masks, where),
    ]


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _vanishing(lost: Sequence[str], count: int, where: str, stops: bool) -> list[Finding]:
    if not lost:
        return []
    return [
        Finding(
            f"{len(lost)} of {count} masks{where} {_are(lost)} empty at the size of training, "
            f"because their objects are too small for it: {name_some(lost)}. Raise data.size "
            "(data.resolution for a promptable model), or crop the images around the objects.",
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
            "(model.classes).",
            names_classes=True,
        )
    ]


def _equal(masks: Sequence[MaskFacts], where: str) -> list[Finding]:
    """Return a finding for each mask that several images have."""
    images: dict[bytes, set[str]] = defaultdict(set)
    for mask in masks:
        if mask.digest and not (mask.is_empty or mask.is_full):
            images[mask.digest].add(mask.name)
    return [
        Finding(
            f"{len(names)} images{where} have the same mask: {name_some(names)}. {_EXPORT}, unless "
            "these are copies of one image."
        )
        for names in images.values()
        if len(names) >= _SAME
    ]


def _inverted(masks: Sequence[MaskFacts], where: str) -> list[Finding]:
    drawn = [mask for mask in masks if not mask.is_empty and not mask.is_full]
    if not drawn:
        return []
    mean = sum(mask.foreground for mask in drawn) / len(drawn)
    around = sum(mask.corners >= _CORNERS for mask in drawn) / len(drawn)
    large = mean > MOSTLY and (len(drawn) >= _FEW or around > 0)
    if not large and around <= MOSTLY:
        some = [m.name for m in drawn if m.foreground > MOSTLY and m.corners >= _CORNERS]
        if not some:
            return []
        return [
            Finding(
                f"{len(some)} of {len(masks)} masks{where} {_are(some)} mostly foreground and "
                f"{'reaches' if len(some) == 1 else 'reach'} three corners of the image or more: "
                f"{name_some(some)}. If they are inverted, export "
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


def group_findings(groups: Mapping[str, str], column: str) -> list[Finding]:
    """Return a finding if no two images have the same group, which is in a `column`."""
    if len(groups) < 2 or len(set(groups.values())) < len(groups):
        return []
    return [
        Finding(
            f"Each of the {len(groups)} images is its own group: the column {column} keeps no "
            "images together. Check that it is the right one (--group-column)."
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
                f"{counted(len(across), 'image is', 'images are')} in two parts, which inflates "
                f"the scores on val and test: {_listed(across)}. Remove the copies, or keep them "
                "together with --group-file."
            )
        )
    if within:
        count = counted(len(within), "image occurs", "images occur")
        duplicates.append(Finding(f"{count} more than once: {_listed(within)}."))
    return duplicates


def _part(name: str) -> str:
    part = name.partition(": ")[0]
    return part if part in PARTS else ""


def _listed(groups: Sequence[tuple[str, ...]]) -> str:
    shown = (" = ".join(group[:_COPIES_SHOWN]) for group in groups)
    return name_some(
        f"{text} and {len(group) - _COPIES_SHOWN} more" if len(group) > _COPIES_SHOWN else text
        for text, group in zip(shown, groups, strict=True)
    )


def log_findings(findings: Sequence[Finding]) -> None:
    """Log findings as warnings; raise `DatasetError` if the data are unusable."""
    for finding in findings:
        if finding.stops:
            raise DatasetError(finding.text)
    for finding in findings:
        logger.warning("%s", finding.text)
