"""The public names of `latentfm_core`: all there, and loaded only when they are used."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import tifffile

import latentfm_core
from latentfm_core.images.tiff_stack import TiffStack
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


def test_files_may_be_named_by_text(tmp_path: Path) -> None:
    """As NumPy, tifffile and scikit-image allow."""
    planes = np.arange(2 * 40 * 50, dtype=np.uint16).reshape(2, 40, 50)
    tifffile.imwrite(tmp_path / "plane.tif", planes[0])
    tifffile.imwrite(tmp_path / "stack.tif", planes, metadata={"axes": "ZYX"})
    plane = latentfm_core.read_image(str(tmp_path / "plane.tif"))
    assert plane.name == "plane"
    np.testing.assert_array_equal(plane.pixels, planes[0])
    with latentfm_core.open_large(str(tmp_path / "plane.tif")) as large:
        assert large.shape == (40, 50)
    with TiffStack(str(tmp_path / "stack.tif")) as stack:
        np.testing.assert_array_equal(stack.read(1).pixels, planes[1])
