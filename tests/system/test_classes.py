"""Masks of several classes in training, prediction, evaluation and the panel."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from skimage.io import imsave

from latentfm_core.cli.evaluate import main as evaluate_main
from latentfm_core.cli.predict import main as predict_main
from latentfm_core.cli.train import main as train_main
from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ImageError
from latentfm_core.images.read import read_image, read_labels
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.classes import class_dice
from latentfm_core.types import ImageInput
from tests.helpers.commands import Printed
from tests.helpers.fixtures import SIZE, Folders, with_colours
from tests.helpers.pages import Page
from tests.helpers.plugin_fixtures import OpenPanel, run
from tests.helpers.two_classes import draw


@pytest.fixture
def folders(two_class_folders: Folders) -> Folders:
    return two_class_folders


@pytest.fixture(scope="module")
def model_folder(coloured_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two classes that has no custom colours."""
    folder = tmp_path_factory.mktemp("model") / "two"
    return with_colours(shutil.copytree(coloured_model_folder, folder), ())


def test_both_classes_are_found(model_folder: Path) -> None:
    segmenter = Segmenter.load(model_folder, "cpu", "fp32")
    image, labels = draw(np.random.default_rng(99))
    samples = segmenter.sample(ImageInput(image), SamplingConfig(n_samples=6, steps=4))
    np.testing.assert_allclose(samples.probabilities.sum(axis=1), 1, atol=1e-4)
    summary = segmenter.summarise(samples)
    assert summary.mean_mask.dtype == np.uint8
    for label in (1, 2):
        assert class_dice(summary.mean_mask == label, labels == label) > 0.6, label
    assert summary.class_confidence is not None
    assert summary.class_confidence.shape == (2, SIZE, SIZE)
    assert 0 <= summary.confidence.min() <= summary.confidence.max() <= 1


def test_predict_writes_labels_that_equal_python(
    folders: Folders, model_folder: Path, tmp_path: Path
) -> None:
    words = [folders[0] / "03.png", "--model", model_folder, "--out", tmp_path]
    options = ["--samples", "3", "--steps", "2", "--device", "cpu", "--precision", "fp32"]
    assert predict_main([str(word) for word in (*words, *options)]) == 0
    written = tifffile.imread(tmp_path / "03_mean_mask.tif")
    segmenter = Segmenter.load(model_folder, "cpu", "fp32")
    settings = SamplingConfig(n_samples=3, steps=2, device="cpu", precision="fp32")
    samples = segmenter.sample(read_image(folders[0] / "03.png"), settings)
    np.testing.assert_array_equal(written, segmenter.summarise(samples).mean_mask)
    assert set(np.unique(written)) == {0, 1, 2}
    assert tifffile.imread(tmp_path / "03_samples.tif").max() == 2


def test_evaluate_averages_over_the_classes(
    folders: Folders, model_folder: Path, tmp_path: Path
) -> None:
    words = ["--images", folders[0], "--masks", folders[1], "--model", model_folder]
    options = ["--samples", "3", "--steps", "2", "--out", tmp_path / "out", "--device", "cpu"]
    options += ["--report", "--report-cases", "2"]
    assert evaluate_main([str(word) for word in (*words, *options)]) == 0
    metrics = json.loads((tmp_path / "out/summary.json").read_text())["metrics"]
    assert metrics["dice"] > 0.6
    assert metrics["mask_vae_dice"] > 0.75
    assert metrics["error_auroc"] > 0.5
    worst = Page.read(tmp_path / "out/report.html").section("Worst cases")
    assert {"disc", "square"} <= {item.text.strip() for item in worst.all("li")}
    for case in worst.all("figure"):
        expert = case.all("path", stroke="#009e73")
        assert len({path.attributes["stroke-dasharray"] for path in expert}) == 2, "one per class"


def test_a_label_without_a_class_is_reported(
    folders: Folders, tmp_path: Path, refused: Printed
) -> None:
    labels = np.zeros((SIZE, SIZE), np.uint8)
    labels[4:9] = 7
    imsave(tmp_path / "a.png", labels, check_contrast=False)
    with pytest.raises(ImageError, match=r"a\.png: the mask has the values 7, but"):
        read_labels(tmp_path / "a.png", 2)
    # Two classes in the files, one in the settings: the message of binary masks.
    words = ["--images", folders[0], "--masks", folders[1], "--out", tmp_path / "model"]
    assert "the mask is not binary" in refused(train_main, [str(word) for word in words])


def test_panel_shows_labels_and_the_confidence_of_each_class(
    qtbot: Any, docked_panel: OpenPanel, folders: Folders, model_folder: Path
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(read_image(folders[0] / "03.png").pixels, name="slide", scale=(0.5, 0.5))
    panel.form.model.choose(model_folder)
    panel.form.n_samples.value = 3
    for _ in range(2):  # the second run updates the layers of the first
        assert run(qtbot, panel) == "done"
    assert len(viewer.layers) == 6
    mean = viewer.layers["slide · mean mask"]
    assert set(np.unique(mean.data)) == {0, 1, 2}
    assert viewer.layers["slide · samples"].data.shape == (3, SIZE, SIZE)
    per_class = viewer.layers["slide · confidence per class"]
    assert per_class.data.shape == (2, SIZE, SIZE)
    assert per_class.axis_labels[0] == "class"
    np.testing.assert_allclose(per_class.scale, (1, 0.5, 0.5))
    assert mean.metadata["latentfm"]["classes"] == ["disc", "square"]
    # The two classes can be distinguished on screen.
    assert not np.allclose(mean.get_color(1), mean.get_color(2))
