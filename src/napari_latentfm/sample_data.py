"""Images under File > Open Sample."""

from __future__ import annotations

from importlib import resources
from typing import Any

from latentfm_core.errors import ImageError

DEMO_FILE = "samples/dermoscopy_demo.png"


def dermoscopy_demo() -> list[tuple[Any, dict[str, Any], str]]:
    """Return the synthetic dermoscopy-like image as one RGB image layer, ``(H, W, 3)`` uint8.

    Raises
    ------
    ImageError
        If the image is missing from the installation.
    """
    from skimage.io import imread

    resource = resources.files("napari_latentfm").joinpath(DEMO_FILE)
    with resources.as_file(resource) as path:
        if not path.is_file():
            raise ImageError(
                f"The sample image {DEMO_FILE} is missing from this installation; "
                "install napari-latentfm again."
            )
        pixels = imread(path)[..., :3]
    return [(pixels, {"name": "dermoscopy demo", "rgb": True}, "image")]
