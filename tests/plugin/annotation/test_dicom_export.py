"""Export of DICOM segmentations, which requires an image from a DICOM file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from napari.layers._source import layer_source
from qtpy.QtWidgets import QFileDialog

from napari_latentfm.annotation.writing import write_labels
from tests.helpers.annotating import Window, open_window
from tests.helpers.dicom_files import source
from tests.helpers.looks import SHAPE, disc

__all__ = ["open_window"]


def export(window: Window, path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Export by the button, with a given answer of the file dialog."""

    def answer(*arguments: object) -> tuple[str, str]:
        (wanted,) = [each for each in str(arguments[3]).split(";;") if "DICOM" in each]
        return str(path), wanted

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    endings: list[str] = []
    window.section.finished.connect(endings.append)
    window.section.export_button.click()
    window.wait(lambda: bool(endings))
    window.section.finished.disconnect(endings.append)
    return endings[0]


def test_the_annotation_of_a_dicom_image_is_exported_as_segmentation(
    open_window: Callable[..., Window], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("highdicom")
    scan = source(tmp_path / "scan.dcm", shape=SHAPE)
    with layer_source(path=str(scan)):
        window = open_window()
    write_labels(window.session, disc(30, 30, 10))
    assert export(window, tmp_path / "mask", monkeypatch) == "done"
    assert "mask.dcm" in window.section.status.text()
    found = pydicom.dcmread(tmp_path / "mask.dcm")
    np.testing.assert_array_equal(found.pixel_array != 0, disc(30, 30, 10))
    assert [each.SegmentLabel for each in found.SegmentSequence] == ["cell"]
    assert found.StudyInstanceUID == pydicom.dcmread(scan).StudyInstanceUID


def test_missing_choices_are_reported(
    open_window: Callable[..., Window], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("highdicom")
    said: list[str] = []
    monkeypatch.setattr("napari_latentfm.annotation.section.show_error", said.append)
    window = open_window()
    write_labels(window.session, disc(30, 30, 10))
    assert export(window, tmp_path / "mask.dcm", monkeypatch) == "failed"
    assert "choose TIFF" in said[-1]
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert export(window, tmp_path / "mask.dcm", monkeypatch) == "failed"
    assert "napari-latentfm[dicom]" in said[-1]
    assert list(tmp_path.glob("*.dcm")) == []
