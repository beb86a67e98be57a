"""Plausibility checks of how the files of a data set store their pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from latentfm_core.datasets.plausibility import MOSTLY, Finding
from latentfm_core.datasets.raters import rater_warnings
from latentfm_core.datasets.stored import TURNS, StoredPair
from latentfm_core.images.mask_coding import USUAL, WHITE
from latentfm_core.images.mask_levels import KEEP
from latentfm_core.images.mask_rims import SMOOTHED
from latentfm_core.images.threshold_advice import INSTANCES
from latentfm_core.names import counted, name_some

_END = 0.01
"""Share of the grey levels at either end where a threshold separates nothing."""
_SMOOTHED_MASKS = 3
"""Minimum number of smoothed masks that are an error instead of a warning."""
_QUARTER_TURNS = (5, 6, 7, 8)


def stored_findings(stored: Sequence[StoredPair], where: str = "") -> list[Finding]:
    """Return the findings about how the files of a folder or set store their pixels, and raters.

    For the parameters see `coding_findings`.
    """
    raters = [Finding(text, names_classes=True) for text in rater_warnings(stored, where)]
    return [
        *pixel_findings(stored, where),
        *coding_findings(stored, where),
        *scale_findings(stored, where),
        *orientation_findings(stored),
        *rim_findings(stored, where),
        *number_findings(stored, where),
        *outline_findings(stored, where),
        *raters,
    ]


def pixel_findings(stored: Sequence[StoredPair], where: str = "") -> list[Finding]:
    """Return a finding if some images have 8 bits, whose levels are fixed, and others more.

    Floating-point numbers are mostly such levels from 0 to 1.
    """
    images: dict[str, list[str]] = defaultdict(list)
    for pair in stored:
        if "int" in pair.pixels:
            images[pair.pixels].append(pair.name)
    if "uint8" not in images or len(images) < 2:
        return []
    listed = "; ".join(
        f"{kind} in {len(names)} ({name_some(names, 3)})" for kind, names in images.items()
    )
    return [
        Finding(
            f"The images{where} have different types of pixels: {listed}. Levels of 8 bits (uint8) "
            "are used as they are, and others are scaled by the darkest and brightest pixels of "
            "their image, so that equal objects may differ in brightness. Save all of them in one "
            "type."
        )
    ]


def orientation_findings(stored: Iterable[StoredPair]) -> list[Finding]:
    """Return a finding for each orientation that masks lack.

    A mask of the right size without an orientation fits an image that a quarter turn has changed
    from wide to tall: sizes would differ otherwise.
    """
    differ: dict[int, list[str]] = defaultdict(list)
    for pair in stored:
        turned = pair.orientation in _QUARTER_TURNS and not pair.square
        if any(
            mask != pair.orientation and not (turned and mask == 1)
            for mask in pair.mask_orientations
        ):
            differ[pair.orientation].append(pair.name)
    return [
        Finding(
            f"{counted(len(names), 'image was', 'images were')} {TURNS[orientation]}, as the "
            f"metadata (EXIF) say, and the masks were not: {name_some(names)}. This is "
            "right if the masks were drawn on the images as a viewer shows them. If a program "
            "that ignores the metadata was used (many do), image and mask do not match: compare "
            "one of them in an image viewer."
            if orientation != 1
            else f"{counted(len(names), 'mask was', 'masks were')} rotated as the metadata (EXIF) "
            f"say, and the images were not: {name_some(names)}. Compare one of "
            "them with its image in a viewer."
        )
        for orientation, names in sorted(differ.items())
    ]


def rim_findings(stored: Sequence[StoredPair], where: str = "") -> list[Finding]:
    """Return a finding if numbers have rims of other numbers, as smooth resizing leaves them.

    Several masks with rims of many numbers are an error. For the parameters see `coding_findings`.
    """
    soft = [pair.name for pair in stored if SMOOTHED in pair.rims]
    names = [pair.name for pair in stored if any(pair.rims)]
    if not names:
        return []
    text = (
        f"The numbers in {counted(len(names), 'mask')}{where} have rims of other numbers, one "
        f"pixel wide and between a lower and a higher number: {name_some(names)}. Smooth resizing "
        "leaves such rims, and each would count as another class or object. Export the masks "
        "again without smoothing, or resize them with nearest-neighbour interpolation."
    )
    if len(soft) >= _SMOOTHED_MASKS:
        return [Finding(f"{text} If all numbers are intended, set {KEEP}.", stops=True)]
    return [Finding(f"{text} Thin borders that were drawn as a class are correct.")]


def number_findings(stored: Sequence[StoredPair], where: str = "") -> list[Finding]:
    """Return a finding if most masks of numbered objects number several pieces as one object.

    For the parameters see `coding_findings`.
    """
    drawn = merged = 0
    names = []
    for pair in stored:
        found = [(o, p) for o, p in zip(pair.objects, pair.pieces, strict=False) if o]
        united = sum(objects == 1 < pieces for objects, pieces in found)
        drawn, merged = drawn + len(found), merged + united
        names += [pair.name] * bool(united)
    if merged <= MOSTLY * drawn:
        return []
    return [
        Finding(
            f"{merged} of {counted(drawn, 'mask')}{where} with numbered objects have one number "
            f"for several pieces: {name_some(names)}. All pieces of an image count as one object, "
            "and a prompt is for all of them. If these are black-and-white masks, number the "
            'objects, or choose kind = "masks" (--mask-kind masks).'
        )
    ]


def outline_findings(stored: Sequence[StoredPair], where: str = "") -> list[Finding]:
    """Return a finding if most masks that are not empty seem to be outlines.

    For the parameters see `coding_findings`.
    """
    drawn = sum(map(bool, (count for pair in stored for count in pair.objects)))
    outlined = sum(sum(pair.outlined) for pair in stored)
    if outlined <= MOSTLY * drawn:
        return []
    names = name_some(pair.name for pair in stored if any(pair.outlined))
    return [
        Finding(
            f"{outlined} of {drawn} masks{where} look like outlines, thin lines around areas that "
            f"are not filled: {names}. Only the pixels of the lines count as foreground. Fill the "
            "outlines, unless the lines are the objects."
        )
    ]


def coding_findings(stored: Sequence[StoredPair], where: str = "") -> list[Finding]:
    """Return a finding if the masks of a folder mark their foreground in different ways.

    Each mask alone is binary, but a value or colour that differs between masks may be a class.

    Parameters
    ----------
    where
        Name of the folder or set, for example ``" of the set polyps"``.
    """
    masks: dict[str, list[str]] = defaultdict(list)
    for pair in stored:
        for coding in filter(None, pair.codings):
            masks[coding].append(pair.name)
    if len(masks) < 2:
        return []
    listed = "; ".join(
        f"{coding} in {len(names)} ({name_some(names)})"
        for coding, names in sorted(masks.items(), key=lambda item: (-len(item[1]), item[0]))
    )
    asked = any(pair.threshold is not None for pair in stored)
    stops = not asked and not masks.keys() <= USUAL
    text = f"The masks{where} do not mark their foreground in the same way: {listed}."
    if stops:
        text += (
            " A value or colour that only some masks have may be a separate class or object, and "
            "would be merged with the others. If all of them are foreground, set --mask-threshold "
            "0.5 (data.mask_threshold). To keep classes separate, name them in training: --set "
            f"model.classes=NAME,NAME. {INSTANCES}"
        )
    else:
        text += (
            " All of these values are read as foreground. Check that they mean the same: 1 may be "
            f"a class, and {WHITE} may mark pixels to ignore."
        )
    return [Finding(text, stops, names_classes=stops)]


def scale_findings(stored: Sequence[StoredPair], where: str = "") -> list[Finding]:
    """Return a finding if a threshold does not fit the grey levels of all masks of a folder.

    For the parameters see `coding_findings`.
    """
    names: dict[float, list[str]] = defaultdict(list)
    thresholds = [pair.threshold for pair in stored if pair.threshold is not None]
    for pair in stored:
        for scale in filter(None, pair.scales):
            names[scale].append(pair.name)
    wrong = [scale for scale in names if not _END < thresholds[0] / scale < 1 - _END]
    if not wrong:
        return []
    text = (
        f"The mask threshold {thresholds[0]:g} does not fit the grey levels of "
        f"{sum(len(names[scale]) for scale in wrong)} masks{where}"
    )
    listed = "; ".join(f"0 to {scale:g} in {name_some(names[scale])}" for scale in sorted(names))
    if len(names) == 1:
        text += f" ({listed}). If background and foreground are its ends, set {wrong[0] / 2:g}."
        return [Finding(text)]
    text += (
        f": {listed}. It would fill or empty them. Save all masks with the same range of values "
        "(8 bits), or in black and white; or divide them by range into [[data.sets]], each with a "
        "separate mask_threshold."
    )
    return [Finding(text, stops=True)]
