"""Dice and Jaccard agree with the scoring package of the ISIC challenge."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from isic_challenge_scoring.confusion import create_binary_confusion_matrix
from isic_challenge_scoring.metrics import binary_dice, binary_jaccard
from isic_challenge_scoring.segmentation import SegmentationScore
from skimage.io import imread, imsave

from latentfm_core.cli.evaluate import main as evaluate_main
from latentfm_core.cli.predict import main as predict_main
from latentfm_core.metrics.overlap import dice, iou
from tests.helpers.fixtures import Folders

COUNT = 6
TOLERANCE = 1e-6


def challenge(folder: Path, blobs: Folders) -> Folders:
    """Write images and masks in the layout of the challenge; the last image has no lesion."""
    images = folder / "ISIC2018_Task1-2_Test_Input"
    truth = folder / "ISIC2018_Task1_Test_GroundTruth"
    images.mkdir(parents=True)
    truth.mkdir()
    (truth / "LICENSE.txt").write_text("CC-0", "utf-8")
    for index in range(COUNT):
        name, blob = f"ISIC_{index:07d}", f"blob_{index:03d}.png"
        shutil.copy(blobs[0] / blob, images / f"{name}.png")
        # Moved a little: the model is too good at discs for a figure to have many digits.
        mask = np.roll(imread(blobs[1] / blob), 3 * index, axis=1)
        if index == COUNT - 1:
            mask[:] = 0
        imsave(truth / f"{name}_segmentation.png", mask, check_contrast=False)
    return images, truth


@pytest.mark.filterwarnings(
    "ignore:The inplace keyword:DeprecationWarning"
)  # theirs, by pandas 3.1
def test_our_scores_equal_those_of_the_challenge(
    tiny_model_folder: Path, blob_folders: Folders, tmp_path: Path
) -> None:
    images, truth = challenge(tmp_path / "isic", blob_folders)
    common = ["--model", tiny_model_folder, "--samples", "3", "--device", "cpu", "--quiet"]
    out = ["--out", tmp_path / "ours", "--format", "png", "--outputs", "mean_mask"]
    assert predict_main([str(word) for word in (images, *out, *common)]) == 0
    scores = ["--data", tmp_path / "isic", "--out", tmp_path / "scores"]
    assert evaluate_main([str(word) for word in (*scores, *common)]) == 0
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text("utf-8"))

    submission = tmp_path / "submission"
    submission.mkdir()
    for path in (tmp_path / "ours").glob("*_mean_mask.png"):
        shutil.copy(path, submission)
    theirs = SegmentationScore.from_dir(truth, submission).macro_average
    assert 0.2 < theirs["jaccard"] < 0.95, "a figure that could differ"
    assert summary["metrics"]["dice"] == pytest.approx(theirs["dice"], abs=TOLERANCE)
    assert summary["metrics"]["iou"] == pytest.approx(theirs["jaccard"], abs=TOLERANCE)


def test_single_masks_agree_too() -> None:
    rng = np.random.default_rng(0)
    empty, full = np.zeros((31, 17), bool), np.ones((31, 17), bool)
    masks = [empty, full, *(rng.random((6, 31, 17)) < rng.random((6, 1, 1)))]
    for truth in masks:
        for prediction in masks:
            counts = create_binary_confusion_matrix(truth, prediction)
            assert dice(truth, prediction) == pytest.approx(binary_dice(counts), abs=TOLERANCE)
            assert iou(truth, prediction) == pytest.approx(binary_jaccard(counts), abs=TOLERANCE)
