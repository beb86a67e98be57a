"""``latentfm-predict``, run as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from latentfm_core.cli.inputs import digest_of
from latentfm_core.cli.predict import main
from latentfm_core.files import digest as digest_module
from latentfm_core.files.digest import content_digest
from latentfm_core.images.read import read_image
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.bundled import bundled_models
from latentfm_core.model_io.domain import write_domain
from latentfm_core.model_io.file_names import DOMAIN
from latentfm_core.model_io.folder import file_sha256, read_card
from latentfm_core.output import result as result_module
from latentfm_core.output.sidecar import Sidecar
from latentfm_core.uncertainty.domain import TrainingDomain
from tests.helpers.fixtures import copy_model, with_sampling
from tests.helpers.predicting import (
    OPTIONS,
    as_uint8,
    check_result,
    folder,
    names,
    run,
    save_png,
    scene,
)

__all__ = ["folder", "run"]


def test_files_equal_the_python_api(run, folder, tmp_path, tiny_model_folder, capsys):
    assert run(folder) == 0
    out = tmp_path / "out"
    for image in folder.iterdir():
        check_result(out, image, tiny_model_folder)
    assert sum(name.endswith(".json") for name in names(out)) == 3
    captured = capsys.readouterr()
    assert "3 of 3 images" in captured.out
    assert "3/3" in captured.err  # the progress bar


def test_samples_differ_and_find_the_disc(run, folder, tmp_path):
    assert run(folder / "two.png") == 0
    truth = np.zeros((64, 64), bool)
    rows, columns = np.mgrid[:64, :64]
    truth[(rows - 32) ** 2 + (columns - 32) ** 2 < 16**2] = True
    mask = tifffile.imread(tmp_path / "out" / "two_mean_mask.tif") == 255
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.6
    stack = tifffile.imread(tmp_path / "out" / "two_samples.tif")
    assert not np.array_equal(stack[0], stack[1])


def test_the_json_file_records_how_the_result_was_made(run, folder, tmp_path, tiny_model_folder):
    assert run(folder / "one.png", "--solver", "heun", "--threshold", "0.4") == 0
    text = (tmp_path / "out" / "one.json").read_text("utf-8")
    sidecar = Sidecar.model_validate_json(text)
    assert sidecar.image == "one.png"
    assert str(tmp_path) not in text
    assert sidecar.shape == (40, 64)
    assert sidecar.model_id == read_card(tiny_model_folder).id
    assert sidecar.model_sha256 == file_sha256(tiny_model_folder / "model.safetensors")
    assert sidecar.seeds == (7, 8, 9)
    assert (sidecar.steps, sidecar.solver, sidecar.nfe) == (2, "heun", 4)
    assert (sidecar.n_samples, sidecar.threshold) == (3, 0.4)
    assert sidecar.precision == "float32"
    assert sidecar.versions["torch"] == torch.__version__
    assert sidecar.seconds > 0
    assert sidecar.png_white == {"variance": 0.25, "confidence": 1.0}
    listed = {name for kind in sidecar.files.values() for name in kind}
    assert listed | {"one.json"} == names(tmp_path / "out")


def test_pixel_size_of_the_image_is_in_every_tiff(run, tmp_path):
    source = tmp_path / "scan.tif"
    tifffile.imwrite(
        source,
        as_uint8(scene()),
        photometric="rgb",
        resolution=(1e4 / 0.25, 1e4 / 0.5),
        resolutionunit="CENTIMETER",
    )
    assert run(source) == 0
    for kind in ("mean_mask", "variance", "confidence"):
        image = read_image(tmp_path / "out" / f"scan_{kind}.tif")
        assert image.spacing == pytest.approx((0.5, 0.25))
        assert image.unit == "micrometer"
    with tifffile.TiffFile(tmp_path / "out" / "scan_samples.tif") as tiff:
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
        assert tiff.series[0].axes == "CYX"
    assert (pixels["PhysicalSizeY"], pixels["PhysicalSizeX"]) == pytest.approx((0.5, 0.25))
    sidecar = json.loads((tmp_path / "out" / "scan.json").read_text())
    assert sidecar["spacing"] == pytest.approx([0.5, 0.25])
    assert sidecar["unit"] == "micrometer"


@pytest.mark.parametrize(("name", "shape"), [("wide.png", (5, 173)), ("tall.bmp", (200, 3))])
def test_a_narrow_image_is_segmented_at_its_own_size(run, tmp_path, tiny_model_folder, name, shape):
    path = tmp_path / name
    Image.fromarray(as_uint8(scene(*shape))).save(path)
    assert run(path) == 0
    assert tifffile.imread(tmp_path / "out" / f"{path.stem}_mean_mask.tif").shape == shape
    check_result(tmp_path / "out", path, tiny_model_folder)


@pytest.mark.parametrize(
    ("form", "suffixes"), [("tiff", {".tif"}), ("png", {".png"}), ("both", {".tif", ".png"})]
)
def test_format_chooses_the_files(run, folder, tmp_path, form, suffixes):
    assert run(folder / "one.png", "--format", form) == 0
    found = {Path(name).suffix for name in names(tmp_path / "out")}
    assert found == suffixes | {".json"}


def test_outputs_chooses_the_maps(run, folder, tmp_path):
    arguments = ["--outputs", "confidence,probability", "--format", "tiff"]
    assert run(folder / "one.png", *arguments) == 0
    assert names(tmp_path / "out") == {"one.json", "one_confidence.tif", "one_probability.tif"}


def test_images_with_the_same_stem_do_not_overwrite_each_other(run, tmp_path, tiny_model_folder):
    images = tmp_path / "images"
    images.mkdir()
    save_png(images / "a.png")
    Image.fromarray(as_uint8(scene(50, 50))).save(images / "a.bmp")
    assert run(images) == 0
    for suffix in ("png", "bmp"):
        check_result(tmp_path / "out", images / f"a.{suffix}", tiny_model_folder, f"a_{suffix}")
        sidecar = json.loads((tmp_path / "out" / f"a_{suffix}.json").read_text())
        assert sidecar["image"] == f"a.{suffix}"


def test_an_image_given_twice_is_segmented_once(run, folder, capsys):
    assert run(folder, folder / "one.png") == 0
    assert "3 of 3" in capsys.readouterr().out


def test_missing_settings_come_from_the_model_card(folder, tmp_path, tiny_model_folder):
    model = copy_model(tiny_model_folder, tmp_path / "model")
    with_sampling(model, n_samples=2, steps=3, seed=11, threshold=0.3, device="cuda:7")
    words = [str(folder / "one.png"), "--model", str(model), "--out", str(tmp_path / "out")]
    assert main([*words, "--steps", "1"]) == 0
    sidecar = json.loads((tmp_path / "out" / "one.json").read_text())
    assert sidecar["seeds"] == [11, 12]
    assert (sidecar["steps"], sidecar["threshold"]) == (1, 0.3)


def test_the_bundled_model_is_the_default(folder, tmp_path):
    if not bundled_models():
        pytest.skip("this checkout has no bundled model")
    out = tmp_path / "out"
    assert main([str(folder / "one.png"), "--out", str(out), "--samples", "1", "--steps", "1"]) == 0
    sidecar = json.loads((out / "one.json").read_text())
    assert sidecar["n_samples"] == 1


# --- results that already exist ---------------------------------------------------------


def test_existing_results_are_kept_unless_overwrite(run, folder, tmp_path, refused):
    out = tmp_path / "out"
    out.mkdir()
    mine = out / "two_mean_mask.png"
    mine.write_text("drawn by hand")
    message = refused(run, folder)
    assert "two_mean_mask.png" in message
    assert "--overwrite" in message
    assert names(out) == {"two_mean_mask.png"}
    assert mine.read_text() == "drawn by hand"
    assert run(folder, "--overwrite") == 0
    with Image.open(mine) as image:
        assert image.size == (64, 64)


def test_skip_done_segments_only_missing_images(run, folder, tmp_path, capsys, refused):
    out = tmp_path / "out"
    assert run(folder / "one.png") == 0
    before = (out / "one.json").read_bytes()
    assert run(folder, "--skip-done") == 0
    captured = capsys.readouterr()
    assert "1 of 3 images already done" in captured.err
    assert (out / "one.json").read_bytes() == before
    assert {"two.json", "three.json"} < names(out)
    assert run(folder, "--skip-done") == 0
    assert "0 of 3 images" in capsys.readouterr().out
    assert "one.json" in refused(run, folder, "--skip-done", "--format", "png")


def test_skip_done_notices_another_training_domain(folder, tmp_path, tiny_model_folder, refused):
    model, image = copy_model(tiny_model_folder, tmp_path / "model"), folder / "two.png"
    (model / DOMAIN).unlink(missing_ok=True)
    given = [str(image), "--model", str(model), "--out", str(tmp_path / "out"), *OPTIONS]
    assert main(given) == 0
    count = Segmenter.load(model, "cpu").mean_features(read_image(image)).size
    factor = np.eye(count, dtype=np.float32)
    domain = TrainingDomain(np.zeros((1, count), np.float32), factor, 1.0, 64, 9, 9)
    sha256 = read_card(model).weights_sha256
    for fitted in (domain, replace(domain, limit=2.0)):
        write_domain(model, fitted, sha256)
        assert "calibration or training domain" in refused(main, [*given, "--skip-done"])
        assert main([*given, "--overwrite"]) == 0
        assert main([*given, "--skip-done"]) == 0
    path = tmp_path / "out" / "two.json"
    sidecar = json.loads(path.read_text("utf-8"))
    del sidecar["domain_sha256"]  # of an earlier version
    path.write_text(json.dumps(sidecar), "utf-8")
    write_domain(model, domain, sha256)
    assert main([*given, "--skip-done"]) == 0


def test_skip_done_compares_image_contents_not_dates(run, folder, refused):
    assert run(folder) == 0
    image = folder / "two.png"
    later, earlier = time.time() + 60, time.time() - 10_000
    os.utime(image, (later, later))
    assert run(folder, "--skip-done") == 0
    for size in ((64, 64), (50, 70)):
        Image.fromarray(255 - as_uint8(scene(*size))).save(image)
        os.utime(image, (earlier, earlier))
        message = refused(run, folder, "--skip-done")
        assert "1 image was replaced or changed after the results were made" in message
        assert "two.png" in message
    assert run(folder, "--overwrite") == 0
    assert run(folder, "--skip-done") == 0


def test_skip_done_compares_image_dates_for_results_of_earlier_versions(
    run, folder, tmp_path, refused
):
    assert run(folder) == 0
    path = tmp_path / "out" / "two.json"
    sidecar = json.loads(path.read_text("utf-8"))
    del sidecar["image_digest"], sidecar["calibration_sha256"]
    path.write_text(json.dumps(sidecar), "utf-8")
    assert run(folder, "--skip-done") == 0
    later = time.time() + 60
    os.utime(folder / "two.png", (later, later))
    assert "changed after the results were made: two.png" in refused(run, folder, "--skip-done")


@pytest.mark.parametrize("whole", [2**28, 100])
def test_a_digest_covers_names_in_a_folder_and_contents(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(digest_module, "WHOLE_BYTES", whole)
    monkeypatch.setattr(digest_module, "BLOCK_BYTES", 10)
    files = {"a": bytes(200), "b/c": bytes(50), "empty": b""}
    states = [files, files, {**files, "a": bytes(199) + b"1"}, {**files, "b/c": bytes(49)}]
    states += [{**files, "d": b""}, {"a": files["a"], "b/d": files["b/c"], "empty": b""}]
    digests = []
    for number, state in enumerate(states):
        for name, content in state.items():
            path = tmp_path / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        digests.append(content_digest(tmp_path / str(number)))
    assert digests[0] == digests[1]
    assert len(set(digests)) == len(states) - 1
    assert content_digest(tmp_path / "0" / "a") == content_digest(tmp_path / "1" / "a")
    assert content_digest(tmp_path / "0" / "a") != content_digest(tmp_path / "2" / "a")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_digest_does_not_wait_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert digest_of(tmp_path / "pipe") == ""


@pytest.mark.parametrize("name", ["two_mean_mask.tif", "two_samples/sample_001.png"])
def test_skip_done_notices_maps_of_other_content(run, folder, tmp_path, refused, name):
    assert run(folder) == 0
    edited = tmp_path / "out" / name
    shutil.copy(tmp_path / "out" / name.replace("two", "one"), edited)
    message = refused(run, folder, "--skip-done")
    assert "incomplete or changed" in message
    assert "two_mean_mask.tif" in message
    assert "one_mean_mask.tif" not in message
    assert edited.read_bytes() == (tmp_path / "out" / name.replace("two", "one")).read_bytes()
    for file in (tmp_path / "out").glob("two*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    assert run(folder, "--skip-done") == 0
    assert run(folder, "--skip-done") == 0


def test_skip_done_refuses_results_of_another_channel(run, tmp_path, refused):
    folder = tmp_path / "channels"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 64), np.uint8)
    tifffile.imwrite(folder / "a.ome.tif", pixels, metadata={"axes": "CYX"})
    assert run(folder, "--channel", "1") == 0
    assert run(folder, "--channel", "1", "--skip-done") == 0
    assert "other settings" in refused(run, folder, "--channel", "4", "--skip-done")


def test_an_incomplete_result_does_not_suggest_the_option_in_use(run, folder, tmp_path, refused):
    assert run(folder) == 0
    (tmp_path / "out" / "one_mean_mask.tif").unlink()
    message = refused(run, folder, "--skip-done")
    assert "incomplete or changed" in message
    assert "continue with" not in message
    for file in (tmp_path / "out").glob("one*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    assert run(folder, "--skip-done") == 0


def test_ctrl_c_leaves_only_complete_results(run, folder, tmp_path, capsys, monkeypatch):
    genuine = result_module.write_png
    count = []

    def interrupted(path: Path, values: np.ndarray) -> None:
        count.append(path)
        genuine(path, values)
        if len(count) == 8:  # in the middle of the second image: each has six PNG files
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(result_module, "write_png", interrupted)
    # A shell starts background commands with the signal ignored; a user's is not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run(folder) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    captured = capsys.readouterr()
    assert "interrupted" in captured.err
    assert "Traceback" not in captured.err
    found = names(tmp_path / "out")
    assert found
    assert all(name.startswith("one") for name in found)
    assert "one.json" in found
    monkeypatch.undo()
    assert run(folder, "--skip-done") == 0
