"""Recognition of images unlike the training images."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from latentfm_core.cli.calibrate import main as calibrate
from latentfm_core.cli.evaluate import main as evaluate
from latentfm_core.cli.first_look import first_look
from latentfm_core.cli.predict import main as predict
from latentfm_core.config import SamplingConfig
from latentfm_core.datasets.splits import Split, write_split
from latentfm_core.errors import ModelFolderError
from latentfm_core.images.read import read_image
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.inference.stack import segment_stack
from latentfm_core.model_io.bundled import bundled_models, resolve_model
from latentfm_core.model_io.domain import read_domain
from latentfm_core.model_io.file_names import CARD, DOMAIN
from latentfm_core.model_io.folder import read_card
from latentfm_core.types import ImageInput
from latentfm_core.uncertainty.domain import distances, fit_domain
from latentfm_core.worklist.order import uncertainty_of
from tests.helpers.calibrating import OPTIONS
from tests.helpers.commands import Printed
from tests.helpers.fixtures import Folders, copy_model
from tests.helpers.pages import read_table

SETTINGS = SamplingConfig(n_samples=4, steps=2, device="cpu", precision="fp32")


def noise(seed: int = 0, side: int = 64) -> ImageInput:
    rng = np.random.default_rng(seed)
    return ImageInput(rng.integers(0, 256, (side, side, 3), dtype=np.uint8), name="noise")


@pytest.fixture(scope="module")
def knowing(domain_model_folder: Path) -> Segmenter:
    return Segmenter.load(domain_model_folder, "cpu", "fp32")


@pytest.fixture(scope="module")
def held_out(tiny_model_folder: Path, blob_folders: Folders) -> list[ImageInput]:
    split = json.loads((tiny_model_folder / "training" / "split.json").read_text())
    return [read_image(blob_folders[0] / f"{name}.png") for name in split["val"]]


def test_noise_is_flagged_and_validation_images_are_not(
    knowing: Segmenter, held_out: list[ImageInput]
) -> None:
    own = [knowing.domain_score(image) for image in held_out]
    assert np.mean([score <= 1 for score in own if score is not None]) >= 0.7
    for seed in range(5):
        unlike = knowing.domain_score(noise(seed))
        assert unlike is not None
        assert unlike > max(1.0, *[score for score in own if score is not None])


def test_out_of_domain_images_have_no_expected_dice_and_are_listed_first(
    knowing: Segmenter,
) -> None:
    samples = knowing.sample(noise(), SETTINGS)
    summary = knowing.summarise(samples)
    assert samples.domain_score == summary.domain_score == knowing.domain_score(noise())
    assert summary.out_of_domain
    assert summary.expected_dice is None
    assert uncertainty_of(summary) == 1


def test_the_domain_does_not_change_samples(
    knowing: Segmenter, segmenter: Segmenter, held_out: list[ImageInput]
) -> None:
    before, after = (one.sample(held_out[0], SETTINGS) for one in (segmenter, knowing))
    np.testing.assert_array_equal(before.probabilities, after.probabilities)
    assert before.domain_score is None
    assert not segmenter.summarise(before).out_of_domain
    assert segmenter.summarise(before).expected_dice is not None


def test_each_plane_of_a_stack_has_a_domain_score(
    knowing: Segmenter, held_out: list[ImageInput]
) -> None:
    stack = segment_stack(knowing, [held_out[0], noise()], SETTINGS)
    assert stack.domain_score == (
        knowing.domain_score(held_out[0]),
        knowing.domain_score(noise()),
    )
    assert stack.summary_of(1).out_of_domain
    assert stack.expected_dice[1] is None


def test_result_files_record_the_domain_score(
    domain_model_folder: Path,
    blob_folders: Folders,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = tmp_path / "in"
    images.mkdir()
    shutil.copy(blob_folders[0] / "blob_000.png", images)
    imsave(images / "noise.png", noise().pixels, check_contrast=False)
    words = [images, "--out", tmp_path / "out", "--model", domain_model_folder, "--quiet"]
    assert predict([*map(str, words), *OPTIONS]) == 0
    own, unlike = (
        json.loads((tmp_path / "out" / f"{name}.json").read_text())
        for name in ("blob_000", "noise")
    )
    assert (own["out_of_domain"], unlike["out_of_domain"]) == (False, True)
    assert own["domain_score"] <= 1 < unlike["domain_score"]
    assert unlike["expected_dice"] is None
    first = "Unlike the images that the model was trained on"
    said = capsys.readouterr().out
    assert f"{first} (check their masks, and do not rely on their confidence): noise" in said
    # A user pointed at this one, so only its confidence is unreliable.
    sidecar = tmp_path / "out" / "noise.json"
    sidecar.write_text(json.dumps(unlike | {"prompt": {"box": [5, 5, 40, 40]}}))
    look = first_look([("noise", sidecar)])
    assert look == f"{first} (check the outlines, and do not rely on their confidence): noise"
    assert str(first_look([("a\nb", sidecar)])).endswith(r"a\nb")


def test_table_and_report_show_the_domain_score(
    domain_model_folder: Path, blob_folders: Folders, tmp_path: Path
) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    for source, target in zip(blob_folders, (images, masks), strict=True):
        target.mkdir()
        shutil.copy(source / "blob_000.png", target)
        shutil.copy(source / "blob_001.png", target / "noise.png")
    imsave(images / "noise.png", noise().pixels, check_contrast=False)
    out = tmp_path / "out"
    words = ["--images", images, "--masks", masks, "--model", domain_model_folder, "--out", out]
    assert evaluate([*map(str, words), "--report", "--quiet", *OPTIONS]) == 0
    rows = {row["name"]: row for row in read_table(out)}
    assert float(rows["blob_000"]["domain_score"]) <= 1 < float(rows["noise"]["domain_score"])
    assert rows["noise"]["expected_dice"] == ""
    assert json.loads((out / "summary.json").read_text())["metrics"]["out_of_domain"] == 0.5
    assert "unlike the training images" in (out / "report.html").read_text("utf-8")


def test_an_empty_mean_mask_has_no_expected_dice(
    segmenter: Segmenter, held_out: list[ImageInput]
) -> None:
    samples = segmenter.sample(held_out[0], SETTINGS)
    nothing = SETTINGS.model_copy(update={"threshold": 0.999999})
    summary = segmenter.summarise(samples, nothing)
    assert not summary.mean_mask.any(), "the case is made to be so"
    assert summary.expected_dice is None


def test_a_domain_of_other_weights_is_ignored(
    domain_model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy_model(domain_model_folder, tmp_path / "other")
    shutil.copy(domain_model_folder / DOMAIN, folder)
    card = read_card(folder)
    weights = card.weights.model_copy(update={"sha256": "0" * 64})
    with caplog.at_level(logging.WARNING):
        assert read_domain(folder, card.model_copy(update={"weights": weights})) is None
    assert "other weights" in caplog.text


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\xff" * 4000])
def test_a_damaged_file_is_refused(
    domain_model_folder: Path, tmp_path: Path, content: bytes
) -> None:
    folder = copy_model(domain_model_folder, tmp_path / "damaged")
    (folder / DOMAIN).write_bytes(content)
    with pytest.raises(ModelFolderError, match="or remove the file"):
        Segmenter.load(folder, "cpu", "fp32")


def test_an_unreadable_training_image_does_not_fail_the_calibration(
    tiny_model_folder: Path, blob_folders: Folders, tmp_path: Path, refused: Printed
) -> None:
    images = shutil.copytree(blob_folders[0], tmp_path / "images")
    names = sorted(path.stem for path in images.iterdir())
    write_split(tmp_path / "split.json", Split(tuple(names[:20]), tuple(names[20:])))
    (images / f"{names[3]}.png").write_text("damaged")
    model = copy_model(tiny_model_folder, tmp_path / "model")
    words = ["--images", images, "--masks", blob_folders[1], "--split", tmp_path / "split.json"]
    words += ["--model", model, "--samples", "2", "--steps", "1", "--device", "cpu"]
    assert f"{names[3]}.png" in refused(calibrate, [*map(str, words)])
    assert read_card(model).calibration is not None
    assert not (model / DOMAIN).exists()


def test_too_few_images_are_reported_and_the_calibration_is_kept(
    calibrated_model_folder: Path,
) -> None:
    assert not (calibrated_model_folder / DOMAIN).exists(), "it has 8 validation images"
    assert read_card(calibrated_model_folder).calibration is not None


def test_fitting_the_domain_does_not_change_the_card(
    domain_model_folder: Path, tiny_model_folder: Path
) -> None:
    assert (domain_model_folder / CARD).read_bytes() == (tiny_model_folder / CARD).read_bytes()


def test_a_configuration_can_name_the_data(
    tiny_model_folder: Path, blob_folders: Folders, tmp_path: Path
) -> None:
    folder = copy_model(tiny_model_folder, tmp_path / "tiny")
    file = tmp_path / "config.toml"
    split = (tiny_model_folder / "training" / "split.json").as_posix()
    sets = (
        f'[[data.sets]]\nname = "{name}"\nimages = "{blob_folders[0].as_posix()}"\n'
        f'masks = "{blob_folders[1].as_posix()}"\nsplit_file = "{split}"\n'
        for name in ("one", "two")
    )
    file.write_text("\n".join(sets) + '\n[model]\ncondition = "pretrained"\nprompts = true\n')
    words = [
        "--model",
        folder,
        "--domain-only",
        "--training-config",
        file,
        "--allow-few",
        "--quiet",
    ]
    assert calibrate([*map(str, words), "--device", "cpu"]) == 0
    domain = read_domain(folder, read_card(folder))
    assert domain is not None
    assert len(domain.means) == 2
    names = json.loads(Path(split).read_text())
    assert (domain.n_train, domain.n_val) == (2 * len(names["train"]), 2 * len(names["val"]))


def test_distances_match_a_known_distribution() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, 6))
    train, val = ((rng.normal(size=(n, 6)) @ mixing).astype(np.float32) for n in (5000, 2000))
    domain = fit_domain([train], val, 64, 5000, 2000)
    squares = distances(val, domain.means, domain.factor) ** 2
    assert squares.mean() == pytest.approx(6, rel=0.05), "chi-squared of 6 degrees of freedom"
    assert np.mean([domain.score(row) <= 1 for row in val]) == pytest.approx(0.9, abs=0.001)


def test_images_between_two_distant_sets_are_out_of_domain() -> None:
    rng = np.random.default_rng(0)
    sets = [rng.normal(at, 1, (300, 4)).astype(np.float32) for at in (-20, 20)]
    domain = fit_domain(sets, np.concatenate(sets), 64, 600, 600)
    assert domain.score(np.full(4, 20, np.float32)) < 1
    assert domain.score(np.zeros(4, np.float32)) > 5


@pytest.mark.parametrize("name", bundled_models())
def test_bundled_statistics_fit_the_weights(name: str) -> None:
    folder = resolve_model(name)
    if not (folder / DOMAIN).is_file():
        pytest.skip(f"{name} has none yet")
    segmenter = Segmenter.load(name, "cpu", "fp32")
    unlike = segmenter.domain_score(noise(side=256))
    assert unlike is not None
    assert unlike > 1


@pytest.mark.parametrize("spread", [0.0, 1e-7])
def test_a_channel_that_hardly_varies_leaves_scores_finite(spread: float) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 4)).astype(np.float32)
    features[:, 2] = 0.25 + spread * rng.normal(size=40)
    domain = fit_domain([features[:20]], features[20:], 64, 20, 20)
    assert np.isfinite(domain.factor).all()
    assert 0 < domain.limit < 100
    assert domain.score(features[20]) < 2
