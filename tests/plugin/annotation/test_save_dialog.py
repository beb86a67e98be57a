"""The file of an export, depending on the choices in the file dialog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_latentfm import preferences
from napari_latentfm.annotation.widgets import (
    FILTERS,
    SECTION,
    ask_save,
    remember_choice,
    suggested,
)


@pytest.mark.parametrize(
    ("typed", "chosen", "wanted"),
    [
        ("mask", ".palette.png", "mask.palette.png"),
        ("mask.json", ".labelme.json", "mask.labelme.json"),
        ("mask.tif", ".coco.json", "mask.coco.json"),
        ("mask.tiff", ".tif", "mask.tiff"),
        ("mask.PNG", ".tif", "mask.PNG"),
        ("mask.csv", ".coco.json", "mask.csv"),
        ("mask.v2", ".dcm", "mask.v2.dcm"),
    ],
)
def test_the_chosen_format_applies_unless_another_suffix_was_typed(
    qtbot: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    chosen: str,
    wanted: str,
) -> None:
    answer = (str(tmp_path / typed), FILTERS[chosen])
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: answer)
    parent = QWidget()
    qtbot.addWidget(parent)
    assert ask_save(parent, tmp_path / "mask.tif") == tmp_path / wanted


def test_an_existing_file_with_a_changed_suffix_needs_confirmation(
    qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mask.coco.json").write_text("mine")
    answer = (str(tmp_path / "mask.tif"), FILTERS[".coco.json"])
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: answer)
    parent = QWidget()
    qtbot.addWidget(parent)
    for button, result in (
        (QMessageBox.StandardButton.No, None),
        (QMessageBox.StandardButton.Yes, tmp_path / "mask.coco.json"),
    ):
        monkeypatch.setattr(QMessageBox, "question", lambda *_, answer=button: answer)
        assert ask_save(parent, tmp_path / "mask.tif") == result


@pytest.mark.parametrize("ending", FILTERS)
def test_the_last_format_is_suggested_again(
    qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    before = preferences.get(SECTION)
    try:
        remember_choice(tmp_path / f"mask{ending}")
        found = suggested("skin.png", None)
        assert found == tmp_path / f"skin_annotation{ending}"
        assert suggested("scan.1", None) == tmp_path / f"scan.1_annotation{ending}"
        offered: list[object] = []
        monkeypatch.setattr(
            QFileDialog, "getSaveFileName", lambda *given: (offered.append(given[4]), ("", ""))[1]
        )
        parent = QWidget()
        qtbot.addWidget(parent)
        assert ask_save(parent, found) is None
        assert offered == [FILTERS[ending]]
    finally:
        preferences.put(SECTION, before)
