"""Standard output and error that are closed, full or missing; control characters in names."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import Printed
from tests.helpers.predicting import OPTIONS, folder, names, run, save_png

__all__ = ["folder", "run"]

ESCAPES = "\x1b]0;owned\x07red\x1b[31m\r.png"


def shell(folder: Path, out: Path, model: Path, how: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "latentfm_core.cli.predict", str(folder), "--out", str(out)]
    line = shlex.join([*words, "--model", str(model), *OPTIONS])
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line} {how}"],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "how",
    [
        "> /dev/full",
        "2> /dev/full",
        "> /dev/full 2> /dev/full",
        ">&-",
        "2>&-",
        ">&- 2>&-",
        "<&- >&- 2>&-",
        "| true",
        "2>&1 | true",
        "2>&1 | head -c 1 > /dev/null",
    ],
)
def test_closed_output_streams_do_not_end_the_work(
    folder: Path, tmp_path: Path, tiny_model_folder: Path, how: str
) -> None:
    done = shell(folder, tmp_path / "out", tiny_model_folder, how)
    assert done.returncode == 0, done.stderr
    assert "bug in" not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr
    assert {"one.json", "two.json", "three.json"} <= names(tmp_path / "out")
    if how == "> /dev/full":
        assert "some output was lost: No space left" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("command", "option"),
    [("train", "--dump-config"), ("evaluate", "--help"), ("export", "--version")],
)
def test_output_that_is_all_of_a_command_is_written_or_reported(command: str, option: str) -> None:
    line = shlex.join([sys.executable, "-m", f"latentfm_core.cli.{command}", option])
    script = f"set -o pipefail; {line} > /dev/full; echo $?; {line} | true; echo $?"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "0"]
    assert "error: The output could not be written" in done.stderr
    assert done.stderr.count("No space left on device") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["bad", "good", "argument", "option"])
def test_control_characters_of_names_never_reach_the_terminal(
    run, folder: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = folder / ESCAPES
    if kind == "bad":
        path.write_text("no picture")
        assert run(folder, "--skip-bad") == 0
    elif kind == "good":
        save_png(path)
        assert run(folder) == 0
    elif kind == "argument":
        assert run(path) == 2
    else:
        assert run(folder, f"--{ESCAPES}") == 2
    printed = "".join(capsys.readouterr())
    assert not set(printed) & {"\x1b", "\x07", "\u202e"}
    if kind != "good":
        assert r"\x1b]0;owned\x07red" in printed


def test_names_that_look_alike_differ_in_messages(run, folder: Path, refused: Printed) -> None:
    (folder / "scan\u202f1\u200b.png").write_text("no picture")
    assert r"scan\u202f1\u200b.png" in refused(run, folder)


def test_a_line_break_in_a_name_cannot_forge_a_line(run, folder: Path, printed: Printed) -> None:
    (folder / "x\nerror: all is lost\n.png").write_text("no picture")
    assert "\nerror: all is lost" not in printed(run, folder, "--skip-bad")


@pytest.mark.parametrize("length", [245, 251])
@pytest.mark.parametrize("letter", ["x", "ä", "😀"])
def test_long_names_work_or_are_refused_before_any_work(
    run,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    refused: Printed,
    length: int,
    letter: str,
) -> None:
    name = letter * (length // len(letter.encode()))
    save_png(folder / f"{name}.png")
    reported = refused(run, folder)
    assert f"{name[:20]}" in reported
    assert "bytes, and at most" in reported
    assert not (tmp_path / "out").exists()
    assert run(folder, "--skip-bad") == 0
    assert "3 of 4 images segmented" in capsys.readouterr().out
    assert "one.json" in names(tmp_path / "out")
    assert run(folder, "--tiled", "--skip-bad", "--overwrite") in (0, 2)
    assert "bug in" not in "".join(capsys.readouterr())


def test_impossible_paths_are_user_errors(run, folder: Path, refused: Printed) -> None:
    for path in ("y" * 300, "z/" * 3000 + "a.png", os.fsdecode(b"\xff.png")):
        assert "bug in" not in refused(run, folder / path)


def test_broken_links_are_reported(
    run, folder: Path, capsys: pytest.CaptureFixture[str], printed: Printed, refused: Printed
) -> None:
    (folder / "c.png").symlink_to(folder / "gone.png")
    assert "c.png: a broken link to" in refused(run, folder)
    assert run(folder, "--skip-bad") == 0
    captured = capsys.readouterr()
    assert "git annex get" in captured.err
    assert "3 of 4 images" in captured.out
    (folder / "round.png").symlink_to(folder / "round.png")
    assert "round.png" in printed(run, folder, "--skip-bad", "--overwrite", "--follow-links")


def test_files_that_are_not_images_are_counted_and_listed(
    run, folder: Path, printed: Printed
) -> None:
    for name in ("scan.heic", "scan.DCM", "notes.txt", "._one.png"):
        (folder / name).write_bytes(b"x")
    (folder / "below").mkdir()
    save_png(folder / "below" / "deep.png")
    (folder / "again.png").symlink_to(folder / "one.png")
    reported = printed(run, folder)
    assert "2 files are not images: scan.DCM, scan.heic" in reported
    assert "2 files are not images: ._one.png, notes.txt" in reported
    assert "images in subfolders are ignored: below" in reported
    assert "one.png is the same file as" in reported


def test_a_long_multibyte_name_that_fits_is_segmented(run, folder: Path, tmp_path: Path) -> None:
    save_png(folder / f"{'ä' * 115}.png")
    assert run(folder) == 0
    assert f"{'ä' * 115}_mean_mask.tif" in names(tmp_path / "out")


INTERRUPTED = """
import atexit, sys
from latentfm_core.cli import export
from latentfm_core.cli.commands import export as command

class Kept:
    def __del__(self):
        print("taken apart", flush=True)

def run(*_):
    raise KeyboardInterrupt

kept, command.run = Kept(), run
atexit.register(print, "exit handler")
sys.exit(export.main())
"""


def test_an_interrupted_command_ends_without_taking_the_interpreter_apart() -> None:
    """That takes seconds with PyTorch; handlers of the exit, and output, are not lost."""
    words = [sys.executable, "-c", INTERRUPTED, "--model", "m", "--out", "o", "--format", "onnx"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stdout == "exit handler\n"
    assert done.stderr == "interrupted\n"
