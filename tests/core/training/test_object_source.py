"""Crops for the training of promptable models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from latentfm_core.config import DataConfig
from latentfm_core.datasets.object_set import load_objects
from latentfm_core.datasets.pairs import find_pairs
from latentfm_core.training.object_source import Crops, ObjectSource
from latentfm_core.training.step_timer import PartsClock
from tests.helpers.prompting import write_discs

SIDE = 64


def crops(folder: Path, unprompted: float) -> Crops:
    images, masks = write_discs(folder, 4, seed=3)
    data = DataConfig(
        images=images, masks=masks, size=SIDE, unprompted=unprompted, mask_threshold=0.5
    )
    objects = load_objects(find_pairs(images, masks), data)
    device = torch.device("cpu")
    index = np.arange(60) % len(objects.images)
    seeds = tuple(range(60))
    source = ObjectSource(objects, index, seeds, SIDE, PartsClock(device), device, torch.float32)
    return source.crops()


@pytest.mark.parametrize(("unprompted", "least", "most"), [(0.0, 55, 60), (0.5, 15, 45), (1, 0, 0)])
def test_the_share_of_images_without_a_prompt_follows_the_setting(
    tmp_path: Path, unprompted: float, least: int, most: int
) -> None:
    drawn = crops(tmp_path, unprompted)
    assert least <= int(drawn.prompted.sum()) <= most


def test_an_image_without_a_prompt_keeps_all_its_objects(tmp_path: Path) -> None:
    prompted, unprompted = crops(tmp_path / "a", 0.0), crops(tmp_path / "b", 1.0)
    assert unprompted.targets.mean() > 0
    assert unprompted.images.shape == prompted.images.shape == (60, 3, SIDE, SIDE)
