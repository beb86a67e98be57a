"""``latentfm-predict`` in several processes, as a launcher starts them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from latentfm_core.cli.predict import main
from latentfm_core.prediction.claims import FOLDER
from tests.helpers.commands import Printed
from tests.helpers.pictures import disc_image
from tests.helpers.predicting import check_result, names, save_png
from tests.helpers.processes import PATIENCE, environment, wait_for

IMAGES = [f"image_{number:02d}" for number in range(10)]
OPTIONS = ["--samples", "3", "--steps", "2", "--seed", "7", "--precision", "fp32"]


def launched(rank: int, size: int = 2) -> dict[str, str]:
    """Return the environment variables that torchrun sets for a process on one machine."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return dict(zip(names, map(str, (rank, size, rank, size)), strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for number, name in enumerate(IMAGES):
        save_png(images / f"{name}.png", 40 + number, 64)
    return images


@pytest.fixture
def words(folder: Path, tmp_path: Path, tiny_model_folder: Path) -> list[str]:
    out = str(tmp_path / "out")
    return [str(folder), "--model", str(tiny_model_folder), "--out", out, *OPTIONS]


@pytest.fixture
def first_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process the first of two, without the second one."""
    for name, value in launched(0).items():
        monkeypatch.setenv(name, value)


def expected(images: list[str]) -> set[str]:
    kinds = ("mean_mask", "variance", "confidence")
    files = {
        f"{name}_{kind}.{form}" for name in images for kind in kinds for form in ("tif", "png")
    }
    files |= {f"{name}_samples/sample_{n:03d}.png" for name in images for n in range(3)}
    return files | {f"{name}_samples.tif" for name in images} | {f"{name}.json" for name in images}


def start(words: list[str], rank: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "latentfm_core.cli.predict", *words, "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**launched(rank)),
    )


def test_a_killed_process_neither_loses_nor_repeats_an_image(
    words: list[str], folder: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    out = tmp_path / "out"
    workers = [start(words, rank) for rank in (0, 1)]
    seen: dict[Path, tuple[int, int]] = {}

    def look() -> None:
        for path in out.glob("image_*.json"):
            state = path.stat()
            found = (state.st_ino, state.st_mtime_ns)
            assert seen.setdefault(path, found) == found, f"{path.name} was made twice"

    def second_is_at_work() -> bool:
        look()
        # The second starts in the middle of the list, and works on its second image.
        return (out / FOLDER / f"{IMAGES[6]}.begun").exists() or out / "image_06.json" in seen

    wait_for(second_is_at_work, workers[1])
    workers[1].kill()
    workers[1].communicate()
    while workers[0].poll() is None:
        look()
        time.sleep(0.02)
    said, errors = workers[0].communicate(timeout=PATIENCE)
    assert workers[0].returncode == 0, errors
    assert f"10 of 10 images segmented into {out}" in said
    look()
    assert names(out) == expected(IMAGES)
    check_result(out, folder / "image_06.png", tiny_model_folder)
    assert not (out / FOLDER).exists()


@pytest.mark.usefixtures("first_of_two")
def test_unfinished_results_of_a_killed_process_are_replaced(
    words: list[str], folder: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    out = tmp_path / "out"
    (out / FOLDER).mkdir(parents=True)
    (out / FOLDER / "image_04.begun").touch()
    (out / FOLDER / "image_04.lock").touch()
    (out / "image_04_mean_mask.tif").write_bytes(b"half")
    (out / ".latentfm-abc_1234-image_04_variance.tif").write_bytes(b"a quarter")
    (out / ".image_04_variance-mine.tif").write_bytes(b"another's")
    assert main(words) == 0
    assert names(out) == expected(IMAGES) | {".image_04_variance-mine.tif"}
    check_result(out, folder / "image_04.png", tiny_model_folder)


@pytest.mark.usefixtures("first_of_two")
def test_a_second_start_segments_only_missing_images(
    words: list[str], tmp_path: Path, printed: Printed
) -> None:
    out = tmp_path / "out"
    assert main(words) == 0
    before = (out / "image_03.json").read_bytes()
    for name in expected(["image_05"]):
        (out / name).unlink()
    assert "9 of 10 images already done" in printed(main, words)
    assert names(out) == expected(IMAGES)
    assert (out / "image_03.json").read_bytes() == before


@pytest.mark.usefixtures("first_of_two")
def test_a_user_file_is_not_overwritten(words: list[str], tmp_path: Path, refused: Printed) -> None:
    mine = tmp_path / "out" / f"{IMAGES[-1]}_variance.png"
    mine.parent.mkdir()
    mine.write_text("drawn by hand")
    message = refused(main, words)
    assert mine.name in message
    assert "choose another --out" in message
    # Before any image is segmented.
    assert names(mine.parent) == {mine.name}
    assert mine.read_text() == "drawn by hand"
    assert "--overwrite cannot be used with torchrun" in refused(main, [*words, "--overwrite"])


@pytest.mark.usefixtures("first_of_two")
def test_bad_images_are_left_out_and_listed_once(
    words: list[str],
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    refused: Printed,
) -> None:
    (folder / "image_02.png").write_bytes(b"no picture")
    assert "image_02.png" in refused(main, words)
    assert not (tmp_path / "out").exists()
    assert main([*words, "--skip-bad"]) == 0
    captured = capsys.readouterr()
    assert "9 of 10 images" in captured.out
    assert "1 of 10 inputs were skipped" in captured.err
    assert names(tmp_path / "out") == expected([name for name in IMAGES if name != "image_02"])


@pytest.mark.parametrize("mode", ["--stack", "--tiled"])
def test_two_processes_share_stacks_and_large_images(
    mode: str, tmp_path: Path, tiny_model_folder: Path
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for number in range(4):
        planes = np.stack([disc_image((60, 80), 12 + number + plane) for plane in range(2)])
        axes = planes[..., 0] if mode == "--stack" else planes[0]
        tifffile.imwrite(images / f"image_{number}.tif", axes)
    words = [str(images), "--model", str(tiny_model_folder), mode, *OPTIONS]
    assert main([*words, "--out", str(tmp_path / "alone"), "--device", "cpu"]) == 0

    workers = [start([*words, "--out", str(out)], rank) for rank in (0, 1)]
    ends = [worker.communicate(timeout=PATIENCE) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], ends
    assert f"4 of 4 images segmented into {out}" in ends[0][0]
    assert ends[1][0] == "", "only the first process reports"
    assert names(out) == names(tmp_path / "alone")
    for path in out.rglob("*"):
        other = tmp_path / "alone" / path.relative_to(out)
        if path.suffix == ".tif":
            np.testing.assert_array_equal(tifffile.imread(path), tifffile.imread(other))
        elif path.is_file() and not path.name.endswith((".json", ".zattrs")):  # hold the seconds
            assert path.read_bytes() == other.read_bytes()
