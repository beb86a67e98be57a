"""Crops for the training of promptable models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from latentfm_core.config import DataConfig, config_from_mapping
from latentfm_core.datasets.object_set import ObjectSet, TrainingImage, load_objects
from latentfm_core.datasets.pairs import find_pairs
from latentfm_core.errors import Cancelled
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.measures.size import count_pieces
from latentfm_core.prompts.annotator import largest_object
from latentfm_core.prompts.maps import BOX, NEGATIVE, POSITIVE, ROUGH_MASK
from latentfm_core.training.distributed import ProcessGroup
from latentfm_core.training.object_source import Crops, ObjectSource, _one_piece, draw_crop
from latentfm_core.training.prompt_simulation import simulate_prompt
from latentfm_core.training.step_timer import StepTimer
from latentfm_core.training.validate_prompts import validate_prompts
from tests.helpers.prompting import disc_settings, two_discs, write_discs
from tests.helpers.training_runs import StopAfter

SIDE = 64


def objects_of(folder: Path, unprompted: float = 0.0) -> ObjectSet:
    images, masks = write_discs(folder, 4, seed=3)
    data = DataConfig(
        images=images, masks=masks, size=SIDE, unprompted=unprompted, mask_threshold=0.5
    )
    return load_objects(find_pairs(images, masks), data)


def crops(folder: Path, unprompted: float) -> Crops:
    objects = objects_of(folder, unprompted)
    device = torch.device("cpu")
    index = np.arange(60) % len(objects.images)
    seeds = tuple(range(60))
    source = ObjectSource(objects, index, seeds, SIDE, StepTimer(device), device, torch.float32)
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


def test_some_rough_masks_on_background_have_an_empty_target(tmp_path: Path) -> None:
    item = objects_of(tmp_path).images[0]
    drawn = [draw_crop(item, SIDE, np.random.default_rng(seed), 0.0) for seed in range(400)]
    gone = [crop for crop in drawn if crop.prompted and not crop.target.any()]
    assert 4 <= len(gone) <= 40
    assert all(crop.shown.any() for crop in gone)


def test_an_absent_object_in_a_strip_has_a_pixel() -> None:
    mask = np.zeros((1, 5, 512), np.uint8)
    mask[0, 1:4, 40:66] = 1
    item = TrainingImage("strip", np.zeros((5, 512, 3), np.uint8), mask)
    for seed in range(400):
        crop = draw_crop(item, SIDE, np.random.default_rng(seed), 0.0)
        assert crop.image.isfinite().all()


def test_an_absent_object_has_its_rough_mask_as_the_only_prompt() -> None:
    shown = np.zeros((SIDE, SIDE), bool)
    shown[4:12, 6:14] = True
    for seed in range(20):
        maps = simulate_prompt(shown, np.random.default_rng(seed), absent=True)
        assert maps[ROUGH_MASK].max() == 1
        assert not maps[[BOX, POSITIVE, NEGATIVE]].any()


def test_validation_compares_each_numbered_object_with_its_mask(
    promptable: Segmenter, tmp_path: Path
) -> None:
    image, labels = two_discs(np.random.default_rng(3))
    config = config_from_mapping(disc_settings(tmp_path, tmp_path))

    def validated(raters: int, should_stop: Callable[[], bool]) -> dict[str, float]:
        masks = np.stack([labels.astype(np.uint16)] * raters)
        item = TrainingImage("discs", image, masks, "instances")
        data = ObjectSet((item,), np.ones(1), {}, 0.0)
        processes = ProcessGroup(torch.device("cpu"))
        picture = tmp_path / "p.png"
        return validate_prompts(promptable.model, config, data, processes, picture, should_stop)

    two, one = (validated(raters, lambda: False)["val_dice"] for raters in (2, 1))
    assert two == one > 0.8
    with pytest.raises(Cancelled):  # within its only image
        validated(1, StopAfter(1))


def test_training_and_counting_define_objects_alike() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:15, 5:15] = mask[15:25, 15:25] = True
    assert count_pieces(mask) == 1
    for seed in range(4):
        np.testing.assert_array_equal(_one_piece(mask, np.random.default_rng(seed)), mask)
    np.testing.assert_array_equal(largest_object(mask), mask)
    mask[30:38, 30:38] = True
    chosen = [_one_piece(mask, np.random.default_rng(seed)).sum() for seed in range(20)]
    assert set(chosen) == {200, 64}
