"""Names of tensors in files of older versions."""

from __future__ import annotations

import pytest
import torch

from latentfm_core.config import ModelConfig
from latentfm_core.models.latentfm import LatentFM
from latentfm_core.models.tensor_names import current_name


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("velocity.time.layers.0.weight", "velocity.time_embedding.layers.0.weight"),
        ("fast.step.layers.2.bias", "few_step_velocity.step_embedding.layers.2.bias"),
        ("fast.project.0.2.weight", "few_step_velocity.condition_proj.0.2.weight"),
        ("velocity.raise_.1.bias", "velocity.upsample.1.bias"),
        ("velocity.down.0.blocks.0.conv1.weight", "velocity.down.0.blocks.0.conv1.weight"),
        ("encoder.encoder.stages.1.0.project.weight", "encoder.encoder.stages.1.0.project.weight"),
    ],
)
def test_names_of_format_1_are_translated(old: str, new: str) -> None:
    assert current_name(old) == new


@pytest.mark.parametrize("condition", ["frozen", "multiscale", "pretrained"])
def test_current_names_are_unchanged(condition: str) -> None:
    prompts = condition == "pretrained"
    config = ModelConfig(condition=condition, prompts=prompts, distilled_steps=2)
    with torch.device("meta"):
        names = LatentFM(config).state_dict()
    assert [current_name(name) for name in names] == list(names)
