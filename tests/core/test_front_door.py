"""The public names of `latentfm_core`: all there, and loaded only when they are used."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import latentfm_core
from latentfm_core.inference.segmenter import Segmenter

LOADED = """
import sys
import latentfm_core
print("torch" in sys.modules, "numpy" in sys.modules)
latentfm_core.SamplingConfig, latentfm_core.LatentFMError, latentfm_core.__version__
latentfm_core.read_image, latentfm_core.open_large
print("torch" in sys.modules)
latentfm_core.Segmenter
print("torch" in sys.modules)
"""


@pytest.mark.parametrize("name", latentfm_core.__all__)
def test_public_names_are_available(name: str) -> None:
    assert getattr(latentfm_core, name)
    assert name in dir(latentfm_core)


def test_public_names_are_those_of_their_modules() -> None:
    assert latentfm_core.Segmenter is Segmenter
    assert latentfm_core.__version__ == version("napari-latentfm")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'segmenter_of_dreams'"):
        latentfm_core.segmenter_of_dreams  # noqa: B018
    with pytest.raises(ImportError):
        from latentfm_core import segmenter_of_dreams  # noqa: F401


def test_torch_is_imported_only_with_the_names_that_need_it() -> None:
    words = [sys.executable, "-c", LOADED]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False", "False", "True"], done.stderr
