"""DICOM Segmentations, read by highdicom."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from latentfm_core.annotation.dicom_seg import write_dicom_seg
from latentfm_core.annotation.labelled import LabelledImage
from latentfm_core.errors import OutputError


def source(name: str) -> Path:
    data = pytest.importorskip("pydicom.data")
    return Path(data.get_testdata_file(name))


def marked(path: Path | None, shape: tuple[int, int]) -> LabelledImage:
    labels = np.zeros(shape, np.uint8)
    labels[5:20, 7:30] = 2
    labels[22:26, 3:9] = 5
    return LabelledImage("scan.dcm", labels, {2: "liver"}, path=path)


@pytest.mark.parametrize(
    ("name", "shape"), [("CT_small.dcm", (128, 128)), ("MR_small.dcm", (64, 64))]
)
def test_segments_and_patient_come_back(tmp_path: Path, name: str, shape: tuple[int, int]) -> None:
    highdicom = pytest.importorskip("highdicom")
    import pydicom

    image = pydicom.dcmread(source(name))
    given = marked(source(name), shape)
    write_dicom_seg(tmp_path / "a.dcm", given)
    found = highdicom.seg.segread(tmp_path / "a.dcm")
    assert (found.PatientID, found.StudyInstanceUID) == (image.PatientID, image.StudyInstanceUID)
    assert [each.SegmentLabel for each in found.SegmentSequence] == ["liver", "label 5"]
    pixels = found.get_pixels_by_source_instance([image.SOPInstanceUID])
    for place, label in enumerate((2, 5)):
        np.testing.assert_array_equal(pixels[0, ..., place], given.labels == label)


def test_what_cannot_be_a_segmentation_says_so(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    scan = source("CT_small.dcm")
    for given, told in (
        (marked(None, (128, 128)), "refers to a DICOM file"),
        (marked(scan, (64, 64)), "full size"),
        (LabelledImage("scan.dcm", np.zeros((128, 128), np.uint8), path=scan), "nothing is marked"),
        (marked(Path(__file__), (128, 128)), "cannot be made"),
    ):
        with pytest.raises(OutputError, match=told):
            write_dicom_seg(tmp_path / "a.dcm", given)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(OutputError, match=r"napari-latentfm\[dicom\]"):
        write_dicom_seg(tmp_path / "a.dcm", marked(None, (64, 64)))
