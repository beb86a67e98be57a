"""Segmentation by latent flow matching: every plausible mask of an image, and where they differ.

The names below are loaded when they are first used, so that importing the package is fast and does
not import PyTorch.

Examples
--------
>>> from latentfm_core import SamplingConfig, Segmenter, read_image
>>> segmenter = Segmenter.load("isic2018")
>>> samples = segmenter.sample(read_image("lesion.jpg"), SamplingConfig(n_samples=16))
>>> summary = segmenter.summarise(samples)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentfm_core.config import SamplingConfig, TilingConfig
    from latentfm_core.errors import LatentFMError
    from latentfm_core.images.open_large import open_large
    from latentfm_core.images.read import read_image
    from latentfm_core.inference.following import follow_object
    from latentfm_core.inference.segmenter import Segmenter
    from latentfm_core.inference.stack import segment_stack
    from latentfm_core.prediction.large import segment_large
    from latentfm_core.prompts import Prompt
    from latentfm_core.types import ImageInput

    __version__: str

__all__ = [
    "ImageInput",
    "LatentFMError",
    "Prompt",
    "SamplingConfig",
    "Segmenter",
    "TilingConfig",
    "__version__",
    "follow_object",
    "open_large",
    "read_image",
    "segment_large",
    "segment_stack",
]

_MODULES = {
    "ImageInput": "types",
    "LatentFMError": "errors",
    "Prompt": "prompts",
    "SamplingConfig": "config",
    "Segmenter": "inference.segmenter",
    "TilingConfig": "config",
    "follow_object": "inference.following",
    "open_large": "images.open_large",
    "read_image": "images.read",
    "segment_large": "prediction.large",
    "segment_stack": "inference.stack",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name == "__version__":
        value: Any = _version()
    elif name in _MODULES:
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("napari-latentfm")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
