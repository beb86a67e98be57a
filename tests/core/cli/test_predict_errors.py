"""Errors of ``latentfm-predict`` are one line, and no partial results are left."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from latentfm_core.cli.predict import main
from latentfm_core.inference.segmenter import Segmenter
from tests.helpers.predicting import folder, names, run, said_error, save_png, scene

__all__ = ["folder", "run"]


def write_bad(path: Path, kind: str) -> Path:
    """Write a file that cannot be segmented."""
    pixels = scene().astype(np.float32)
    match kind:
        case "truncated":
            save_png(path.with_suffix(".png"))
            path = path.with_suffix(".png")
            path.write_bytes(path.read_bytes()[:2000])
            return path
        case "text":
            path.write_text("this is no image")
            return path
        case "nan":
            pixels[3, 4] = np.nan
        case "infinite":
            pixels[3, 4] = np.inf
        case "constant":
            pixels[:] = 0.5
        case "one pixel":
            pixels = pixels[:1, :1]
        case "five channels":
            tifffile.imwrite(
                path, np.ones((40, 64, 5), np.uint8), photometric="minisblack", metadata=None
            )
            return path
    tifffile.imwrite(path, pixels, photometric="rgb")
    return path


BAD = {
    "truncated": "truncated",
    "text": "cannot be read",
    "nan": "NaN",
    "infinite": "infinite",
    "constant": "constant",
    "one pixel": "1 x 1",
    "five channels": "5",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_named_and_nothing_is_written(run, folder, tmp_path, capsys, kind):
    bad = write_bad(folder / "zz_bad.tif", kind)
    assert run(folder) == 2
    message = said_error(capsys)
    assert bad.name in message
    assert BAD[kind] in message
    assert "--skip-bad" in message
    assert not (tmp_path / "out").exists()


def test_skip_bad_continues_and_lists_skipped_files(run, folder, tmp_path, capsys):
    bad = [write_bad(folder / f"b{i}.tif", kind) for i, kind in enumerate(BAD)]
    assert run(folder, "--skip-bad") == 0
    captured = capsys.readouterr()
    assert "3 of 10 images" in captured.out
    summary = captured.err.partition("7 of 10 inputs were skipped")[2]
    assert all(path.name in summary for path in bad)
    done = {Path(name).stem for name in names(tmp_path / "out") if name.endswith(".json")}
    assert done == {"one", "two", "three"}
    assert not any(Path(name).name.startswith("b") for name in names(tmp_path / "out"))


def test_skip_bad_without_any_good_image_is_an_error(run, tmp_path, capsys):
    bad = write_bad(tmp_path / "bad.tif", "nan")
    assert run(bad, "--skip-bad") == 2
    assert "bad.tif" in said_error(capsys)
    assert names(tmp_path / "out") == set()


def test_missing_and_empty_inputs_are_named(run, tmp_path, capsys):
    assert run(tmp_path / "nowhere.png") == 2
    assert "nowhere.png" in said_error(capsys)
    (tmp_path / "hollow").mkdir()
    assert run(tmp_path / "hollow") == 2
    assert "hollow" in said_error(capsys)
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
def test_a_damaged_model_is_named(folder, tmp_path, tiny_model_folder, capsys, how):
    model = tmp_path / "my_model"
    shutil.copytree(tiny_model_folder, model, ignore=shutil.ignore_patterns("training"))
    damage(model, how)
    assert main([str(folder), "--model", str(model), "--out", str(tmp_path / "out")]) == 2
    assert "my_model" in said_error(capsys)
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
def test_wrong_options_are_named(folder, tmp_path, tiny_model_folder, capsys, arguments, named):
    words = [str(folder), "--model", str(tiny_model_folder), "--out", str(tmp_path / "out")]
    assert main([*words, "--device", "cpu", *arguments]) == 2
    assert named in said_error(capsys)
    assert not (tmp_path / "out").exists()


def test_help_is_not_an_error(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--samples", "--steps", "--solver", "--seed", "--threshold", "--batch-size"):
        assert option in text


def test_results_among_the_images_are_refused(folder, tiny_model_folder, capsys):
    before = names(folder)
    assert main([str(folder), "--model", str(tiny_model_folder), "--out", str(folder)]) == 2
    assert "--out" in said_error(capsys)
    assert names(folder) == before


def test_an_output_folder_that_is_a_file_is_named(folder, tmp_path, tiny_model_folder, capsys):
    out = tmp_path / "taken"
    out.write_text("mine")
    assert main([str(folder), "--model", str(tiny_model_folder), "--out", str(out)]) == 2
    assert "taken" in said_error(capsys)
    assert out.read_text() == "mine"


def exhausted_torch() -> None:
    torch.empty(2**58)


def exhausted_numpy() -> None:
    np.empty(2**58, dtype=np.uint8)


def exhausted_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


@pytest.mark.parametrize("allocate", [exhausted_torch, exhausted_numpy, exhausted_gpu])
def test_exhausted_memory_names_the_setting(run, folder, tmp_path, capsys, monkeypatch, allocate):
    monkeypatch.setattr(Segmenter, "summarise", lambda *_: allocate())
    assert run(folder) == 2
    message = said_error(capsys)
    assert "memory" in message
    assert "--batch-size" in message
    assert names(tmp_path / "out") == set()


def test_a_defect_is_one_line_unless_verbose(run, folder, capsys, monkeypatch):
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


def test_quiet_shows_no_progress(run, folder, capsys):
    assert run(folder, "--quiet") == 0
    assert capsys.readouterr().err == ""
