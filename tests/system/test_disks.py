"""Commands report full, read-only or missing disks, and lose nothing."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentfm_core.cli.calibrate import main as calibrate
from latentfm_core.cli.evaluate import main as evaluate
from latentfm_core.cli.predict import main as predict
from latentfm_core.cli.train import main as train
from latentfm_core.errors import OutputError
from latentfm_core.files.atomic import atomic_folder, write_text
from latentfm_core.files.temporary import new_file, remove_dead
from latentfm_core.loggers.csv_table import read_table
from latentfm_core.model_io.folder import load_model
from latentfm_core.output.maps import MapStore
from latentfm_core.output.result import read_sidecar
from latentfm_core.training import run_data, run_files
from latentfm_core.training.checkpoint import read_checkpoint
from latentfm_core.training.runlog import COLUMNS
from tests.helpers.commands import Printed
from tests.helpers.disks import PretendedDisk, RealDisk, disk, parts_in, pretended_disk, real_disk
from tests.helpers.fixtures import Folders, copy_model, write_blobs
from tests.helpers.training_runs import words

__all__ = ["disk", "pretended_disk", "real_disk"]

Disk = RealDisk | PretendedDisk
Words = Callable[..., list[str]]
FEW = ["--samples", "2", "--steps", "2", "--device", "cpu"]


@pytest.fixture
def images(tmp_path: Path) -> Folders:
    return write_blobs(tmp_path / "data", 4)


def before_call(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int, act: Callable[[], Any]
) -> list[int]:
    """Run a function before the call with this number; return the list of calls."""
    genuine, calls = getattr(owner, name), []

    def call(*args: Any, **options: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == number:
            act()
        return genuine(*args, **options)

    monkeypatch.setattr(owner, name, call)
    return calls


# --- training -----------------------------------------------------------------------------


@pytest.fixture
def training(images: Folders) -> Words:
    """Return a function that gives the arguments of a training into a folder."""
    changes = ("data.test_fraction=0", "training.checkpoint_minutes=1e-6")
    return lambda out: words(images, out, *(f"--set={change}" for change in changes))


def test_training_on_a_full_disk_keeps_its_checkpoint_and_resumes(
    disk: Disk, training: Words, monkeypatch: pytest.MonkeyPatch, refused: Printed
) -> None:
    out = disk.folder / "model"
    before_call(monkeypatch, run_files, "save_checkpoint", 4, disk.fill)
    message = refused(train, training(out))
    assert "the disk is full" in message
    assert "The last checkpoint is kept" in message
    assert "--resume" in message
    assert parts_in(disk.folder) == []
    kept = read_checkpoint(out / "training").position
    assert (kept.stage, kept.step) == ("flow", 1), "what the third of them wrote"
    assert "the disk is full" in refused(train, ["--out", str(out), "--resume", "--quiet"])
    disk.repair()
    assert train(["--out", str(out), "--resume", "--quiet"]) == 0
    load_model(out)
    steps = [
        (row["stage"], row["step"]) for row in read_table(out / "training" / "log.csv", COLUMNS)[1]
    ]
    assert steps == [("image_vae", "1"), ("mask_vae", "1"), ("flow", "1"), ("flow", "2")]


def test_unwritable_training_output_is_refused_before_reading_images(
    disk: Disk, training: Words, monkeypatch: pytest.MonkeyPatch, refused: Printed
) -> None:
    disk.make_read_only()
    read = before_call(monkeypatch, run_data, "load_canvases", 0, disk.repair)
    assert "read-only" in refused(train, training(disk.folder / "model"))
    assert read == []


def test_training_recreates_a_missing_folder_and_loses_nothing(
    tmp_path: Path, training: Words, monkeypatch: pytest.MonkeyPatch, printed: Printed
) -> None:
    out = tmp_path / "model"
    genuine = run_files.RunFiles.save
    calls: list[int] = []

    def save(self: Any, *args: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            shutil.rmtree(out)
        genuine(self, *args)

    monkeypatch.setattr(run_files.RunFiles, "save", save)
    assert "has disappeared. It is recreated" in printed(train, training(out))
    load_model(out)
    assert (out / "training" / "split.json").is_file()
    assert len(read_table(out / "training" / "log.csv", COLUMNS)[1]) == 4, (
        "also what stood in it before"
    )


def within_rights(*words: object) -> subprocess.CompletedProcess[str]:
    """Run Python as a user without root permissions."""
    drop = []
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may read and write all, and setpriv is not installed")
        drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    command = [*drop, sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_real_missing_permissions_are_reported(tmp_path: Path, training: Words) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    done = within_rights("-m", "latentfm_core.cli.train", *training(locked / "model"))
    assert done.returncode == 2, done.stderr
    assert f"Cannot write {locked / 'model'}: no permission" in done.stderr


def test_an_image_without_read_permission_is_not_called_damaged(
    tmp_path: Path, images: Folders
) -> None:
    secret = Path(shutil.copy(next(iter(sorted(images[0].iterdir()))), tmp_path / "secret.png"))
    secret.chmod(0)
    done = within_rights("-m", "latentfm_core.cli.predict", secret, "--out", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert "secret.png: no permission to read it" in done.stderr
    assert "damaged" not in done.stderr


OPEN_LOCKED = """
import sys
from latentfm_core import LatentFMError, Segmenter, open_large
for use in (Segmenter.load, lambda path: open_large(path).__enter__()):
    try:
        use(sys.argv[1])
    except LatentFMError as error:
        print(error)
