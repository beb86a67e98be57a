"""One writer per folder, in real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from latentfm_core.errors import FolderBusy, OutputError
from latentfm_core.files.locks import NAME, FolderLock, one_writer
from latentfm_core.worklist.state import WorkList
from tests.helpers.processes import environment

HOLD = """
import sys
from pathlib import Path
from latentfm_core.files.locks import FolderLock
lock = FolderLock(Path(sys.argv[1]))
assert lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""
WRITE = """
import sys
from pathlib import Path
from latentfm_core.worklist.state import WorkList
work = WorkList(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.readline()
for name in sys.argv[2:]:
    work.update(name, state="completed", note=name)
"""


def python(code: str, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_second_process_learns_who_holds_the_lock(tmp_path: Path) -> None:
    process = python(HOLD, tmp_path)
    assert line_of(process) == "held"
    with (
        pytest.raises(FolderBusy, match=f"process {process.pid} on .*Wait for it"),
        one_writer(tmp_path, "writing to", "Wait for it."),
    ):
        pass
    process.communicate("")
    with one_writer(tmp_path, "writing to", "Wait for it."):
        assert (tmp_path / NAME).exists()


def test_the_lock_of_a_killed_process_is_released(tmp_path: Path) -> None:
    process = python(HOLD, tmp_path)
    assert line_of(process) == "held"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    lock = FolderLock(tmp_path)
    assert lock.acquire()
    lock.release()
    assert list(tmp_path.iterdir()) == [], "and leaves nothing"


def test_a_lock_excludes_a_second_one_in_the_same_process(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_writing_does_not_follow_a_link_in_place_of_the_lock(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / NAME).symlink_to(tmp_path / "precious.txt")
    with pytest.raises(OutputError):
        FolderLock(folder).acquire()
    assert (tmp_path / "precious.txt").read_text() == "mine"


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of the size of files")
def test_a_lock_that_cannot_be_written_is_not_held(tmp_path: Path) -> None:
    import resource

    _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
    try:
        with pytest.raises(OutputError, match="file limit"):
            FolderLock(tmp_path).acquire()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
    assert FolderLock(tmp_path).acquire()


def test_two_writers_of_one_work_list_keep_every_state(tmp_path: Path) -> None:
    names = [f"image_{number:02d}.png" for number in range(30)]
    for name in names:
        imsave(tmp_path / name, np.zeros((8, 8), np.uint8), check_contrast=False)
    writers = [python(WRITE, tmp_path, *names[start::2]) for start in (0, 1)]
    assert [line_of(writer) for writer in writers] == ["open", "open"]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    found = WorkList(tmp_path)
    assert found.warning == ""
    assert [name for name in names if found.item(name).state != "completed"] == []
    assert [found.item(name).note for name in names] == names
    assert list(found.output.glob(".*")) == []


def test_a_state_of_another_window_is_not_overwritten(tmp_path: Path) -> None:
    imsave(tmp_path / "a.png", np.zeros((8, 8), np.uint8), check_contrast=False)
    first, second = WorkList(tmp_path), WorkList(tmp_path)
    first.update("a.png", state="completed", seconds=30)
    second.update("a.png", note="seen")
    item = WorkList(tmp_path).item("a.png")
    assert (item.state, item.seconds, item.note) == ("completed", 30, "seen")
