"""Annotations as DICOM Segmentation objects of the DICOM image that they were made on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from latentfm_core.annotation.labelled import LabelledImage, check_plane
from latentfm_core.errors import OutputError
from latentfm_core.files.atomic import atomic_path
from latentfm_core.names import shown
from latentfm_core.output.sidecar import package_version

MISSING = (
    "DICOM Segmentation needs highdicom, which is not installed. Install it "
    '(pip install "napari-latentfm[dicom]") and start again, or choose another format.'
)
_SCHEME = "99LATENTFM"
_LONGEST_MEANING = 64


def write_dicom_seg(path: Path, labelled: LabelledImage) -> None:
    """Write one plane as a binary DICOM Segmentation, a segment for each label, atomically.

    Patient, study and frame of reference are those of the source image. It is read back before
    it gets its name.

    Raises
    ------
    OutputError
        If highdicom is missing, the source is not a single-frame DICOM image of the same rows
        and columns, nothing is marked, or the file cannot be written.
    """
    check_plane(labelled, "DICOM Segmentation")
    try:
        import highdicom
        from pydicom.errors import InvalidDicomError
    except ImportError:
        raise OutputError(MISSING) from None
    values = np.asarray(labelled.labels)
    present = [int(label) for label in np.unique(values) if label]
    if not present:
        raise OutputError(
            f"{labelled.image}: nothing is marked, and a DICOM Segmentation cannot be empty. "
            "Export it as TIFF (.tif) instead."
        )
    try:
        source = _source(labelled, values.shape)
        masks = np.stack([values == label for label in present], axis=-1)[np.newaxis]
        found = _segmentation(highdicom, source, masks.astype(np.uint8), labelled, present)
        with atomic_path(path) as temporary:
            found.save_as(temporary)
            again = highdicom.seg.segread(temporary)
            read = again.get_pixels_by_source_instance([source.SOPInstanceUID])
            if not np.array_equal(read, masks):
                raise OutputError(
                    f"{shown(path)}: what was written differs from the labels when it is read "
                    "back. Nothing was exported; choose another format."
                )
    except (InvalidDicomError, AttributeError, ValueError, TypeError, KeyError) as error:
        raise OutputError(
            f"{labelled.image}: a DICOM Segmentation cannot be made of this image ({error}). "
            "Export it as TIFF (.tif) instead."
        ) from error


def _source(labelled: LabelledImage, shape: tuple[int, ...]) -> Any:
    import pydicom

    if labelled.path is None or not labelled.path.is_file():
        raise OutputError(
            f"{labelled.image}: a DICOM Segmentation refers to a DICOM file, and this image has "
            "none. Export it as TIFF (.tif) instead."
        )
    source = pydicom.dcmread(labelled.path)
    if int(source.get("NumberOfFrames", 1) or 1) != 1:
        raise OutputError(
            f"{labelled.image}: the DICOM image has several frames, and only single ones are "
            "exported. Export it as TIFF (.tif) instead."
        )
    if (source.Rows, source.Columns) != shape:
        raise OutputError(
            f"{labelled.image}: the annotation has {shape[0]} x {shape[1]} pixels, its DICOM "
            f"image {source.Rows} x {source.Columns}. Annotate the image at its full size."
        )
    return source


def _segmentation(
    library: Any, source: Any, masks: Any, labelled: LabelledImage, present: list[int]
) -> Any:
    segments = [
        library.seg.SegmentDescription(
            segment_number=number,
            segment_label=labelled.name(label)[:_LONGEST_MEANING],
            # SNOMED CT has no code for a name that somebody types; "tissue" claims the least.
            segmented_property_category=library.sr.CodedConcept("85756007", "SCT", "Tissue"),
            segmented_property_type=library.sr.CodedConcept(
                f"LABEL{label}", _SCHEME, labelled.name(label)[:_LONGEST_MEANING]
            ),
            algorithm_type="MANUAL",
        )
        for number, label in enumerate(present, 1)
    ]
    return library.seg.Segmentation(
        source_images=[source],
        pixel_array=masks,
        segmentation_type="BINARY",
        segment_descriptions=segments,
        series_instance_uid=library.UID(),
        series_number=900,
        sop_instance_uid=library.UID(),
        instance_number=1,
        manufacturer="napari-latentfm",
        manufacturer_model_name="napari-latentfm",
        software_versions=package_version(),
        device_serial_number="0",
    )
