"""Annotations as files: nothing is lost by a kill, and what was exported comes back."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from latentfm_core.annotation import signature as signature_module
from latentfm_core.annotation.autosave import ROTATIONS, AutosaveStore
from latentfm_core.annotation.export import export_annotation, label_counts, sidecar_path
from latentfm_core.annotation.provenance import AnnotationSidecar, correction, file_name
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.annotation.signature import image_signature
from latentfm_core.data.images import read_image
from latentfm_core.errors import ImageError, LatentFMError, OutputError

SIGN = "ab" * 16


def info(shape: tuple[int, ...] = (40, 50), **more: object) -> AnnotationSidecar:
    values = {"image": "skin.png", "shape": shape, "axes": "TZYX"[-len(shape) :], **more}
    return AnnotationSidecar.model_validate(values)


def labels_of(value: int, shape: tuple[int, ...] = (40, 50)) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[..., 5:20, 10:30] = value
    return labels


# --- signature ----------------------------------------------------------------------------


def test_signature_knows_an_image_by_its_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    assert image_signature(image) == image_signature(image.copy()[...])
    other = image.copy()
    other[29, 39, 2] ^= 1
    assert image_signature(other) != image_signature(image)
    assert image_signature(image.reshape(40, 30, 3)) != image_signature(image)
    assert image_signature(image.view(np.int8)) != image_signature(image)
    assert image_signature(image.astype(">u2")) == image_signature(image.astype("<u2"))


class Lazy:
    """An array that counts what was read of it."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.largest = self.total = 0

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        part = self.values[index]
        self.largest, self.total = max(self.largest, part.nbytes), self.total + part.nbytes
        return part


def test_large_and_lazy_images_are_never_read_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = np.random.default_rng(0).integers(0, 255, (40, 512, 512), np.uint8)
    whole = Lazy(stack)
    monkeypatch.setattr(signature_module, "SLAB_BYTES", 2**20)
    assert image_signature(whole) == image_signature(stack)
    assert whole.total == stack.nbytes
    assert whole.largest <= 2**20
    monkeypatch.setattr(signature_module, "WHOLE_BYTES", 2**20)
    sampled = Lazy(stack)
    first = image_signature(sampled)
    assert first == image_signature(stack)
    assert sampled.total <= 64 * 2**16 < stack.nbytes
    stack[0, 0, 0] ^= 1
    assert image_signature(stack) != first
    stack[0, 0, 0] ^= 1
    stack[-1, -1, -1] ^= 1
    assert image_signature(stack) != first


# --- autosave -----------------------------------------------------------------------------


def test_newest_of_three_states_comes_back(tmp_path: Path) -> None:
    store = AutosaveStore(tmp_path)
    for value in range(1, 6):
        store.save(SIGN, labels_of(value), info(strokes=value, seconds=1.5))
    states = store.history(SIGN)
    assert [state.info.strokes for state in states] == [5, 4, 3]
    assert len(list((tmp_path / SIGN).iterdir())) == 2 * ROTATIONS
    newest = store.newest(SIGN)
    assert newest is not None
    np.testing.assert_array_equal(newest.labels(), labels_of(5))
    assert newest.info.seconds == 1.5
    assert store.newest("cd" * 16) is None


@pytest.mark.parametrize("what", ["tif cut", "tif bit", "tif gone", "json cut", "json gone"])
def test_damaged_newest_falls_back_to_the_older(tmp_path: Path, what: str) -> None:
    store = AutosaveStore(tmp_path)
    for value in (1, 2):
        store.save(SIGN, labels_of(value), info(strokes=value))
    kind, damage = what.split()
    file = store.history(SIGN)[0].file.with_suffix(f".{kind}")
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    found = store.newest(SIGN)
    assert found is not None
    assert found.info.strokes == 1
    np.testing.assert_array_equal(found.labels(), labels_of(1))
    store.save(SIGN, labels_of(3), info(strokes=3))
    newest = store.newest(SIGN)
    assert newest is not None
    assert newest.info.strokes == 3


def test_a_second_window_does_not_push_out_states_of_the_first(tmp_path: Path) -> None:
    store = AutosaveStore(tmp_path)
    store.save(SIGN, labels_of(9), info(strokes=9), "00000001")
    for value in range(1, 9):
        store.save(SIGN, labels_of(value), info(strokes=value), "00000002")
    assert [state.info.strokes for state in store.history(SIGN)] == [8, 7, 6, 9]
    store.discard(SIGN, keep="00000002")
    assert [state.info.strokes for state in store.history(SIGN)] == [8, 7, 6]
    store.discard(SIGN)
    assert store.newest(SIGN) is None


def test_exported_states_are_moved_aside_not_deleted(tmp_path: Path) -> None:
    store = AutosaveStore(tmp_path)
    store.save(SIGN, labels_of(1), info())
    store.finish(SIGN)
    assert store.newest(SIGN) is None
    (done,) = (tmp_path / "done").iterdir()
    assert len(list(done.glob("*.tif"))) == 1
    store.finish(SIGN)
    store.save(SIGN, labels_of(2), info())
    assert store.newest(SIGN) is not None


@pytest.mark.parametrize("name", ["../../etc", "", "AB" * 16, "ab" * 15])
def test_foreign_names_make_no_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError):
        AutosaveStore(tmp_path / "in").save(name, labels_of(1), info())
    with pytest.raises(OutputError):
        AutosaveStore(tmp_path / "in").discard(name)
    assert list(tmp_path.iterdir()) == []


