"""Full or read-only disks: mounted where the user may mount, otherwise simulated."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

MEGA = 2**20


class PretendedDisk:
    """A folder in which Python's writing functions fail like those of a bad disk."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.folder.mkdir()
        self._number: int | None = None
        for name in ("open", "mkdir", "replace", "rename"):
            monkeypatch.setattr(os, name, self._checked(getattr(os, name)))

    def fill(self) -> None:
        """Make all writing fail: no space left."""
        self._number = errno.ENOSPC

    def make_read_only(self) -> None:
        """Make all writing fail: read-only file system."""
        self._number = errno.EROFS

    def forbid(self) -> None:
        """Make all writing fail: no permission."""
        self._number = errno.EACCES

    def repair(self) -> None:
        """Make writing work again."""
        self._number = None

    def _checked(self, genuine: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **options: Any) -> Any:
            writes = genuine.__name__ != "open" or args[0] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and isinstance(path, str | os.PathLike):
                where = Path(path)
                made_already = genuine.__name__ == "mkdir" and where.is_dir()
                if where.is_relative_to(self.folder) and not made_already:
                    self._fail(str(path))
            return genuine(path, *args, **options)

        return call

    def _fail(self, path: str) -> None:
        if self._number is not None:
            raise OSError(self._number, os.strerror(self._number), path)


class RealDisk:
    """A file system of a few megabytes in memory, mounted for one test."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        folder.mkdir()
        self._mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder)

    def fill(self) -> None:
        """Fill the disk with a file."""
        with (
            (self.folder / "filler").open("wb", buffering=0) as stream,
            pytest.raises(OSError, match="No space left"),
        ):
            while True:
                stream.write(bytes(MEGA))

    def make_read_only(self) -> None:
        """Mount the disk read-only."""
        self._mount("-o", "remount,ro", self.folder)

    def repair(self) -> None:
        """Free space, and mount the disk for writing."""
        self._mount("-o", "remount,rw", self.folder)
        (self.folder / "filler").unlink(missing_ok=True)

    def unmount(self) -> None:
        """Unmount the disk."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def _mount(self, *words: object) -> None:
        try:
            subprocess.run(["mount", *map(str, words)], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("this user may not mount a file system")


@pytest.fixture
def real_disk(tmp_path: Path) -> Iterator[RealDisk]:
    disk = RealDisk(tmp_path / "disk", 24)
    yield disk
    disk.unmount()


@pytest.fixture
def pretended_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretendedDisk:
    return PretendedDisk(tmp_path / "pretended", monkeypatch)


@pytest.fixture(params=["real", "pretended"])
def disk(request: pytest.FixtureRequest) -> RealDisk | PretendedDisk:
    found: RealDisk | PretendedDisk = request.getfixturevalue(f"{request.param}_disk")
    return found


@pytest.fixture
def one_disk(request: pytest.FixtureRequest) -> RealDisk | PretendedDisk:
    """A real disk if the user may mount one, otherwise a simulated one."""
    try:
        found: RealDisk | PretendedDisk = request.getfixturevalue("real_disk")
    except pytest.skip.Exception:
        found = request.getfixturevalue("pretended_disk")
    return found


def parts_in(folder: Path) -> list[Path]:
    """Return the temporary files below a folder."""
    return [path for path in folder.rglob(".latentfm-*") if path.name != ".latentfm-claims"]