"""


def test_an_unreadable_folder_raises_our_own_error(tmp_path: Path) -> None:
    locked = tmp_path / "locked.zarr"
    locked.mkdir(mode=0)
    done = within_rights("-c", OPEN_LOCKED, locked)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no permission to read it") == 2


# --- prediction ---------------------------------------------------------------------------


@pytest.fixture
def prediction(images: Folders, tiny_model_folder: Path) -> Words:
    """Return a function that gives the arguments of a prediction into a folder."""
    words = [str(images[0]), "--model", str(tiny_model_folder), *FEW, "--out"]
    return lambda out, *more: [*words, str(out), *more]


KINDS = [pytest.param((), id="plain"), pytest.param(("--tiled",), id="tiled")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_on_a_full_disk_keeps_complete_results_and_resumes(
    disk: Disk,
    prediction: Words,
    monkeypatch: pytest.MonkeyPatch,
    refused: Printed,
    kind: tuple[str, ...],
) -> None:
    out = disk.folder / "out"
    package = "latentfm_core.cli"
    module = f"{package}.tiled._segment" if kind else f"{package}.images._segment"
    owner, _, name = module.rpartition(".")
    before_call(monkeypatch, __import__(owner, fromlist=["x"]), name, 3, disk.fill)
    words = prediction(out, *kind)
    message = refused(predict, words)
    assert "the disk is full" in message
    assert "blob_002" in message, "it names the file"
    assert sorted(path.stem for path in out.glob("*.json")) == ["blob_000", "blob_001"]
    assert parts_in(disk.folder) == []
    for path in out.glob("*.json"):
        sidecar = read_sidecar(path)
        assert sidecar is not None
        assert all((out / file).exists() for files in sidecar.files.values() for file in files)
    disk.repair()
    assert predict([*words, "--skip-done", "--quiet"]) == 0
    assert len(list(out.glob("*.json"))) == 4
    assert list(out.glob(".*")) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_into_a_read_only_folder_is_refused(
    disk: Disk, prediction: Words, refused: Printed, kind: tuple[str, ...]
) -> None:
    disk.make_read_only()
    words = prediction(disk.folder / "out", *kind)
    assert "read-only" in refused(predict, words)


def test_missing_permissions_are_reported(
    pretended_disk: PretendedDisk, prediction: Words, training: Words, refused: Printed
) -> None:
    pretended_disk.forbid()
    out = pretended_disk.folder / "out"
    assert "no permission" in refused(predict, prediction(out))
    assert "no permission" in refused(train, training(out))


def test_a_prediction_stops_if_its_folder_disappears(
    tmp_path: Path, prediction: Words, monkeypatch: pytest.MonkeyPatch, refused: Printed
) -> None:
    out = tmp_path / "out"
    import latentfm_core.cli.images as module

    before_call(monkeypatch, module, "describe_result", 3, lambda: shutil.rmtree(out))
    assert "the folder is gone" in refused(predict, prediction(out))
    assert not out.exists()


def test_maps_that_disappear_during_writing_are_never_complete(
    tmp_path: Path, prediction: Words, monkeypatch: pytest.MonkeyPatch, refused: Printed
) -> None:
    """Zarr would create the folder again, without the chunks written before."""
    out = tmp_path / "out"
    before_call(monkeypatch, MapStore, "put", 1, lambda: shutil.rmtree(out))
    assert "is gone" in refused(predict, prediction(out, "--tiled"))
    assert not list(tmp_path.rglob("*.zarr"))


# --- evaluation and calibration -----------------------------------------------------------


def test_an_evaluation_that_cannot_be_written_is_still_printed(
    disk: Disk,
    images: Folders,
    tiny_model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    refused: Printed,
) -> None:
    out = disk.folder / "figures"
    words = ["--images", images[0], "--masks", images[1], "--out", out]
    words += ["--model", tiny_model_folder, *FEW, "--overwrite"]
    command = [str(word) for word in words]
    assert evaluate(command) == 0
    older = {path.name: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()
    import latentfm_core.cli.commands.evaluate as module

    before_call(monkeypatch, module, "write_evaluation", 1, disk.fill)
    assert evaluate(command) == 2
    captured = capsys.readouterr()
    assert "the disk is full" in captured.err
    assert "Dice of the mean mask" in captured.out, "hours of work are not lost with the file"
    assert {path.name: path.read_bytes() for path in out.iterdir()} == older
    disk.repair()
    before_call(monkeypatch, module, "write_evaluation", 1, lambda: shutil.rmtree(out))
    assert evaluate(command) == 0
    assert {path.name for path in out.iterdir()} == set(older), "the folder is made again"
    capsys.readouterr()
    disk.make_read_only()
    assert "read-only" in refused(evaluate, command)


def test_a_failed_calibration_write_does_not_change_the_card(
    disk: Disk,
    images: Folders,
    tiny_model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Printed,
) -> None:
    model = copy_model(tiny_model_folder, disk.folder / "model")
    words = ["--images", images[0], "--masks", images[1], "--model", model, *FEW, "--allow-few"]
    command = [str(word) for word in words]
    older = (model / "model.json").read_bytes()
    import latentfm_core.cli.commands.calibrate as module

    fitted = before_call(monkeypatch, module, "fit_calibration", 0, disk.repair)
    disk.make_read_only()
    assert "read-only" in refused(calibrate, command)
    assert fitted == [], "refused before the work"
    disk.repair()
    before_call(monkeypatch, module, "write_card", 1, disk.fill)
    assert "the disk is full" in refused(calibrate, command)
    assert (model / "model.json").read_bytes() == older
    disk.repair()
    assert calibrate(command) == 0
    assert load_model(model)[1].calibration is not None
    genuine = module.fit_calibration

    def fit_and_vanish(*args: Any) -> Any:
        found = genuine(*args)
        shutil.rmtree(model)
        return found

    monkeypatch.setattr(module, "fit_calibration", fit_and_vanish)
    assert "the folder is gone" in refused(calibrate, command)
    assert not model.exists(), "a card without weights would be no model"


# --- lower levels ----------------------------------------------------------------------


def test_temporary_parts_are_removed_only_after_their_process_ends(tmp_path: Path) -> None:
    dead = tmp_path / ".latentfm-abcd1234-a.txt"
    dead.write_text("half")
    aside = tmp_path / ".latentfm-abcd1234-old-b.zarr"
    aside.mkdir()
    foreign = tmp_path / ".latentfm-notes.txt"
    foreign.write_text("of somebody")
    with new_file(tmp_path / "a.txt") as living:
        living.write_text("under way")
        remove_dead(tmp_path)
        assert living.read_text() == "under way"
    assert not dead.exists()
    assert (tmp_path / "b.zarr").is_dir(), "what was about to be replaced has its name again"
    assert foreign.exists()


def test_a_link_named_like_a_temporary_part_is_not_followed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "work.txt").write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / ".latentfm-abcd1234-a").symlink_to(mine)
    remove_dead(folder)
    assert (mine / "work.txt").read_text() == "precious"


def test_a_name_of_maximum_length_is_written(tmp_path: Path) -> None:
    name = "a" * 251 + ".txt"
    write_text(tmp_path / name, "whole")
    assert (tmp_path / name).read_text() == "whole"


def test_an_exceeded_quota_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def over(_: object) -> None:
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", over)
    with pytest.raises(OutputError, match="quota"):
        write_text(tmp_path / "a.txt", "x")
    assert list(tmp_path.iterdir()) == []


def test_files_are_flushed_as_windows_requires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    genuine = os.fsync

    def flush(descriptor: int) -> None:
        access = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and access == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        genuine(descriptor)

    monkeypatch.setattr(os, "fsync", flush)
    write_text(tmp_path / "a.txt", "whole")
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_a_folder_created_by_another_process_is_kept(tmp_path: Path) -> None:
    final = tmp_path / "a.zarr"
    with pytest.raises(OutputError, match="already exists"), atomic_folder(final) as mine:
        (mine / "mine.txt").write_text("x")
        final.mkdir()
        (final / "other.txt").write_text("y")
    assert [path.name for path in final.iterdir()] == ["other.txt"]
    assert list(tmp_path.iterdir()) == [final]


def test_a_folder_removed_before_locking_is_recreated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, made = tempfile.mkdtemp, []

    def make(*args: Any, **options: Any) -> str:
        made.append(genuine(*args, **options))
        if len(made) == 1:
            remove_dead(tmp_path)
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", make)
    with atomic_folder(tmp_path / "a.zarr") as folder:
        (folder / "a.txt").write_text("x")
    assert (tmp_path / "a.zarr" / "a.txt").exists()
    assert len(made) == 2