_SAVING = """
import os, sys
from pathlib import Path
import numpy as np
from latentfm_core.annotation.autosave import AutosaveStore
from latentfm_core.annotation.provenance import AnnotationSidecar
def save_for_ever(start):
    store = AutosaveStore(Path(sys.argv[1]))
    for step in range(start, start + 100000):
        labels = np.random.default_rng(step).integers(0, 3, (400, 500), np.uint8)
        info = AnnotationSidecar(image="a.png", shape=(400, 500), axes="YX", strokes=step)
        store.save("ab" * 16, labels, info)
        print(step, flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        save_for_ever(int(line))
    print("child", child, flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_moment_the_last_state_is_there(tmp_path: Path) -> None:
    chance = random.Random(0)
    store = AutosaveStore(tmp_path)
    command = [sys.executable, "-W", "ignore", "-c", _SAVING, str(tmp_path)]
    pipe, start = subprocess.PIPE, 0
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(40):
            process.stdin.write(f"{start}\n")
            process.stdin.flush()
            child, told = 0, list[int]()
            # Killed while it saves once more, at some moment of that.
            while not child or len(told) < 2:
                word, _, rest = process.stdout.readline().strip().partition(" ")
                child, told = (int(rest), told) if word == "child" else (child, [*told, int(word)])
            time.sleep(chance.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
            told += [int(line) for line in iter(process.stdout.readline, "dead\n")]
            newest = store.newest(SIGN)
            assert newest is not None
            # Whatever the process said was kept is there.
            assert newest.info.strokes >= told[-1]
            start = newest.info.strokes
            expected = np.random.default_rng(start).integers(0, 3, (400, 500), np.uint8)
            np.testing.assert_array_equal(newest.labels(), expected)
            start += 1
        process.stdin.close()
    assert start >= 80
    for file in (tmp_path / SIGN).iterdir():
        os.utime(file, (0, 0))
    store.save(SIGN, labels_of(1), info())
    assert not [file for file in (tmp_path / SIGN).iterdir() if file.name.startswith(".")]


# --- export -------------------------------------------------------------------------------

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
def test_stacks_come_back(
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


def test_missing_nibabel_tells_how_to_get_it(
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


def test_provenance_is_not_taken_for_labels_that_were_changed_since(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    export_annotation(path, labels_of(1), info())
    Image.fromarray(labels_of(2)).save(path)
    labels, side = read_annotation(path)
    np.testing.assert_array_equal(labels, labels_of(2))
    assert side is None


def test_two_formats_share_a_provenance_and_a_foreign_json_is_kept(tmp_path: Path) -> None:
    export_annotation(tmp_path / "a.png", labels_of(1), info(strokes=5))
    export_annotation(tmp_path / "a.tif", labels_of(1), info(strokes=5))
    for name in ("a.png", "a.tif"):
        side = read_annotation(tmp_path / name)[1]
        assert side is not None
        assert side.files == ("a.png", "a.tif")
    (tmp_path / "b.json").write_text('{"mine": 1}')
    with pytest.raises(OutputError, match="another name"):
        export_annotation(tmp_path / "b.png", labels_of(1), info())
    assert (tmp_path / "b.json").read_text() == '{"mine": 1}'
    assert not (tmp_path / "b.png").exists()


def test_what_cannot_be_written_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another folder"):
        export_annotation(tmp_path / "file" / "a.tif", labels_of(1), info())
    with pytest.raises(OutputError, match=r"\.tif"):
        export_annotation(tmp_path / "a.bmp", labels_of(1), info())
    with pytest.raises(ImageError, match="integers"):
        export_annotation(tmp_path / "a.tif", labels_of(1).astype(float), info())
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["none.tif", "text.tif", "text.png", "rgb.png"])
def test_what_cannot_be_read_says_so(tmp_path: Path, name: str) -> None:
    if name.startswith("text"):
        (tmp_path / name).write_text("hello")
    elif name.startswith("rgb"):
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / name)
    with pytest.raises(LatentFMError, match=name.replace(".", r"\.")):
        read_annotation(tmp_path / name)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("suffix", [".tif", ".png", ".nii.gz"])
def test_a_file_cut_short_never_gives_other_labels(
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
        # The description at the end of a TIFF may be gone; the pixels may not.
        assert share > 0.95
        np.testing.assert_array_equal(back, labels)


def test_no_folder_gets_into_the_provenance() -> None:
    assert file_name("C:\\patients\\miller\\skin.png") == "skin.png"
    assert file_name("/home/a/skin.png") == "skin.png"
    with pytest.raises(ValueError, match="folder"):
        info(image="miller/skin.png")


def test_strokes_are_told_exactly() -> None:
    strokes = np.zeros((6, 7), np.uint8)
    strokes[1, 2:5], strokes[1, 5:7], strokes[2, :2] = 2, 1, 1
    told = correction((None, None), strokes)
    again = np.zeros(42, np.uint8)
    for value, first, length in told.runs:
        again[first : first + length] = value
    np.testing.assert_array_equal(again.reshape(6, 7), strokes)
    assert told.pixels == 7
    assert label_counts(strokes) == {1: 4, 2: 3}
    assert label_counts(strokes.astype(np.int64)) == {1: 4, 2: 3}
