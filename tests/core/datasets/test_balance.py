"""Rare classes are drawn more often, and the log says so."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imread, imsave

from latentfm_core.cli.train import main
from latentfm_core.datasets.balance import balanced, repeat_factors
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.training.batches import batch_indices
from tests.helpers.commands import Printed
from tests.helpers.fixtures import write_blobs
from tests.helpers.training_runs import words


def canvases(labels: list[tuple[int, ...]]) -> CanvasSet:
    """Return images whose masks contain one pixel of each label."""
    masks = np.zeros((len(labels), 1, 32, 32), np.uint8)
    for row, values in enumerate(labels):
        masks[row, 0, 0, : len(values)] = values
    names = tuple(f"image{row}" for row in range(len(labels)))
    images = np.zeros((len(labels), 32, 32, 3), np.uint8)
    return CanvasSet(names, images, masks, np.ones(len(labels), np.intp), {})


def drawn(data: CanvasSet, steps: int = 2000) -> np.ndarray:
    """Return how often each image is drawn, as shares."""
    batches = list(batch_indices(len(data.names), 8, 0, 0, 0, steps, data.weights))
    return np.bincount(np.concatenate(batches), minlength=len(data.names)) / (8 * steps)


def test_images_with_a_rare_class_are_drawn_as_often_as_the_log_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = canvases([(1, 2)] * 2 + [(1,)] * 14)  # "cup" in an eighth of the images
    with caplog.at_level(logging.INFO, "latentfm_core"):
        found = balanced(data, ("disc", "cup"), 0.5)
    assert isinstance(found, CanvasSet)
    (message,) = [each.getMessage() for each in caplog.records]
    assert "cup is in 2 of 16 training images, which are drawn 2.0 times as often" in message
    shares = drawn(found)
    assert shares[:2].mean() / shares[2:].mean() == pytest.approx(2.0, rel=0.1)


def test_balanced_sets_and_a_threshold_of_zero_change_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "latentfm_core"):
        even = canvases([(1,)] * 6 + [()] * 4)
        assert balanced(even, ("lesion",), 0.5) is even
        rare = canvases([(1,)] + [()] * 9)
        assert balanced(rare, ("lesion",), 0.0) is rare
        absent = canvases([(1,)] * 4)
        assert balanced(absent, ("lesion", "never"), 0.5) is absent
    assert not caplog.records


def test_an_image_has_the_factor_of_its_rarest_class() -> None:
    present = np.zeros((100, 3), bool)
    present[:, 0] = True
    present[:8, 1] = True
    present[:2, 2] = True
    factors, rare = repeat_factors(present, 0.5)
    assert rare == (1, 2)
    assert factors[0] == pytest.approx(5.0)
    assert factors[5] == pytest.approx(2.5)
    assert factors[50] == 1.0


def test_mostly_empty_masks_are_balanced_and_logged_unless_disabled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], printed: Printed
) -> None:
    images, masks = write_blobs(tmp_path / "data", 12)
    paths = sorted(masks.iterdir())
    for path in paths[3:]:
        imsave(path, np.zeros_like(imread(path)), check_contrast=False)
    split = tmp_path / "split.json"
    names = [path.stem for path in paths]
    split.write_text(json.dumps({"train": names[:10], "val": names[10:], "test": []}))
    out, more = tmp_path / "model", ("--split", split)
    said = " ".join(printed(main, words((images, masks), out, *more)).split())
    assert "object is in 3 of 10 training images, which are drawn 1.3 times as often" in said
    assert main(words((images, masks), tmp_path / "all", *more, "--set", "data.rare_class=0")) == 0
    assert "Unbalanced" not in capsys.readouterr().err
