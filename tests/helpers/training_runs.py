"""Small trainings as a user starts them, in this process or in one of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.helpers.fixtures import SMALL_NETWORK
from tests.helpers.processes import environment

TOML = (
    """
[data]
size = 64
val_fraction = 0.25
test_fraction = 0.25
"""
    + SMALL_NETWORK
    + """[training]
device = "cpu"
precision = "fp32"
augmentation = "none"
validation_images = 1
validation_samples = 1
validation_steps = 1
image_vae = {epochs = 1, batch_size = 4}
mask_vae = {epochs = 1, batch_size = 4}
flow = {epochs = 2, batch_size = 4, validate_every = 1}
"""
)


def words(folders: tuple[Path, Path], out: Path, *more: object) -> list[str]:
    """Return the arguments of a run of seconds; the settings lie beside the images."""
    config = folders[0].parent / "run.toml"
    config.write_text(TOML)
    start = ["--config", config, "--images", folders[0], "--masks", folders[1], "--out", out]
    return [str(word) for word in (*start, *more)]


def start(arguments: list[str], stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "latentfm_core.cli.train", *arguments],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=environment(),
    )
