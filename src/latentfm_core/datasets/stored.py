"""How the files of an image and its masks store their pixels."""

from __future__ import annotations

from dataclasses import dataclass

TURNS = {
    2: "mirrored left to right",
    3: "rotated by 180 degrees",
    4: "mirrored top to bottom",
    5: "rotated and mirrored",
    6: "rotated by 90 degrees clockwise",
    7: "rotated and mirrored",
    8: "rotated by 90 degrees counterclockwise",
}
"""What applying an EXIF or TIFF orientation does to the stored pixels."""


@dataclass(frozen=True)
class Agreement:
    """How the masks of two raters of an image overlap; neither is empty.

    Attributes
    ----------
    sizes
        Foreground pixels of each.
    shared
        Foreground pixels of both.
    """

    first: str
    second: str
    sizes: tuple[int, int]
    shared: int

    @property
    def dice(self) -> float:
        """Dice of the two masks."""
        return 2 * self.shared / sum(self.sizes)


@dataclass(frozen=True)
class StoredPair:
    """How the files of an image and its masks store their pixels, and who drew the masks.

    Attributes
    ----------
    orientation
        EXIF or TIFF orientation (1 to 8) that was applied to the image.
    mask_orientations
        The same of each mask; that of the image for a mask whose provenance says that it was drawn
        on the image as it is read.
    codings
        How each binary mask marks its foreground, as `foreground_coding` names it; empty where
        unknown.
    signature
        `latentfm_core.images.signature.image_signature` of the image as it is read.
    raters
        Subfolder of each mask, which counts as a rater; empty if masks are not in subfolders.
    agreements
        How the masks of these raters overlap, two by two.
    threshold
        Threshold that was applied to grey levels, if any.
    scales
        For each mask to whose grey levels it was applied the highest value of their scale (1, 255,
        4095, 65535), or 0.
    objects
        Objects in each mask: those that it numbers, or connected pieces of its foreground.
    rims
        `latentfm_core.images.mask_rims.rim_grade` of each mask of numbers.
    outlined
        Whether each mask seems to be an outline that encloses an unfilled area.
    pixels
        Data type of the image.
    pieces
        Connected pieces of the foreground of each mask of numbered objects; empty for other masks.
    """

    name: str
    orientation: int = 1
    mask_orientations: tuple[int, ...] = ()
    codings: tuple[str, ...] = ()
    threshold: float | None = None
    scales: tuple[float, ...] = ()
    objects: tuple[int, ...] = ()
    square: bool = False
    signature: str = ""
    raters: tuple[str, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    rims: tuple[int, ...] = ()
    pieces: tuple[int, ...] = ()
    outlined: tuple[bool, ...] = ()
    pixels: str = ""
