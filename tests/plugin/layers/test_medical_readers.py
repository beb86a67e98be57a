"""NIfTI and DICOM images opened by other plugins are segmented and exported in place."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from latentfm_core.annotation.reading import read_annotation
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.writing import write_labels
from napari_latentfm.dock.panel import LatentFMPanel
from napari_latentfm.layers.pixels import read_plane
from napari_latentfm.layers.planes import displayed_plane
from napari_latentfm.layers.specs import METADATA_KEY
from napari_latentfm.preferences import HOME_VARIABLE
from napari_latentfm.results.session import session_of
from tests.helpers.plugin_fixtures import PATIENCE, OpenDock, disc_image, run

ROW, COLUMN, SLICE = 0.5, 0.25, 3.0
"""Pixel size in mm."""
SECRETS = ("Miller^Jane", "19610401", "Ward-Seven", "P-4711")


def scan() -> np.ndarray:
    """Return ``(H, W)`` uint16 like that of a scanner."""
    return disc_image()[..., 0].astype(np.uint16) * 12


def write_nifti(path: Path) -> Path:
    """Write one slice; the header contains a patient."""
    # Axes of NIfTI run to the right, to the front and up.
    image = nibabel.Nifti1Image(
        scan().T[:, :, None], np.diag([-COLUMN, -ROW, SLICE, 1]), dtype=np.uint16
    )
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = SECRETS[0]
    nibabel.save(image, path)
    return path


def write_dicom(path: Path) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    values.SOPClassUID, values.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    values.PatientName, values.PatientBirthDate, values.InstitutionName, values.PatientID = SECRETS
    values.Modality = "MR"
    values.StudyInstanceUID, values.SeriesInstanceUID = generate_uid(), generate_uid()
    values.FrameOfReferenceUID = generate_uid()
    pixels = scan()
    values.Rows, values.Columns = pixels.shape
    values.PixelSpacing, values.SliceThickness = [ROW, COLUMN], SLICE
    values.ImagePositionPatient, values.ImageOrientationPatient = [4, 5, 6], [1, 0, 0, 0, 1, 0]
    values.SamplesPerPixel, values.PhotometricInterpretation = 1, "MONOCHROME2"
    values.BitsAllocated, values.BitsStored, values.HighBit = 16, 16, 15
    values.PixelRepresentation = 0
    values.PixelData = pixels.tobytes()
    values.save_as(path, enforce_file_format=True)
    return path


def as_napari_itk_io_gives_it(viewer: Any, path: Path) -> Any:
    """Add a DICOM file as version 0.4.1 of that plugin does: each tag is in the metadata."""
    values = pydicom.dcmread(path)
    row, column = values.PixelSpacing
    scale, origin = (1.0, row, column), tuple(values.ImagePositionPatient)[::-1]
    tags = {
        f"{element.tag.group:04x}|{element.tag.element:04x}": str(element.value)
        for element in values
        if element.keyword != "PixelData"
    }
    assert all(secret in str(tags) for secret in SECRETS), "there is something to remove"
    space = {"spacing": np.array(scale), "origin": np.array(origin), "direction": np.eye(3)}
    return viewer.add_image(
        values.pixel_array[None],
        name=path.stem,
        scale=scale,
        translate=origin,
        metadata={**tags, **space},
    )


NIFTI, DICOM = "scan.nii.gz", "scan.dcm"


def by_plugin(name: str, plugin: str) -> Any:
    """Return a case that is skipped where the plugin is not installed."""
    missing = importlib.util.find_spec(plugin.replace("-", "_")) is None
    why = f"{plugin} is not installed: see the extra test"
    mark = pytest.mark.skipif(missing, reason=why)
    return pytest.param((name, plugin), id=f"{name} by {plugin}", marks=mark)


@pytest.fixture(
    params=[
        by_plugin(NIFTI, "napari-nifti"),
        by_plugin(NIFTI, "napari-itk-io"),
        by_plugin(DICOM, "napari-itk-io"),
        pytest.param((DICOM, ""), id="scan.dcm as by napari-itk-io"),
    ]
)
def opened(
    request: pytest.FixtureRequest, opened_dock: OpenDock, npe2pm: Any, tmp_path: Path
) -> tuple[Any, LatentFMPanel, Any]:
    """Return viewer, dock and the layer of a file, opened by a reader plugin if installed."""
    name, plugin = request.param
    viewer, dock = opened_dock()
    path = (write_nifti if name == NIFTI else write_dicom)(tmp_path / name)
    if not plugin:
        return viewer, dock, as_napari_itk_io_gives_it(viewer, path)
    with npe2pm.tmp_plugin(package=plugin):
        (layer,) = viewer.open(path, plugin=plugin)
    return viewer, dock, layer


def everything_below(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


# ITK's own classes; as an error the warning crashes the process that imports them.
@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")
def test_results_align_with_the_image_and_contain_no_patient_data(
    qtbot: Any, opened: tuple[Any, LatentFMPanel, Any], tmp_path: Path
) -> None:
    viewer, dock, layer = opened
    panel, section = dock.sampling, dock.review.annotation
    assert layer.data.shape == (1, *scan().shape)
    steps = np.abs(layer.scale)
    np.testing.assert_allclose(steps[1:], (ROW, COLUMN))
    image = read_plane(layer, displayed_plane(layer, viewer.dims))
    assert image.spacing == pytest.approx((ROW, COLUMN))

    panel.form.image.value = layer
    assert run(qtbot, panel) == "done"
    results = [found for found in viewer.layers if METADATA_KEY in found.metadata]
    assert len(results) == 4
    middle = [0.0, *(np.array(scan().shape) // 2)]
    for found in results:
        place = [0.0] * (found.ndim - 3) + middle
        np.testing.assert_allclose(found.scale[-3:], layer.scale)
        np.testing.assert_allclose(found.data_to_world(place)[-3:], layer.data_to_world(middle))
        assert found.units[-3:] == layer.units
    mask = viewer.layers[f"{layer.name} [0] · mean mask"]
    assert mask.data.any()

    # From the review to files, with the size of the pixels and without the patient.
    qtbot.waitUntil(lambda: not section.autosaver.work.busy, timeout=PATIENCE)
    session = session_of(viewer)
    write_labels(session, mask.data[0])
    annotation = annotation_of(session, create=False)
    np.testing.assert_allclose(annotation.scale, layer.scale)
    endings: list[str] = []
    section.finished.connect(endings.append)
    out = tmp_path / "out"
    out.mkdir()
    for ending in ("tif", "nii.gz"):
        section.files.ask_save = lambda _, ending=ending: out / f"outline.{ending}"
        section.export_button.click()
        qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
        assert endings.pop() == "done", section.status.text()
        labels, _ = read_annotation(out / f"outline.{ending}")
        np.testing.assert_array_equal(labels, mask.data)
    output = json.loads((out / "outline.tif.json").read_text("utf-8"))
    assert output["spacing"] == pytest.approx(tuple(steps))
    assert nibabel.load(out / "outline.nii.gz").header.get_zooms() == pytest.approx(
        tuple(steps[::-1])
    )
    # In the body it lies where the image does, and from there it returns, stored in another way.
    exported = nibabel.load(out / "outline.nii.gz")
    canonical = nibabel.as_closest_canonical(exported)
    mirrored = layer.scale[-1] < 0  # by napari-nifti
    placed = mask.data if mirrored else mask.data[:, ::-1, ::-1]
    np.testing.assert_array_equal(np.asarray(canonical.dataobj).T, placed)
    to_psl = nibabel.orientations.axcodes2ornt("PSL")
    to_psl = nibabel.orientations.ornt_transform(nibabel.io_orientation(exported.affine), to_psl)
    nibabel.save(exported.as_reoriented(to_psl), out / "turned.nii.gz")
    annotation.data = np.zeros_like(annotation.data)
    section.files.ask_open = lambda _: out / "turned.nii.gz"
    section.open_button.click()
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings.pop() == "done", section.status.text()
    assert "run to PSL" in section.status.text()
    np.testing.assert_array_equal(annotation_of(session, create=False).data, mask.data)
    written = everything_below(out) + everything_below(Path(os.environ[HOME_VARIABLE]))
    for secret in SECRETS:
        assert secret.encode() not in written
        assert all(secret not in str(found.metadata) for found in (*results, annotation))
