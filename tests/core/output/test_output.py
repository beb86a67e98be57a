"""Result files: pixel sizes, names, and atomic writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import OutputError
from latentfm_core.images.read import read_image
from latentfm_core.output import result as result_module
from latentfm_core.output.images import grey_levels, write_tiff
from latentfm_core.output.paths import output_names, prepare_folder, reject_existing
from latentfm_core.output.result import ResultPlan, is_finished, write_result
from latentfm_core.output.sidecar import Sidecar
from latentfm_core.prompts.files import PromptFile
from latentfm_core.types import Geometry, ImageInput, SampleSet, SamplingRecord
from latentfm_core.uncertainty.summary import summarise

SHAPE = (24, 32)
SHA = "ab" * 32


def make_samples(count: int = 3) -> SampleSet:
    values = np.random.default_rng(count).random((count, 32, 32)).astype(np.float32)
    geometry = Geometry(SHAPE, 32, (4, 0, 24, 32))
    return SampleSet(values, geometry, SamplingRecord("tiny", SHA, tuple(range(5, 5 + count)), 4))


def make_sidecar(plan: ResultPlan, samples: SampleSet) -> Sidecar:
    return Sidecar(
        image="scan.png",
        shape=SHAPE,
        spacing=None,
        unit="pixel",
        model_id=samples.record.model_id,
        model_sha256=samples.record.model_hash,
        n_samples=len(samples),
        seeds=samples.seeds,
        steps=4,
        solver="euler",
        nfe=4,
        threshold=0.5,
        precision="float32",
        device="CPU",
        seconds=0.1,
        created="2026-01-01T00:00:00+00:00",
        versions={},
        files=plan.by_kind(),
        png_white={},
    )


def make_plan(folder: Path, **changes: object) -> ResultPlan:
    kinds = ("mean_mask", "samples", "variance", "confidence", "probability")
    plan = ResultPlan(folder, "scan", kinds, ("tiff", "png"), 3)
    return replace(plan, **changes)


def write(plan: ResultPlan) -> None:
    samples = make_samples(plan.n_samples)
    source = ImageInput(np.zeros(SHAPE, np.uint8))
    write_result(plan, source, samples, summarise(samples), make_sidecar(plan, samples))


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("unit", ["nanometer", "micrometer", "millimeter", "centimeter", "inch"])
def test_the_pixel_size_survives_a_round_trip(tmp_path, unit):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    write_tiff(tmp_path / "a.tif", values, ImageInput(values, (0.37, 1.9), unit))
    back = read_image(tmp_path / "a.tif")
    assert back.spacing == pytest.approx((0.37, 1.9))
    assert back.unit == unit
    np.testing.assert_array_equal(back.pixels, values)


def test_inches_use_the_unit_of_the_ome_schema(tmp_path):
    values = np.zeros((3, 4), np.uint8)
    write_tiff(tmp_path / "a.tif", values, ImageInput(values, (0.5, 0.25), "inch"))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
        x, y = (tiff.pages[0].tags[tag].value for tag in (282, 283))
    assert (pixels["PhysicalSizeY"], pixels["PhysicalSizeYUnit"]) == (0.5, "in")
    assert (x[0] / x[1], y[0] / y[1]) == pytest.approx((4 / 2.54, 2 / 2.54))


def test_the_pixel_size_is_in_plain_tiff_tags(tmp_path):
    values = np.zeros((3, 4), np.uint8)
    write_tiff(tmp_path / "a.tif", values, ImageInput(values, (0.5, 0.25), "micrometer"))
    with Image.open(tmp_path / "a.tif") as image:
        unit, x, y = (image.tag_v2[tag] for tag in (296, 282, 283))
    assert unit == 3  # pixels per centimetre
    assert (float(x), float(y)) == pytest.approx((1e4 / 0.25, 1e4 / 0.5))


@pytest.mark.parametrize(
    "source",
    [
        ImageInput(np.zeros((3, 4))),
        ImageInput(np.zeros((3, 4)), (2.0, 2.0), "pixel"),
        ImageInput(np.zeros((3, 4)), (2.0, 2.0), "second"),
    ],
)
def test_an_unknown_pixel_size_is_not_invented(tmp_path, source):
    write_tiff(tmp_path / "a.tif", np.zeros((3, 4), np.uint8), source)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert "PhysicalSize" not in tiff.ome_metadata
        assert tiff.pages[0].tags.valueof(296) in (None, 1)  # no unit


@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_stack_names_its_planes(tmp_path, count):
    stack = np.random.default_rng(0).integers(0, 2, (count, 6, 7), dtype=np.uint8) * 255
    names = [f"sample {n}" for n in range(count)]
    write_tiff(tmp_path / "a.tif", stack, ImageInput(stack[0], (2.0, 3.0), "millimeter"), names)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        series = tiff.series[0]
        np.testing.assert_array_equal(series.asarray(squeeze=False).reshape(stack.shape), stack)
        pixels = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
        assert series.axes in {"CYX", "YX"}
    channels = pixels["Channel"] if count > 1 else [pixels["Channel"]]
    assert [channel["Name"] for channel in channels] == names
    assert (pixels["PhysicalSizeY"], pixels["PhysicalSizeX"]) == (2.0, 3.0)


def test_grey_levels_span_black_to_white():
    values = np.array([0.0, 0.125, 0.25, 0.3], np.float32)
    assert grey_levels(values, 0.25).tolist() == [0, 128, 255, 255]


def test_result_names_are_unique():
    paths = [Path("x/a.png"), Path("x/a.jpg"), Path("x/b.v2.tif"), Path("x/C.png"), Path("x/c.bmp")]
    paths.append(Path("x/Only.png"))
    names = ["a_png", "a_jpg", "b.v2", "C_png", "c_bmp", "Only"]
    assert output_names(paths) == names
    assert output_names(paths[::-1]) == names[::-1]


def test_a_dot_in_a_name_without_an_extension_does_not_shorten_it(tmp_path):
    assert output_names([Path("x/scan.1"), Path("x/scan.png")]) == ["scan.1", "scan"]
    file = tmp_path / "scan.1"
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(file, "png")
    assert read_image(file).name == "scan.1"
    assert PromptFile(frozenset({"scan"}), lambda _: []).used(file) is None


def test_duplicate_names_from_two_folders_are_refused():
    with pytest.raises(OutputError, match=r"first.a\.png and second.a\.png"):
        output_names([Path("first/a.png"), Path("second/a.png")])


def test_a_unique_name_must_not_equal_that_of_another_image():
    with pytest.raises(OutputError, match="a_png"):
        output_names([Path("a.png"), Path("a.jpg"), Path("a_png.tif")])


def test_an_output_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match=r"out: it is not a folder\. Choose another"):
        prepare_folder(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_existing_files_are_listed(tmp_path):
    (tmp_path / "a.tif").touch()
    with pytest.raises(OutputError, match=r"a\.tif.*--overwrite"):
        reject_existing([tmp_path / "a.tif", tmp_path / "b.tif"])
    reject_existing([tmp_path / "b.tif"])


def test_a_result_has_exactly_the_files_that_it_lists(tmp_path):
    plan = make_plan(tmp_path)
    write(plan)
    assert set(contents(tmp_path)) == {
        "scan.json",
        "scan_samples/sample_000.png",
        "scan_samples/sample_001.png",
        "scan_samples/sample_002.png",
        *(
            f"scan_{kind}.{suffix}"
            for kind in ("mean_mask", "variance", "confidence", "probability")
            for suffix in ("tif", "png")
        ),
        "scan_samples.tif",
    }
    listed = json.loads((tmp_path / "scan.json").read_text())["files"]
    files = {name for names in listed.values() for name in names}
    assert files | {"scan.json"} == set(contents(tmp_path))


def test_overwriting_removes_the_older_result(tmp_path):
    write(make_plan(tmp_path))
    other = tmp_path / "scan_samples" / "notes.txt"
    other.write_text("mine")
    smaller = make_plan(tmp_path, kinds=("mean_mask",), formats=("png",), n_samples=2)
    write(smaller)
    assert set(contents(tmp_path)) == {
        "scan.json",
        "scan_mean_mask.png",
        "scan_samples/notes.txt",  # not a file of ours
    }
    other.unlink()
    write(make_plan(tmp_path))
    write(smaller)
    assert not (tmp_path / "scan_samples").exists()


def test_an_edited_json_file_cannot_remove_other_files(tmp_path):
    out = tmp_path / "out"
    plan = make_plan(out)
    write(plan)
    victims = [tmp_path / "victim.tif", out / "other_variance.tif", out / "scan_notes.tif"]
    for victim in victims:
        victim.touch()
    sidecar = json.loads(plan.sidecar.read_text())
    sidecar["files"]["variance"] = ["../victim.tif", "other_variance.tif", "scan_notes.tif"]
    plan.sidecar.write_text(json.dumps(sidecar))
    write(make_plan(out, kinds=("mean_mask",)))
    assert all(victim.exists() for victim in victims)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("older", [False, True])
def test_a_failed_write_changes_nothing(tmp_path, monkeypatch, error, older):
    plan = make_plan(tmp_path)
    if older:
        write(make_plan(tmp_path, n_samples=2))
    before = contents(tmp_path)
    written = []

    def fail_late(path: Path, values: np.ndarray) -> None:
        if len(written) == 4:
            raise error
        written.append(path)
        Image.fromarray(values).save(path)

    monkeypatch.setattr(result_module, "write_png", fail_late)
    expected = KeyboardInterrupt if error is KeyboardInterrupt else OutputError
    with pytest.raises(expected):
        write(plan)
    assert len(written) == 4
    assert contents(tmp_path) == before
    assert (tmp_path / "scan_samples").exists() == older


def test_a_result_whose_files_cannot_be_renamed_is_not_complete(tmp_path):
    plan = make_plan(tmp_path)
    write(plan)
    blocked = tmp_path / "scan_variance.tif"
    blocked.unlink()
    blocked.mkdir()
    with pytest.raises(OutputError, match="scan_variance"):
        write(plan)
    assert not plan.sidecar.exists()
    assert not [name for name in contents(tmp_path) if Path(name).name.startswith(".")]


def test_a_finished_result_is_recognised(tmp_path):
    plan = make_plan(tmp_path)
    settings = SamplingConfig(
        n_samples=3,
        seed=5,
        threshold=0.5,
        noise_scale=1.0,
        calibrated=False,
        distilled=False,
        precision="fp32",
    )
    assert not is_finished(plan, settings, model_sha256=SHA)
    write(plan)
    assert is_finished(plan, settings, model_sha256=SHA)
    for other in (
        settings.model_copy(update={"seed": 6}),
        settings.model_copy(update={"steps": 5}),
        settings.model_copy(update={"solver": "rk4"}),
        settings.model_copy(update={"threshold": 0.4}),
        settings.model_copy(update={"noise_scale": 1.5}),
        settings.model_copy(update={"distilled": True}),
    ):
        with pytest.raises(OutputError, match=r"scan\.json"):
            is_finished(plan, other, model_sha256=SHA)
    with pytest.raises(OutputError, match=r"computed in float32.*bfloat16 \(--precision\)"):
        is_finished(plan, settings.model_copy(update={"precision": "bf16"}), model_sha256=SHA)
    with pytest.raises(OutputError, match="another model"):
        is_finished(plan, settings, model_sha256="cd" * 32)
    with pytest.raises(OutputError, match="formats"):
        is_finished(make_plan(tmp_path, formats=("png",)), settings, model_sha256=SHA)
    (tmp_path / "scan_variance.png").unlink()
    assert not is_finished(plan, settings, model_sha256=SHA)
