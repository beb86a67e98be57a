"""An annotation as a DICOM Segmentation object (PS3.3, A.51), for hospital archives.

A segmentation belongs to the DICOM file of its image: patient, study and place come from there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latentfm_core.annotation.labelled import LabelledImage, check_read_back
from latentfm_core.colours import rgb
from latentfm_core.errors import ImageError, OutputError
from latentfm_core.files.atomic import atomic_path
from latentfm_core.files.optional import optional_package
from latentfm_core.files.regular import open_regular
from latentfm_core.images.decode import check_is_file
from latentfm_core.names import shown
from latentfm_core.output.sidecar import versions

if TYPE_CHECKING:
    from types import ModuleType

_NAME = "napari-latentfm"
_SCHEME = "99LATENTFM"
"""Names of classes are free text: their codes are private ones (PS3.16, 8.2), in this scheme."""
_ADVICE = "DICOM-SEG needs the DICOM file from which the image was opened; choose TIFF instead."
_LONGEST = 64
"""Letters of a name in DICOM (value representation LO)."""


def write_dicom_seg(path: Path, labelled: LabelledImage) -> None:
    """Write an annotation as a binary segmentation of its DICOM image, atomically.

    Every label becomes a segment, and so does every class without a label here. Segments of one
    class have the same property type, and a number each. Segments are numbered from 1 in the order
    of the labels; their tracking ID tells the label. Viewers are recommended the colour of
    the label (Recommended Display CIELab Value).

    Parameters
    ----------
    labelled
        Its `path` is the DICOM file with one frame from which the image was opened, and the
        labels lie as the pixels are stored there.

    Raises
    ------
    ImageError
        If the image is not a DICOM image of one frame, or has another size.
    OutputError
        If highdicom is not installed, there is nothing to store, or the file cannot be written.
    """
    library = highdicom()
    source, labels = labelled.path, np.asarray(labelled.labels)
    if source is None:
        raise ImageError(f"{shown(labelled.image)} was not opened from a file. {_ADVICE}")
    check_is_file(source)
    if path.exists() and path.samefile(source):
        raise OutputError(
            f"{shown(path)} is the image itself and would be overwritten. Choose another name."
        )
    image = _source(source)
    if labels.size == image.Rows * image.Columns and set(labels.shape[:-2]) <= {1}:
        labels = labels.reshape(labels.shape[-2:])
    _check_size(image, labels, source)
    present = {int(value) for value in np.unique(labels)} - {0}
    marked = {labelled.name(label) for label in present}
    unmarked = {label for label, name in labelled.class_names.items() if name not in marked}
    wanted = sorted(present | unmarked)
    if not wanted:
        raise OutputError(
            "Nothing is marked and no class has a name, but a DICOM segmentation needs at least "
            "one segment. Mark something, or name a class."
        )
    numbers = np.searchsorted(wanted, labels).astype(np.uint16) + 1
    numbers[labels == 0] = 0
    with atomic_path(path) as temporary:
        try:
            made = _segmentation(library, image, numbers, wanted, labelled)
            made.save_as(temporary)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise ImageError(
                f"{shown(source)} lacks what a DICOM segmentation needs ({error}). Export as "
                "TIFF (.tif), or repair the DICOM file."
            ) from error
        read_back = _read_back(library, temporary, image, len(wanted))
        check_read_back(path, np.array_equal(read_back, numbers))


def highdicom() -> ModuleType:
    """Import and return highdicom; raise `OutputError` if it is not installed."""
    return optional_package(
        "highdicom.seg",
        "DICOM segmentations need highdicom, which is not installed. Install it (pip install "
        '"napari-latentfm[dicom]") and restart napari, or choose another format.',
    )


def _source(path: Path) -> Any:
    import pydicom

    try:
        with open_regular(path) as stream:  # pixels are not needed
            image = pydicom.dcmread(stream, stop_before_pixels=True)
        frames = int(image.get("NumberOfFrames") or 1)
    except Exception as error:
        # Damaged files raise other errors than InvalidDicomError, too.
        raise ImageError(f"{shown(path)} cannot be read as DICOM ({error}). {_ADVICE}") from error
    if not {"Rows", "Columns", "SOPInstanceUID"} <= set(image.dir()):
        raise ImageError(f"{shown(path)} is not a DICOM image. {_ADVICE}")
    if frames != 1:
        raise ImageError(
            f"{shown(path)} has {frames} frames, but DICOM-SEG can be exported for one frame only. "
            "Export as TIFF or NIfTI."
        )
    return image


def _check_size(image: Any, labels: NDArray[Any], source: Path) -> None:
    if labels.shape != (image.Rows, image.Columns):
        raise ImageError(
            f"{shown(source)} has {image.Rows} x {image.Columns} pixels, and the annotation the "
            f"shape {labels.shape}. Open the image of the annotation."
        )


def _segmentation(
    library: Any,
    image: Any,
    numbers: NDArray[np.uint16],
    wanted: list[int],
    labelled: LabelledImage,
) -> Any:
    version = versions().get(_NAME) or "unknown"
    of_class: dict[str, list[int]] = {}
    for label in wanted:
        of_class.setdefault(labelled.name(label), []).append(label)
    segments = [
        _segment(library, number, label, labelled, of_class[labelled.name(label)], version)
        for number, label in enumerate(wanted, 1)
    ]
    made = library.seg.Segmentation(
        source_images=[image],
        pixel_array=numbers[np.newaxis],
        segmentation_type="BINARY",
        segment_descriptions=segments,
        series_instance_uid=library.UID(),
        series_number=_following(image.get("SeriesNumber")),
        sop_instance_uid=library.UID(),
        instance_number=1,
        manufacturer=_NAME,
        manufacturer_model_name=_NAME,
        software_versions=version,
        device_serial_number="none",
        content_description="Annotation",
        # A segment without pixels keeps its frame: it was looked for and not found.
        omit_empty_frames=False,
    )
    made.SpecificCharacterSet = "ISO_IR 192"
    return made


def _segment(
    library: Any, number: int, label: int, labelled: LabelledImage, same: list[int], version: str
) -> Any:
    """Return the description of a segment; `same` are all labels of its class."""
    from pydicom.sr.codedict import codes

    name = labelled.name(label).replace("\\", "/")
    suffix = f" {same.index(label) + 1}" if len(same) > 1 else ""
    names = (known for known, each in labelled.class_names.items() if each == labelled.name(label))
    code = min(names, default=same[0])
    algorithm = library.AlgorithmIdentificationSequence(
        name=_NAME,
        family=codes.DCM.ArtificialIntelligence,
        version=version,
    )
    return library.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[: _LONGEST - len(suffix)] + suffix,
        # The most general of the usual categories (CID 7150): classes may be anything.
        segmented_property_category=codes.SCT.SpatialAndRelationalConcept,
        segmented_property_type=library.sr.CodedConcept(str(code), _SCHEME, name[:_LONGEST]),
        # The model proposes, and a person decides.
        algorithm_type="SEMIAUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=library.UID(),
        tracking_id=f"label {label}",
        display_color=library.color.CIELabColor.from_rgb(*rgb(labelled.colour(label))),
    )


def _following(series: Any) -> int:
    """Return a number for the new series; DICOM asks for none that is in use nearby."""
    return int(series or 0) % 100_000 + 1000


def _read_back(library: Any, path: Path, image: Any, segments: int) -> NDArray[Any]:
    segmentation = library.seg.segread(path)
    pixels = segmentation.get_pixels_by_source_instance(
        [image.SOPInstanceUID],
        segment_numbers=list(range(1, segments + 1)),
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    return np.asarray(pixels[0])
