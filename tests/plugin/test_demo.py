"""The demo in a separate process: its window, and no network access."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imread

NO_NETWORK = """
import socket, sys

def hook(event, args):
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind"}:
        if args[0].family == getattr(socket, "AF_UNIX", None):
            return
    elif event not in {"socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"}:
        return
    sys.stderr.write(f"NETWORK {event} {args[1:]}\\n")
    raise OSError("no network here")

sys.addaudithook(hook)
try:
    socket.create_connection(("127.0.0.1", 9), timeout=1)
except OSError as error:
    assert "no network" in str(error), "the block works"
else:
    raise SystemExit("the block does not work")
sys.stderr.write("BLOCKED\\n")
"""

EVERYTHING = """
import importlib, pkgutil, runpy
import latentfm_core, napari_latentfm
for package in (latentfm_core, napari_latentfm):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
sys.argv = ["demo", "--screenshot", sys.argv[1]]
runpy.run_module("napari_latentfm.demo", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Every module, a real window with the panel, and samples from the bundled model."""
    folder = tmp_path_factory.mktemp("demo")
    picture = folder / "window.png"
    result = subprocess.run(
        [sys.executable, "-c", NO_NETWORK + EVERYTHING, str(picture)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "NAPARI_LATENTFM_HOME": str(folder)},
    )
    return picture, result


def test_import_start_and_run_use_no_network(
    demo: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    picture, result = demo
    assert result.returncode == 0, result.stderr
    output = result.stderr.partition("BLOCKED")
    assert output[1]
    assert "NETWORK" not in output[2], output[2]
    assert picture.is_file()


def test_the_demo_shows_the_bundled_model_at_work(
    demo: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """The whole demo: window, sample image, bundled model, layers, screenshot."""
    picture, result = demo
    assert result.stdout.strip().endswith(str(picture))
    pixels = imread(picture)
    assert pixels.shape[0] >= 600
    # The outline of the mean mask is drawn in a blue that neither window nor skin has.
    red, green, blue = np.moveaxis(pixels[..., :3].astype(int), -1, 0)
    assert ((blue > 200) & (green > 150) & (red < 120)).sum() > 100
