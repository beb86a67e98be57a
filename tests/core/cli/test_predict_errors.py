"""Errors of ``latentfm-predict`` take one line and leave no partial results."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from latentfm_core.cli.evaluate import main as evaluate
from latentfm_core.cli.predict import main
from latentfm_core.inference.segmenter import Segmenter
from tests.helpers.predicting import folder, names, run

__all__ = ["folder", "run"]


def test_skip_bad_continues_and_lists_skipped_files(run, folder, tmp_path, capsys):
    bad = [folder / name for name in ("b_text.tif", "b_cut.png", "b_constant.tif")]
    bad[0].write_text("this is no image")
    bad[1].write_bytes((folder / "one.png").read_bytes()[:2000])
    tifffile.imwrite(bad[2], np.full((40, 64), 0.5, np.float32))
    assert run(folder, "--skip-bad") == 0
    captured = capsys.readouterr()
    assert "3 of 6 images" in captured.out
    summary = captured.err.partition("3 of 6 inputs were skipped")[2]
    assert all(path.name in summary for path in bad)
    done = {Path(name).stem for name in names(tmp_path / "out") if name.endswith(".json")}
    assert done == {"one", "two", "three"}
    assert not any(Path(name).name.startswith("b") for name in names(tmp_path / "out"))


def test_skip_bad_without_a_readable_image_is_an_error(run, tmp_path, refused):
    bad = tmp_path / "bad.tif"
    tifffile.imwrite(bad, np.full((40, 64), np.nan, np.float32))
    assert "bad.tif" in refused(run, bad, "--skip-bad")
    assert names(tmp_path / "out") == set()


def test_missing_and_empty_inputs_are_reported(run, tmp_path, refused):
    assert "nowhere.png" in refused(run, tmp_path / "nowhere.png")
    (tmp_path / "hollow").mkdir()
    assert "hollow" in refused(run, tmp_path / "hollow")
    assert not (tmp_path / "out").exists()


def damage(model: Path, how: str) -> None:
    weights, card = model / "model.safetensors", model / "model.json"
    match how:
        case "no card":
            card.unlink()
        case "no weights":
            weights.unlink()
        case "altered weights":
            data = bytearray(weights.read_bytes())
            data[-1] ^= 1
            weights.write_bytes(data)
        case "cut weights":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "foreign card":
            card.write_text('{"model_type": "something else"}')
        case "damaged card":
            card.write_text(card.read_text()[:-20])
        case "missing folder":
            shutil.rmtree(model)


@pytest.mark.parametrize(
    "how",
    [
        "no card",
        "no weights",
        "altered weights",
        "cut weights",
        "foreign card",
        "damaged card",
        "missing folder",
    ],
)
def test_a_damaged_model_is_reported(folder, tmp_path, tiny_model_folder, refused, how):
    model = tmp_path / "my_model"
    shutil.copytree(tiny_model_folder, model, ignore=shutil.ignore_patterns("training"))
    damage(model, how)
    words = [folder, "--model", model, "--out", tmp_path / "out"]
    assert "my_model" in refused(main, [*map(str, words)])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--samples", "0"], "--samples"),
        (["--steps", "four"], "--steps"),
        (["--threshold", "1.5"], "--threshold"),
        (["--solver", "magic"], "--solver"),
        (["--seed", "-1"], "--seed"),
        (["--batch-size", "0"], "--batch-size"),
        (["--precision", "fp16"], "fp16"),
        (["--precision", "int4"], "--precision"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--device", "toaster"], "toaster"),
        (["--outputs", "masks"], "masks"),
        (["--format", "gif"], "--format"),
        (["--overwrite", "--skip-done"], "--skip-done"),
        (["--verbose", "--quiet"], "--quiet"),
    ],
)
def test_wrong_options_are_reported(folder, tmp_path, tiny_model_folder, refused, arguments, named):
    words = [str(folder), "--model", str(tiny_model_folder), "--out", str(tmp_path / "out")]
    assert named in refused(main, [*words, "--device", "cpu", *arguments])
    assert not (tmp_path / "out").exists()


def test_help_is_not_an_error(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--samples", "--steps", "--solver", "--seed", "--threshold", "--batch-size"):
        assert option in text


def test_results_among_the_images_are_refused(folder, tiny_model_folder, refused):
    before = names(folder)
    words = [folder, "--model", tiny_model_folder, "--out", folder]
    assert "--out" in refused(main, [*map(str, words)])
    assert names(folder) == before


@pytest.mark.parametrize(
    ("held", "content"),
    [
        ("model.safetensors", b"weights"),
        ("training/checkpoint.safetensors", b"state"),
        ("folds.json", b'{"folds": [["a"], ["b"]]}'),
        ("ensemble.json", b"{}"),
    ],
)
def test_results_in_a_model_or_run_folder_are_refused(
    folder, tmp_path, tiny_model_folder, refused, held, content
):
    out = tmp_path / "mine"
    (out / held).parent.mkdir(parents=True)
    (out / held).write_bytes(content)
    words = ["--model", str(tiny_model_folder), "--out", str(out), "--overwrite"]
    message = refused(main, [str(folder), *words])
    assert f"has a model or a training run ({held})" in message
    data = ["--images", str(folder), "--masks", str(folder)]
    assert "has a model" in refused(evaluate, [*data, *words])
    assert "has a model" in refused(main, [str(folder / "one.png"), "--tiled", *words])
    assert names(out) == {held}
    assert (out / held).read_bytes() == content


@pytest.mark.parametrize("name", ["folds", "ensemble"])
def test_results_named_like_model_files_are_results(run, folder, printed, name):
    (folder / "one.png").rename(folder / f"{name}.png")
    for _ in range(2):
        printed(run, folder / f"{name}.png", "--overwrite")


def test_overwrite_replaces_nothing_but_results(run, folder, tmp_path, refused):
    """A JSON file or a Zarr image with the name of a result may be anything."""
    out = tmp_path / "out"
    (out / "one.zarr").mkdir(parents=True)
    (out / "one.zarr" / ".zattrs").write_text('{"multiscales": []}')
    (out / "two.json").write_text('{"shapes": []}')
    before = names(out)
    message = refused(run, folder, "--overwrite")
    assert "1 file or folder that is not a result would be replaced" in message
    assert "two.json" in message
    message = refused(run, folder / "one.png", "--tiled", "--overwrite")
    assert "one.zarr" in message
    assert names(out) == before
    (out / "one.zarr" / ".zattrs").unlink()
    for _ in range(2):
        assert run(folder / "one.png", "--tiled", "--overwrite") == 0


def test_a_result_does_not_replace_an_image_of_the_run(folder, tiny_model_folder, refused):
    shutil.copy(folder / "one.png", folder / "one_mean_mask.png")
    before = (folder / "one.png").read_bytes()
    images = [str(folder / f"one{end}.png") for end in ("", "_mean_mask")]
    words = [*images, "--model", str(tiny_model_folder), "--out", str(folder), "--overwrite"]
    assert "would replace the image" in refused(main, words)
    assert (folder / "one_mean_mask.png").read_bytes() == before


def test_an_output_folder_that_is_a_file_is_reported(folder, tmp_path, tiny_model_folder, refused):
    out = tmp_path / "taken"
    out.write_text("mine")
    words = [folder, "--model", tiny_model_folder, "--out", out]
    assert "taken: it is not a folder. Choose another" in refused(main, [*map(str, words)])
    assert out.read_text() == "mine"


def exhausted_torch() -> None:
    torch.empty(2**58)


def exhausted_numpy() -> None:
    np.empty(2**58, dtype=np.uint8)


def exhausted_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


@pytest.mark.parametrize("allocate", [exhausted_torch, exhausted_numpy, exhausted_gpu])
def test_out_of_memory_names_the_setting(run, folder, tmp_path, refused, monkeypatch, allocate):
    monkeypatch.setattr(Segmenter, "summarise", lambda *_: allocate())
    message = refused(run, folder)
    assert "memory" in message
    assert "--batch-size" in message
    assert names(tmp_path / "out") == set()


def test_a_bug_is_one_line_unless_verbose(run, folder, capsys, monkeypatch):
    def broken(*_: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr(Segmenter, "summarise", broken)
    assert run(folder) == 1
    text = capsys.readouterr().err
    assert "unexpected error: IndexError" in text
    assert "report" in text
    assert "Traceback" not in text
    assert run(folder, "--verbose") == 1
    assert "Traceback" in capsys.readouterr().err


def test_quiet_shows_no_progress(run, folder, printed):
    assert printed(run, folder, "--quiet") == ""
