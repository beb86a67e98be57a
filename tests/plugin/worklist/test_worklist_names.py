"""Images with file names that are invalid on other systems or disks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentfm_core.annotation.reading import read_annotation
from latentfm_core.worklist.state import WorkList
from napari_latentfm.worklist.panel import QueuePanel
from tests.helpers.plugin_fixtures import PATIENCE
from tests.plugin.worklist.test_worklist_panel import NAMES, Open, annotate, images, queue

__all__ = ["images", "queue"]

ODD = ["1:30 visit.png", "set\\b.png", "C:\\x.png", "a\x1b[31m.png", "line\nbreak.png"]


def shown_by(panel: QueuePanel) -> list[str]:
    found: list[str] = []
    panel.shown.connect(found.append)
    return found


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_images_with_any_file_name_can_be_annotated(qtbot: Any, queue: Open, images: Path) -> None:
    odd = [*ODD, os.fsdecode(b"\xff\xfe.png")]
    for name in odd:
        shutil.copy(images / NAMES[0], images / name)
    for name in NAMES[1:]:
        (images / name).unlink()
    viewer, panel = queue(wait=False)
    shown = shown_by(panel)
    panel.open_folder()
    for number in range(1 + len(odd)):
        qtbot.waitUntil(lambda number=number: len(shown) > number, timeout=PATIENCE)
        mask = annotate(viewer, 5 + number)
        name = shown[number]
        panel.accept()
        assert panel.work is not None
        work = panel.work
        qtbot.waitUntil(
            lambda name=name, work=work: work.item(name).state == "completed", timeout=PATIENCE
        )
        labels, sidecar = read_annotation(work.annotation(name))
        np.testing.assert_array_equal(labels > 0, mask)
        assert sidecar is not None
    assert sorted(shown) == sorted([NAMES[0], *odd])
    again = WorkList(images)
    assert again.warning == ""
    assert {item.state for item in again.items().values()} == {"completed"}


def test_unusable_files_are_flagged_and_the_others_continue(
    qtbot: Any, queue: Open, images: Path
) -> None:
    bad = {"a" * 251: "bytes, and at most", "a": "a broken link", "ab": "cannot be read"}
    shutil.copy(images / NAMES[0], images / f"{'a' * 251}.png")
    (images / "a.png").symlink_to(images / "gone.png")
    (images / "ab.png").write_text("no picture")
    _, panel = queue(wait=False)
    shown = shown_by(panel)
    panel.open_folder()
    qtbot.waitUntil(lambda: NAMES[0] in shown, timeout=PATIENCE)
    for stem, reason in bad.items():
        item = WorkList(images).item(f"{stem}.png")
        assert item.state == "flagged"
        assert reason in item.error
