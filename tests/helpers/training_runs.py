"""Small trainings, in the test process or in a separate one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from latentfm_core.config import Config, load_config, with_overrides
from tests.helpers.fixtures import SMALL_NETWORK, Folders
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


class StopAfter:
    """Requests a stop after a number of calls."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def words(folders: Folders, out: Path, *more: object) -> list[str]:
    """Return the arguments of a run of a few seconds; the settings are next to the images."""
    config = folders[0].parent / "run.toml"
    config.write_text(TOML)
    start = ["--config", config, "--images", folders[0], "--masks", folders[1], "--out", out]
    return [str(word) for word in (*start, *more)]


def config_of(folders: Folders, out: Path, *changes: str) -> Config:
    """Return the settings of the command line `words`, with changes."""
    config = load_config(Path(words(folders, out)[1]))
    places = [f"data.images={folders[0]}", f"data.masks={folders[1]}"]
    return with_overrides(config, [*places, *changes])


def start(arguments: list[str], stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start the command in a separate process."""
    return subprocess.Popen(
        [sys.executable, "-m", "latentfm_core.cli.train", *arguments],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=environment(),
    )
