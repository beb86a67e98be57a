"""Endings of image files, and the name of an image without its ending."""

from __future__ import annotations

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
IMAGE_SUFFIXES = TIFF_SUFFIXES | {
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".gif",
    ".webp",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".jp2",
    ".tga",
}
"""Image file suffixes (lower case)."""
_OTHERS = frozenset(
    {".nii.gz", ".nii", ".dcm", ".mha", ".mhd", ".nrrd", ".npy", ".zarr"}  # volumes
    | {".svs", ".ndpi", ".scn", ".bif", ".qptiff", ".lsm", ".stk", ".btf", ".tf8"}  # microscopes
    | {".czi", ".lif", ".nd2", ".ims", ".vsi", ".mrxs", ".oib", ".oif"}
    | {".jfif", ".jpe", ".j2k", ".dib", ".apng", ".avif", ".ico", ".pcx", ".heic", ".psd"}
)
"""Endings of other images, in lists of images or given as single files."""
_LONGEST_FIRST = sorted(IMAGE_SUFFIXES | _OTHERS, key=len, reverse=True)


def image_name(file_name: str) -> str:
    """Return the name of an image: its file name without the ending of an image.

    What follows the dot of any other name belongs to it.

    Examples
    --------
    >>> image_name("scan.1"), image_name("scan.1.PNG"), image_name("a.b.nii.gz")
    ('scan.1', 'scan.1', 'a.b')
    """
    lower = file_name.lower()
    for ending in _LONGEST_FIRST:
        if lower.endswith(ending) and len(file_name) > len(ending):
            return file_name[: -len(ending)]
    return file_name
