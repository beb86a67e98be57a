"""Many changes between images of a work list, in a separate process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHANGES = 21
"""Four rounds through the folder, with strokes on the first and the last image.

`python -m tests.helpers.image_changes IMAGES MODEL 200` makes 200.
"""


def test_many_changes_between_images_do_not_crash(
    tmp_path: Path, blob_folders: tuple[Path, Path], tiny_model_folder: Path
) -> None:
    """With software OpenGL, a viewer that was empty for a moment crashed napari's window."""
    folder = tmp_path / "images"
    folder.mkdir()
    for file in sorted(blob_folders[0].glob("*.png"))[:5]:
        shutil.copy(file, folder)
    command = [sys.executable, "-m", "tests.helpers.image_changes"]
    arguments = [str(folder), str(tiny_model_folder), str(CHANGES)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"ended with {done.returncode}: {done.stderr[-3000:]}")
    assert f"{CHANGES} changes" in done.stdout
