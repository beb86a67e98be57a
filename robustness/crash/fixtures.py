"""Small images, masks and settings for the victims."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from latentfm_core.config import load_config
from latentfm_core.model_io.folder import save_model
from latentfm_core.models.latentfm import LatentFM

SIDE = 64
SETTINGS = """
[data]
images = "images"
masks = "masks"
size = 64
val_fraction = 0.25
test_fraction = 0.0

[model]
vae_width = 16
condition_widths = [16, 24, 32, 32]
condition_blocks = [1, 1, 1, 1]
velocity_widths = [24, 32]
dropout = 0.1

[training]
precision = "fp32"
device = "cpu"
augmentation = "flips"
validation_images = 2
validation_samples = 2
validation_steps = 2
# A checkpoint after every step: more writes, more kills during a write.
checkpoint_minutes = 1e-6

[training.image_vae]
epochs = 2
batch_size = 4

[training.mask_vae]
epochs = 2
batch_size = 4
learning_rate = 3e-3
warmup_steps = 2

[training.flow]
epochs = 4
batch_size = 4
learning_rate = 3e-3
warmup_steps = 2
ema_decay = 0.9
validate_every = 1
"""


def write_settings(folder: Path) -> Path:
    """Write the settings of a training of a few seconds; return the file."""
    path = folder / "config.toml"
    path.write_text(SETTINGS, encoding="utf-8")
    return path


def write_images(folder: Path, count: int, shape: tuple[int, int] = (SIDE, SIDE)) -> None:
    """Write dark ellipses on a bright, noisy background, and their masks."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices(shape)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(count):
        centre = rng.uniform(0.3, 0.7, 2) * shape
        size = rng.uniform(0.15, 0.25, 2) * shape
        mask = ((rows - centre[0]) / size[0]) ** 2 + ((columns - centre[1]) / size[1]) ** 2 < 1
        image = np.where(mask[..., None], (110, 70, 50), (220, 180, 160))
        noisy = np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / "images" / f"image_{number}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"image_{number}.png")


def write_model(folder: Path) -> None:
    """Write a model of random weights; its samples are reproducible."""
    config = load_config(write_settings(folder))
    torch.manual_seed(0)
    data = config.data.model_copy(update={"images": None, "masks": None})
    card = {"id": "victim", "config": config.model_copy(update={"data": data}).to_json()}
    save_model(folder / "model", LatentFM(config.model), card)
