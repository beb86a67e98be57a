"""Colour tables of mask files: which colours mean background and foreground."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from latentfm_core.errors import ClassesError, ImageError
from latentfm_core.images.decoded import Decoded
from latentfm_core.images.intensity import VALUES_SHOWN, different_values, listed
from latentfm_core.images.threshold_advice import ignore_advice
from latentfm_core.names import counted, shown
from latentfm_core.types import Bool

_RAMP = 16
"""Minimum number of levels of an inverted grey table, such as ImageJ's."""


def coloured_indices(path: Path, decoded: Decoded) -> NDArray[np.intp] | None:
    """Return the used indices of a colour table with colours; None if it contains grey levels.

    Raises
    ------
    ImageError
        If the table inverts grey levels, or transparency marks the background.
    """
    if decoded.indices is None or decoded.palette is None or not decoded.indices.size:
        return None
    table = decoded.palette
    used = different_values(decoded.indices).astype(np.intp)
    colours = table[used]
    clear = colours[:, 3] < 255 if colours.shape[1] == 4 else np.zeros(len(used), bool)
    if bool((clear & colours[:, :3].any(axis=1)).any()):
        reject_transparent(path)
    is_grey = bool((colours[:, :3] == colours[:, :1]).all())
    if is_grey:
        _reject_hidden(path, used, colours)
    if is_grey and _runs_backwards(table):
        raise ImageError(
            f"{shown(path)}: its lookup table is inverted (0 is shown as white), so it is "
            "unclear whether black or white is the foreground. In ImageJ choose Image > Lookup "
            "Tables > Grays, check that the foreground is white, and save it again."
        )
    return None if is_grey else used


def foreground_by_colour(path: Path, decoded: Decoded, used: NDArray[np.intp]) -> Bool:
    """Return where an image with a colour table is not black."""
    if decoded.indices is None or decoded.palette is None:
        raise TypeError("a file without a colour table")
    colours = decoded.palette[used, :3]
    _reject_hidden(path, used, colours)
    black = ~colours.any(axis=1)
    others = np.unique(colours[~black], axis=0)
    # One colour only: the table has black as index 0, which the image does not use.
    full = not black.any() and not decoded.palette[0, :3].any()
    named = ", ".join(_colour(each) for each in colours[:VALUES_SHOWN])
    if not black.any() and not full:
        raise ImageError(
            f"{shown(path)}: the mask has no black among its colours ({named}), so its background "
            "is unclear. Save it in grey, 0 for background and 255 for foreground."
        )
    if len(others) > 1:
        raise ClassesError(
            f"{shown(path)}: the mask is not binary; its colours are {named}. If each is a class, "
            "name the classes in training: --set model.classes=NAME,NAME; if all of them are "
            f"foreground, save the mask in black and white. {ignore_advice(used)}".rstrip()
        )
    foreground = np.asarray(decoded.palette[:, :3].any(axis=1), dtype=np.bool_)
    return np.asarray(foreground[decoded.indices], dtype=np.bool_)


def check_numbered(path: Path, palette: NDArray[np.uint8]) -> None:
    """Raise `ImageError` if index 0 of a colour table is not black, as the background is."""
    if palette[0, :3].any():
        raise ImageError(
            f"{shown(path)}: index 0 of its colour table is {_colour(palette[0])}, not black. The "
            "writing program chose the order of the colours, so the indices are not class "
            "numbers. Save the mask as grey levels 0, 1, 2, ... without a colour table."
        )


def reject_merged(path: Path, decoded: Decoded) -> None:
    """Reject numbers that a table of grey levels shows alike, which would merge objects."""
    if decoded.indices is None or decoded.palette is None:
        return
    used = different_values(decoded.indices)
    levels = np.unique(decoded.palette[used, 0])
    if len(levels) < len(used):
        raise ImageError(
            f"{shown(path)}: its {len(used)} values have only "
            f"{counted(len(levels), 'grey level')} in its colour table, so objects would merge. "
            "Save the mask as grey levels without a colour table."
        )


def reject_inverted(path: Path) -> NoReturn:
    """Reject a mask of unclear background because 0 is shown as white."""
    raise ImageError(
        f"{shown(path)}: 0 is shown as white (PhotometricInterpretation), so it is unclear "
        "whether black or white is the foreground. Save it so that 0 is black and the foreground "
        "white, as PNG for example."
    )


def reject_transparent(path: Path) -> NoReturn:
    """Reject a mask with transparent foreground."""
    raise ImageError(
        f"{shown(path)}: the mask has transparent pixels that are not black, so its "
        "foreground is unclear. Save it as a grey image without transparency."
    )


def _reject_hidden(path: Path, used: NDArray[np.intp], colours: NDArray[np.uint8]) -> None:
    """Reject a colour table that shows several of the used values as black."""
    black = used[~colours[:, :3].any(axis=1)]
    if len(black) > 1:
        raise ImageError(
            f"{shown(path)}: {len(black)} of its values ({listed(black)}) are black in its colour "
            "table, so objects may be invisible. Save the mask as grey levels without a colour "
            "table."
        )


def _runs_backwards(table: NDArray[np.uint8]) -> bool:
    grey = table[:, 0].astype(int)
    levels = len(np.unique(grey))
    down = bool((np.diff(grey) <= 0).all()) and bool((table[:, :3] == table[:, :1]).all())
    return down and levels >= _RAMP


def _colour(colour: NDArray[np.uint8]) -> str:
    return f"({', '.join(str(int(value)) for value in colour[:3])})"
