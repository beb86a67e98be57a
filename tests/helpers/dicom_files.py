"""DICOM files of one frame with the attributes that archives require."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)


def source(path: Path, kind: str = "MR", shape: tuple[int, int] = (40, 50), **more: Any) -> Path:
    """Write the DICOM file of an image: a slice of a scan (MR), or a picture (OT)."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    scan = kind == "MR"
    meta.MediaStorageSOPClassUID = MRImageStorage if scan else SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    values = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    values.SOPClassUID, values.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    values.PatientName, values.PatientID, values.Modality = "Doe^Jane", "4711", kind
    values.PatientBirthDate = values.PatientSex = values.AccessionNumber = ""
    values.StudyID, values.StudyDate, values.StudyTime = "1", "20260101", "120000"
    values.ReferringPhysicianName, values.SeriesNumber, values.InstanceNumber = "", 7, 1
    values.StudyInstanceUID, values.SeriesInstanceUID = generate_uid(), generate_uid()
    if scan:
        values.FrameOfReferenceUID, values.PositionReferenceIndicator = generate_uid(), ""
        values.PixelSpacing, values.SliceThickness = [0.5, 0.25], 3
        values.ImagePositionPatient = [4, 5, 6]
        values.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    pixels = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape)
    values.Rows, values.Columns = pixels.shape
    values.SamplesPerPixel, values.PhotometricInterpretation = 1, "MONOCHROME2"
    values.BitsAllocated, values.BitsStored, values.HighBit = 16, 16, 15
    values.PixelRepresentation, values.PixelData = 0, pixels.tobytes()
    for keyword, value in more.items():
        if value is None:
            del values[keyword]
        else:
            setattr(values, keyword, value)
    values.save_as(path, enforce_file_format=True)
    return path
