"""Private names of other packages that the project uses, each of which may disappear."""

from __future__ import annotations

import argparse
import atexit
import inspect
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tifffile
import torch
from napari.components import ViewerModel
from napari.layers import Labels, Shapes

from latentfm_core.images.tiff_codecs import ADDED

SOURCE = Path(__file__).parents[2] / "src"


USED: dict[str, tuple[Any, str]] = {
    "_codecs": (
        tifffile.TIFF.DECOMPRESSORS,
        "LZW and Zstandard TIFF files need another way than images/tiff_codecs.py to be read",
    ),
    "_foreach_lerp_": (torch, "training/ema.py and adaptation/learner.py need a loop of lerp_"),
    "_is_creating": (Shapes(), "dock/enter.py cannot tell whether Enter finishes a polygon"),
    "_paint_region_with_mask": (Labels, "layers/painting.py then sets each pixel, which is slower"),
    "_actions": (argparse.ArgumentParser(), "cli/common.py can no longer name misplaced options"),
    "_ActionsContainer": (argparse, "it is the type of a parameter in cli/data_options.py"),
    "_SubParsersAction": (argparse, "cli/common.py finds the subcommands by it"),
    "_ArgumentGroup": (argparse, "it is the type of a parameter in cli/options.py"),
    "_exit": (__import__("os"), "worker.py and cli/common.py cannot end a process at once"),
    "_run_exitfuncs": (atexit, "commands take a second longer to stop"),
}
"""Each name, what has it, and what its loss means."""
OF_OLDER = {"_canvas_size"}
"""Names in older versions of napari, which are public in newer ones."""


@pytest.mark.parametrize("name", USED)
def test_private_names_still_exist(name: str) -> None:
    owner, loss = USED[name]
    assert hasattr(owner, name), f"{owner!r} has no {name} any more: {loss}"


def test_every_private_name_is_listed() -> None:
    text = "\n".join(path.read_text("utf-8") for path in SOURCE.rglob("*.py"))
    name = r"(_[A-Za-z]\w*)"
    own = re.findall(rf"(?<![\w.\"]){name}|(?:self|cls)\.{name}", text)
    own_names = {each for pair in own for each in pair}
    found = {*re.findall(rf"[a-z)\]]\.{name}", text)}
    found |= {*re.findall(rf"attr\([^,]+, \"{name}\"", text)}
    assert not re.findall(rf"^from (?!latentfm|napari_latentfm)\S+ import .*\b{name}", text, re.M)
    assert found - own_names <= USED.keys() | OF_OLDER, "list it above, or use a public name"
    assert USED.keys() <= found, "no longer used"


def test_a_viewer_has_a_canvas_size() -> None:
    model = ViewerModel()
    assert hasattr(model, "canvas") or hasattr(model, "_canvas_size"), (
        "layers/camera.py can no longer move to a region"
    )


@pytest.mark.skipif(find_spec("imagecodecs") is not None, reason="imagecodecs has these codecs")
def test_tifffile_uses_the_added_codecs() -> None:
    for code in ADDED:
        assert callable(tifffile.TIFF.DECOMPRESSORS[code]), "tifffile no longer looks in _codecs"


def test_a_region_is_painted_with_the_arguments_of_napari() -> None:
    taken = list(inspect.signature(Labels._paint_region_with_mask).parameters)
    assert len(taken) >= 5, f"layers/painting.py gives four arguments, napari takes {taken}"
