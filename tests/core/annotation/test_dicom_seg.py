"""DICOM segmentations, read back by pydicom and highdicom."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import SegmentationStorage

from latentfm_core.annotation.dicom_seg import write_dicom_seg
from latentfm_core.annotation.labelled import LabelledImage
from latentfm_core.errors import ImageError, OutputError
from tests.helpers.annotations import labels_of
from tests.helpers.dicom_files import source

NAMES = {1: "Nävus", 2: "ulcer", 9: "scar"}


def write(path: Path, scan: Path | None, values: np.ndarray, names: dict[int, str]) -> None:
    write_dicom_seg(path, LabelledImage("scan", values, names, path=scan))


def labels() -> np.ndarray:
    found = labels_of(9)
    found[30:35, 3:6] = 1
    return found


@pytest.mark.parametrize("kind", ["MR", "OT"])
def test_every_class_is_a_segment_of_the_image(tmp_path: Path, kind: str) -> None:
    highdicom = pytest.importorskip("highdicom")
    image = pydicom.dcmread(source(tmp_path / "scan.dcm", kind))
    path = tmp_path / "seg.dcm"
    values = labels() if kind == "MR" else labels()[np.newaxis]
    write(path, tmp_path / "scan.dcm", values, NAMES)
    plain = pydicom.dcmread(path)
    assert plain.SOPClassUID == SegmentationStorage
    for keyword in ("PatientID", "StudyInstanceUID"):
        assert plain[keyword].value == image[keyword].value, "it is filed with its image"
    assert plain.SeriesInstanceUID != image.SeriesInstanceUID
    (series,) = plain.ReferencedSeriesSequence
    (instance,) = series.ReferencedInstanceSequence
    assert instance.ReferencedSOPInstanceUID == image.SOPInstanceUID
    if kind == "MR":
        assert plain.FrameOfReferenceUID == image.FrameOfReferenceUID
    segments = {each.SegmentNumber: each for each in plain.SegmentSequence}
    assert [each.SegmentLabel for each in segments.values()] == ["Nävus", "ulcer", "scar"]
    assert [each.TrackingID for each in segments.values()] == ["label 1", "label 2", "label 9"]
    assert segments[1].SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert (
        segments[1].SegmentationAlgorithmIdentificationSequence[0].AlgorithmName
        == "napari-latentfm"
    )
    frames = np.atleast_3d(plain.pixel_array).reshape(-1, 40, 50)
    output = [
        each.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for each in plain.PerFrameFunctionalGroupsSequence
    ]
    assert output == [1, 2, 3]
    for frame, label in zip(frames, NAMES, strict=True):
        np.testing.assert_array_equal(frame != 0, labels() == label)
    read = highdicom.seg.segread(path)
    again = read.get_pixels_by_source_instance([image.SOPInstanceUID], segment_numbers=[3])
    np.testing.assert_array_equal(again[0, :, :, 0] != 0, labels() == 9)


def test_objects_of_one_class_are_segments_of_one_property_type(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    scan, path = source(tmp_path / "scan.dcm"), tmp_path / "seg.dcm"
    values = labels()
    values[values == 1] = 2
    names, classes = {4: "scar"}, ("lesion",)
    write_dicom_seg(path, LabelledImage("scan", values, names, path=scan, classes=classes))
    segments = pydicom.dcmread(path).SegmentSequence
    assert [each.SegmentLabel for each in segments] == ["lesion 1", "scar", "lesion 2"]
    assert [each.TrackingID for each in segments] == ["label 2", "label 4", "label 9"]
    types = [each.SegmentedPropertyTypeCodeSequence[0] for each in segments]
    assert [(each.CodeValue, each.CodeMeaning) for each in types] == [
        *(("1", "lesion"), ("4", "scar"), ("1", "lesion"))
    ]


def test_an_empty_mask_needs_named_classes(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    scan, path = source(tmp_path / "scan.dcm"), tmp_path / "seg.dcm"
    write(path, scan, np.zeros((40, 50), np.uint8), {1: "naevus"})
    found = pydicom.dcmread(path)
    assert [each.SegmentLabel for each in found.SegmentSequence] == ["naevus"]
    assert not found.pixel_array.any()
    path.unlink()
    with pytest.raises(OutputError, match="name a class"):
        write(path, scan, np.zeros((40, 50), np.uint8), {})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"NumberOfFrames": 2}, "2 frames"),
        ({"Rows": 41}, "41 x 50"),
        ({"Rows": None}, "not a DICOM image"),
        ({"StudyInstanceUID": None}, "lacks"),
    ],
)
def test_a_source_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    pytest.importorskip("highdicom")
    scan = source(tmp_path / "scan.dcm", **change)
    with pytest.raises(ImageError, match=says):
        write(tmp_path / "seg.dcm", scan, labels(), NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.dcm"]


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_files_from_real_scanners(tmp_path: Path, name: str) -> None:
    highdicom = pytest.importorskip("highdicom")
    data = pytest.importorskip("pydicom.data")
    scan = Path(data.get_testdata_file(name))
    image = pydicom.dcmread(scan)
    values = np.zeros((image.Rows, image.Columns), np.uint8)
    values[5:20, 7:30] = 2
    write(tmp_path / "a.dcm", scan, values, {2: "liver"})
    found = highdicom.seg.segread(tmp_path / "a.dcm")
    again = found.get_pixels_by_source_instance([image.SOPInstanceUID])
    np.testing.assert_array_equal(again[0, ..., 0], values == 2)


def test_the_image_itself_is_never_replaced(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    scan = source(tmp_path / "scan.dcm")
    before = scan.read_bytes()
    with pytest.raises(OutputError, match="the image itself"):
        write(scan, scan, labels(), NAMES)
    assert scan.read_bytes() == before


def test_other_files_are_not_accepted_as_source(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    text = tmp_path / "a.png"
    text.write_bytes(b"no image" * 100)
    for path in (text, None):
        with pytest.raises(ImageError, match="choose TIFF"):
            write(tmp_path / "seg.dcm", path, labels(), NAMES)
    with pytest.raises(ImageError, match=r"missing\.dcm"):
        write(tmp_path / "seg.dcm", tmp_path / "missing.dcm", labels(), NAMES)


def test_missing_highdicom_is_reported_with_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(OutputError, match=r"napari-latentfm\[dicom\]"):
        write(tmp_path / "seg.dcm", source(tmp_path / "a.dcm"), labels(), NAMES)
