"""Warnings about settings without effect in a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from latentfm_core.cli.train import main
from latentfm_core.config import Config, with_overrides
from latentfm_core.training.plan import plan_findings
from tests.helpers.commands import Printed
from tests.helpers.fixtures import write_blobs
from tests.helpers.training_runs import words

IMAGES = 32
"""Two steps in each epoch of the default batch size."""


def texts(*overrides: str, images: int = IMAGES, validated: bool = True) -> list[str]:
    found = plan_findings(with_overrides(Config(), overrides), images, validated=validated)
    return [finding.text for finding in found]


def test_defaults_cause_no_warning() -> None:
    assert texts(images=3) == []


@pytest.mark.parametrize(
    ("overrides", "says", "corrected"),
    [
        (
            ["training.flow.warmup_steps=500"],
            "flow.warmup_steps is 500, but the stage has 120 steps; the rate rises over 6",
            ["training.flow.warmup_steps=6"],
        ),
        (
            ["training.mask_vae.warmup_steps=25"],
            "mask_vae.warmup_steps is 25, but the stage has 24 steps",
            ["training.mask_vae.warmup_steps=4"],
        ),
        (
            ["training.flow.batch_size=64"],
            "flow.batch_size is 64, but there are 32 training images",
            ["training.flow.batch_size=32"],
        ),
        (
            ["training.flow.epochs=8", "training.flow.small_epochs=8"],
            "flow.small_epochs is 8 of 8 epochs: the stage sees only images of side 128",
            ["training.flow.epochs=8", "training.flow.small_epochs=7"],
        ),
        (
            ["training.flow.validate_every=100"],
            "flow.validate_every is 100 of 60 epochs: only the weights at the end are validated",
            ["training.flow.validate_every=30"],
        ),
        (
            ["training.flow.patience=30"],
            "flow.patience is 30 validations, but the stage has 30",
            ["training.flow.patience=29"],
        ),
        (
            ["training.minutes=4", "training.checkpoint_minutes=6"],
            "checkpoint_minutes is 6, but the run takes at most 4 minutes",
            ["training.minutes=4", "training.checkpoint_minutes=3"],
        ),
        (
            ["training.checkpoint_steps=1000"],
            "checkpoint_steps is 1,000, but no stage has more than 120 steps",
            ["training.checkpoint_steps=120"],
        ),
    ],
)
def test_implausible_settings_cause_a_warning(
    overrides: list[str], says: str, corrected: list[str]
) -> None:
    found = texts(*overrides)
    assert len(found) == 1
    assert says in found[0]
    assert re.search(r"Set (fewer|at most)", found[0])
    assert texts(*corrected) == []


def test_epochs_on_small_images_need_a_network_that_sees_larger_ones() -> None:
    small = ["training.flow.epochs=8", "training.flow.small_epochs=8"]
    assert len(texts(*small)) == 1
    assert texts(*small, "data.size=128") == []


def test_an_unused_cache_is_reported() -> None:
    cache = "data.cache=somewhere"
    prompted = ["model.prompts=true"]
    (said,) = texts(*prompted, cache)
    assert "has no effect for a model that takes prompts" in said
    assert texts(*prompted) == texts(cache) == []


def test_weights_for_only_some_data_sets_cause_a_warning() -> None:
    def of(*weights: float | None) -> list[str]:
        sets = [
            {"name": name, "images": name, "masks": name, "weight": weight}
            for name, weight in zip("abc", weights, strict=True)
        ]
        return texts(f"data.sets={json.dumps(sets)}")

    (said,) = of(1, None, 2)
    assert "a, c have a weight and b have none" in said
    assert of(1, 1, 2) == of(None, None, None) == []


def test_validation_settings_cause_no_warning_without_validation_part() -> None:
    assert texts("training.flow.patience=30", validated=False) == []


def test_untrained_stages_cause_no_warning() -> None:
    assert texts("training.distill.epochs=0", "training.distill.warmup_steps=9999") == []


def test_the_command_warns_before_it_trains(tmp_path: Path, printed: Printed) -> None:
    data = write_blobs(tmp_path / "data", 8)
    options = ("--set", "training.flow.warmup_steps=9999")
    said = printed(main, words(data, tmp_path / "out", *options))
    warning = said.index("warning: training.flow.warmup_steps is 9,999, but the stage has")
    assert said.index("data summary") < warning
    assert "flow epoch 1" not in said[:warning]
