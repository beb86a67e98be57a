"""Exported annotations are read back unchanged."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from latentfm_core.annotation.export import (
    export_annotation,
    label_counts,
    sidecar_path,
    write_labels_file,
)
from latentfm_core.annotation.formats import Space
from latentfm_core.annotation.nifti import orientation_note
from latentfm_core.annotation.provenance import correction, file_name
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.colours import label_colour
from latentfm_core.errors import ImageError, LatentFMError, OutputError
from latentfm_core.images.read import read_image
from tests.helpers.annotations import info, labels_of

MICRONS = {"spacing": (0.5, 0.25), "units": ("micrometer", "micrometer")}


def test_tiff_keeps_axes_steps_and_units(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    side = info(**MICRONS, strokes=3, seed=7, sampling={"steps": 4})
    export_annotation(path, labels_of(2), side)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.series[0].axes == "YX"
        assert tiff.pages.first.tags["ResolutionUnit"].value == 3
        top, bottom = tiff.pages.first.tags["XResolution"].value
        assert top / bottom == pytest.approx(40_000)
        top, bottom = tiff.pages.first.tags["YResolution"].value
        assert top / bottom == pytest.approx(20_000)
        assert 'PhysicalSizeX="0.25"' in (tiff.ome_metadata or "")
    opened = read_image(path)
    assert (opened.spacing, opened.unit) == ((0.5, 0.25), "micrometer")
    labels, back = read_annotation(path)
    np.testing.assert_array_equal(labels, labels_of(2))
    assert labels.dtype == np.uint8
    assert back is not None
    assert (back.spacing, back.strokes, back.seed) == ((0.5, 0.25), 3, 7)
    assert back.sampling == {"steps": 4}
    assert back.files == ("a.tif",)


@pytest.mark.parametrize(
    ("axes", "units", "shape"),
    [
        ("ZYX", ("micrometer",) * 3, (4, 40, 50)),
        ("TYX", ("second", "millimeter", "millimeter"), (4, 40, 50)),
        ("TZYX", ("second", "nanometer", "nanometer", "nanometer"), (2, 3, 40, 50)),
        ("ZYX", ("pixel",) * 3, (1, 40, 50)),
    ],
)
@pytest.mark.parametrize("suffix", [".tif", ".nii", ".nii.gz"])
def test_stacks_survive_a_round_trip(
    tmp_path: Path, axes: str, units: tuple[str, ...], shape: tuple[int, ...], suffix: str
) -> None:
    if suffix != ".tif":
        pytest.importorskip("nibabel")
    labels = np.random.default_rng(0).integers(0, 4, shape, np.uint8)
    spacing = (3.0, 2.0, 0.5, 0.25)[-len(shape) :]
    path = tmp_path / f"stack{suffix}"
    export_annotation(path, labels, info(shape, axes=axes, spacing=spacing, units=units))
    back, side = read_annotation(path)
    np.testing.assert_array_equal(back, labels)
    assert side is not None
    assert (side.axes, side.spacing, side.units) == (axes, spacing, units)
    sidecar_path(path).unlink()
    alone, none = read_annotation(path)
    assert none is None
    np.testing.assert_array_equal(np.squeeze(alone), np.squeeze(labels))
    if suffix == ".tif" and shape[0] > 1:
        with tifffile.TiffFile(path) as tiff:
            assert tiff.series[0].axes == axes
            xml = tiff.ome_metadata or ""
        assert ("TimeIncrement=" in xml) == ("T" in axes)
        assert ("PhysicalSizeZ=" in xml) == ("Z" in axes)


def test_nifti_has_columns_first_and_millimetres(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    labels = labels_of(1, (3, 40, 50))
    path = tmp_path / "a.nii.gz"
    units = ("micrometer",) * 3
    export_annotation(path, labels, info((3, 40, 50), spacing=(2000, 500, 250), units=units))
    image = nibabel.load(path)
    assert image.shape == (50, 40, 3)
    np.testing.assert_allclose(image.header.get_zooms(), (0.25, 0.5, 2.0))
    np.testing.assert_allclose(np.diag(image.affine), (-0.25, -0.5, 2.0, 1.0))
    assert image.header.get_xyzt_units()[0] == "mm"
    assert np.asarray(image.dataobj)[12, 6, 0] == 1
    assert np.asarray(image.dataobj)[6, 25, 0] == 0
    series = tmp_path / "t.nii"
    units = ("minute", "millimeter", "millimeter")
    export_annotation(series, labels, info((3, 40, 50), axes="TYX", spacing=(2, 1, 1), units=units))
    assert nibabel.load(series).shape == (50, 40, 1, 3)
    assert nibabel.load(series).header.get_zooms()[3] == 120.0


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PSL", "ILA"])
def test_nifti_of_another_orientation_is_reoriented_to_the_image(tmp_path: Path, axes: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    orientations = nibabel.orientations
    labels = np.random.default_rng(0).integers(0, 4, (3, 4, 5), np.uint8)
    path, turned = tmp_path / "a.nii.gz", tmp_path / "turned.nii"
    write_labels_file(path, labels, Space("ZYX"))
    image = nibabel.load(path)
    steps = orientations.axcodes2ornt(axes)
    steps = orientations.ornt_transform(nibabel.io_orientation(image.affine), steps)
    nibabel.save(image.as_reoriented(steps), turned)
    np.testing.assert_array_equal(read_annotation(turned)[0], labels)
    stored = np.asarray(nibabel.load(turned).dataobj).T
    np.testing.assert_array_equal(read_annotation(turned, orientation=axes)[0], stored)
    note = orientation_note(turned, "LPS", None)
    assert note == "" if axes == "LPS" else f"run to {axes}" in note


def test_a_nifti_plane_with_swapped_axes_is_transposed(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    labels = np.random.default_rng(0).integers(0, 4, (4, 5), np.uint8)
    swapped = np.array([[0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
    nibabel.save(nibabel.Nifti1Image(labels, swapped), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_annotation(tmp_path / "a.nii")[0], labels)


def test_nifti_keeps_the_orientation_of_its_image(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    labels = np.random.default_rng(0).integers(0, 4, (3, 4, 5), np.uint8)
    path = tmp_path / "a.nii.gz"
    export_annotation(path, labels, info((3, 4, 5)), "PSR")
    assert nibabel.aff2axcodes(nibabel.load(path).affine) == ("P", "S", "R")
    # With its provenance the annotation is as exported, whatever the image's orientation.
    back, sidecar = read_annotation(path)
    assert sidecar is not None
    np.testing.assert_array_equal(back, labels)


def test_missing_axis_information_in_nifti_is_reported(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    values = np.random.default_rng(0).integers(0, 4, (5, 4, 3)).astype(np.uint8)
    unknown, oblique = tmp_path / "unknown.nii", tmp_path / "oblique.nii"
    image = nibabel.Nifti1Image(values, None)
    image.header["qform_code"] = image.header["sform_code"] = 0
    nibabel.save(image, unknown)
    cosine, sine = np.cos(np.radians(20)), np.sin(np.radians(20))
    affine = np.array([[-cosine, sine, 0, 0], [-sine, -cosine, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(values, affine), oblique)
    for path in (unknown, oblique):
        np.testing.assert_array_equal(read_annotation(path)[0], values.T)
    assert "does not say" in orientation_note(unknown, "LPS", None)
    assert "oblique (by 20 degrees" in orientation_note(oblique, "LPS", None)
    assert orientation_note(oblique, "LPS", oblique) == ""


def test_missing_nibabel_is_reported_with_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(OutputError, match="pip install nibabel"):
        export_annotation(tmp_path / "a.nii.gz", labels_of(1), info())
    assert list(tmp_path.iterdir()) == []


def test_png_keeps_labels_and_resolution(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    export_annotation(path, labels_of(200), info(**MICRONS))
    with Image.open(path) as image:
        assert image.mode == "L"
        assert image.info["dpi"] == pytest.approx((4e6 * 0.0254, 2e6 * 0.0254), rel=1e-6)
    np.testing.assert_array_equal(read_annotation(path)[0], labels_of(200))
    for labels in (labels_of(1, (3, 40, 50)), labels_of(1).astype(np.uint16) * 300):
        with pytest.raises(OutputError, match="TIFF"):
            export_annotation(path, labels, info(labels.shape))
    np.testing.assert_array_equal(read_annotation(path)[0], labels_of(200))


def test_provenance_is_ignored_after_the_labels_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    export_annotation(path, labels_of(1), info())
    Image.fromarray(labels_of(2)).save(path)
    labels, side = read_annotation(path)
    np.testing.assert_array_equal(labels, labels_of(2))
    assert side is None


def test_two_formats_of_one_name_each_have_a_provenance(tmp_path: Path) -> None:
    export_annotation(tmp_path / "a.png", labels_of(1), info(strokes=5))
    export_annotation(tmp_path / "a.tif", labels_of(2), info(strokes=7))
    found = [read_annotation(tmp_path / name)[1] for name in ("a.png", "a.tif")]
    assert [(side.files, side.strokes) for side in found if side is not None] == [
        (("a.png",), 5),
        (("a.tif",), 7),
    ]


def test_a_foreign_json_is_kept(tmp_path: Path) -> None:
    (tmp_path / "b.png.json").write_text('{"mine": 1}')
    with pytest.raises(OutputError, match="another name"):
        export_annotation(tmp_path / "b.png", labels_of(1), info())
    assert (tmp_path / "b.png.json").read_text() == '{"mine": 1}'
    assert not (tmp_path / "b.png").exists()


def test_a_provenance_of_an_older_version_is_read_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    _, beside = export_annotation(path, labels_of(1), info(strokes=5))
    beside.rename(tmp_path / "a.json")
    side = read_annotation(path)[1]
    assert side is not None
    assert side.strokes == 5
    export_annotation(path, labels_of(1), info(strokes=6))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.tif", "a.tif.json"]


def test_failed_writes_are_reported_and_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another folder"):
        export_annotation(tmp_path / "file" / "a.tif", labels_of(1), info())
    with pytest.raises(OutputError, match=r"\.tif"):
        export_annotation(tmp_path / "a.bmp", labels_of(1), info())
    with pytest.raises(ImageError, match="integers"):
        export_annotation(tmp_path / "a.tif", labels_of(1).astype(float), info())
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["none.tif", "text.tif", "text.png", "rgb.png"])
def test_unreadable_files_are_reported(tmp_path: Path, name: str) -> None:
    if name.startswith("text"):
        (tmp_path / name).write_text("hello")
    elif name.startswith("rgb"):
        Image.fromarray(np.eye(5, 3 * 5, dtype=np.uint8).reshape(5, 5, 3)).save(tmp_path / name)
    with pytest.raises(LatentFMError, match=name.replace(".", r"\.")):
        read_annotation(tmp_path / name)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("suffix", [".tif", ".png", ".nii.gz"])
def test_a_truncated_file_never_gives_wrong_labels(
    tmp_path: Path, suffix: str, share: float
) -> None:
    if suffix == ".nii.gz":
        pytest.importorskip("nibabel")
    labels = np.random.default_rng(0).integers(0, 4, (200, 300), np.uint8)
    path = tmp_path / f"a{suffix}"
    export_annotation(path, labels, info(labels.shape))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    try:
        back = read_annotation(path)[0]
    except LatentFMError:
        pass
    else:
        # The description at the end of a TIFF may be missing, but not the pixels.
        assert share > 0.95
        np.testing.assert_array_equal(back, labels)


def test_a_file_without_pixels_is_refused(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / "empty.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((0, 4), np.uint8), np.eye(4)), path)
    with pytest.raises(ImageError, match=r"no pixels\. Choose another file"):
        read_annotation(path)


def test_provenance_contains_no_folder() -> None:
    assert file_name("C:\\patients\\miller\\skin.png") == "skin.png"
    assert file_name("/home/a/skin.png") == "skin.png"
    with pytest.raises(ValueError, match="folder"):
        info(image="miller/skin.png")


def test_the_number_of_strokes_is_exact() -> None:
    strokes = np.zeros((6, 7), np.uint8)
    strokes[1, 2:5], strokes[1, 5:7], strokes[2, :2] = 2, 1, 1
    output = correction((None, None), strokes)
    again = np.zeros(42, np.uint8)
    for value, first, length in output.runs:
        again[first : first + length] = value
    np.testing.assert_array_equal(again.reshape(6, 7), strokes)
    assert output.pixels == 7
    assert label_counts(strokes) == {1: 4, 2: 3}
    assert label_counts(strokes.astype(np.int64)) == {1: 4, 2: 3}


def test_a_palette_png_shows_the_labels_and_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "a.palette.png"
    labels = labels_of(2)
    labels[30:35, 3:6] = 255
    export_annotation(path, labels, info(**MICRONS))
    with Image.open(path) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), labels)
        assert image.info["dpi"] == pytest.approx((4e6 * 0.0254, 2e6 * 0.0254), rel=1e-6)
        seen = np.asarray(image.convert("RGB"))
    assert tuple(seen[0, 0]) == (0, 0, 0)
    assert bytes(seen[6, 12]).hex() == label_colour(2)[1:]
    assert bytes(seen[31, 4]).hex() == label_colour(255)[1:]
    back, side = read_annotation(path)
    np.testing.assert_array_equal(back, labels)
    assert side is not None
    assert side.files == ("a.palette.png",)
