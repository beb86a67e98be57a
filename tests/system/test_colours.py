"""Class colours from the settings of a model to the window and to files."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from PIL import Image
from qtpy.QtGui import QColor

from latentfm_core.annotation.dicom_seg import write_dicom_seg
from latentfm_core.annotation.labelled import LabelledImage
from latentfm_core.annotation.reading import read_annotation, read_sidecar, sidecar_path
from latentfm_core.cli.evaluate import main as evaluate_main
from latentfm_core.cli.predict import main as predict_main
from latentfm_core.cli.train import main as train_main
from latentfm_core.colours import label_colour, shade
from latentfm_core.model_io.card import read_card, write_card
from napari_latentfm.annotation.file_export import export_file
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.provenance import facts_of
from napari_latentfm.annotation.restoring import restore
from napari_latentfm.annotation.section import AnnotationSection
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.layers.strokes import not_colour
from napari_latentfm.layers.zarr import is_stored, stored_maps
from napari_latentfm.results.session import session_of
from napari_latentfm.review.look_controls import LookControls
from napari_latentfm.review.stroke_layer import stroke_layer
from napari_latentfm.review.thumbnails import HypothesisResult, search
from tests.helpers.dicom_files import source
from tests.helpers.fixtures import SIZE, Folders, copy_model, with_colours
from tests.helpers.pages import Page
from tests.helpers.plugin_fixtures import OpenPanel, Window, run
from tests.helpers.two_classes import CLASSES, COLOURS, draw


@pytest.fixture
def folders(two_class_folders: Folders) -> Folders:
    return two_class_folders


@pytest.fixture(scope="module")
def coloured(coloured_model_folder: Path) -> Path:
    return coloured_model_folder


@pytest.fixture(scope="module")
def plain(coloured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model without colours, as an older version wrote it."""
    return with_colours(copy_model(coloured, tmp_path_factory.mktemp("model") / "plain"), ())


def colour(layer: Labels, label: int) -> str:
    """Return the colour in which a layer shows a label."""
    red, green, blue, alpha = (float(part) for part in layer.get_color(label))
    assert alpha == 1
    return QColor.fromRgbF(red, green, blue).name()


# --- settings and cards -------------------------------------------------------------------


def test_the_card_has_colours_only_if_they_were_set(
    coloured: Path, plain: Path, tmp_path: Path
) -> None:
    card = json.loads((coloured / "model.json").read_text())
    assert card["config"]["model"]["class_colours"] == COLOURS
    assert read_card(coloured).config.model.class_colours == tuple(COLOURS)
    # Cards of older versions are read; what they can read is not changed by a new name.
    assert read_card(plain).config.model.class_colours == ()
    write_card(tmp_path, read_card(plain))
    again = json.loads((tmp_path / "model.json").read_text())
    assert "class_colours" not in again["config"]["model"]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], COLOURS),
        (["--preset", "finetune"], COLOURS),
        (["--set", 'model.classes=["square","disc"]'], COLOURS[::-1]),
        (["--set", 'model.classes=["ring","square"]'], []),
        (["--preset", "finetune", "--set", 'model.classes=["ring","square"]'], []),
        (["--set", 'model.class_colours=["#1b7837","#762a83"]'], ["#1b7837", "#762a83"]),
    ],
)
def test_a_run_with_an_initial_model_keeps_its_class_colours(
    folders: Folders,
    coloured: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    wanted: list[str],
) -> None:
    paths = ["--images", str(folders[0]), "--masks", str(folders[1]), "--init", str(coloured)]
    assert train_main([*paths, *words, "--dump-config"]) == 0
    model = tomllib.loads(capsys.readouterr().out)["model"]
    assert model["class_colours"] == wanted


def test_a_model_may_start_from_one_with_other_colours(
    folders: Folders, coloured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--images", folders[0], "--masks", folders[1], "--init", coloured, "--dry-run"]
    words += ["--out", tmp_path / "new", "--set", 'model.class_colours=["#1b7837","#762a83"]']
    assert train_main([str(word) for word in words]) == 0, capsys.readouterr().err


# --- window -------------------------------------------------------------------------------


@pytest.fixture
def sampled(
    qtbot: Any,
    docked_panel: OpenPanel,
    coloured: Path,
) -> Window:
    """A window with a result of the model."""
    viewer, panel = docked_panel()
    viewer.add_image(draw(np.random.default_rng(99))[0], name="slide")
    panel.form.model.choose(coloured)
    panel.form.n_samples.value = 3
    assert run(qtbot, panel) == "done"
    return viewer, panel


def test_layers_of_a_result_have_the_colours(sampled: Window) -> None:
    viewer, _ = sampled
    session = session_of(viewer)
    annotation, strokes = annotation_of(session), stroke_layer(session)
    assert annotation is not None
    assert strokes is not None
    layers = [viewer.layers[f"slide · {name}"] for name in ("mean mask", "samples")]
    for layer in (*layers, annotation):
        assert [colour(layer, label) for label in (1, 2)] == COLOURS
    assert [colour(strokes, label) for label in (2, 3)] == COLOURS
    assert colour(strokes, 1) == not_colour(COLOURS)
    controls = LookControls(session)
    for each in COLOURS:
        assert each in controls.legend.text()
    controls.deleteLater()


def test_samples_and_mean_mask_of_one_class_differ_in_colour(
    qtbot: Any,
    docked_panel: OpenPanel,
    tiny_model_folder: Path,
    tmp_path: Path,
) -> None:
    viewer, panel = docked_panel()
    viewer.add_image(draw(np.random.default_rng(99))[0], name="slide")
    panel.form.model.choose(
        with_colours(copy_model(tiny_model_folder, tmp_path / "one"), COLOURS[:1])
    )
    assert run(qtbot, panel) == "done"
    session = session_of(viewer)
    annotation = annotation_of(session)
    assert annotation is not None
    assert colour(annotation, 1) == colour(viewer.layers["slide · mean mask"], 1) == COLOURS[0]
    assert colour(viewer.layers["slide · samples"], 1) == shade(COLOURS[0])
    controls = LookControls(session)
    assert all(each in controls.legend.text() for each in (COLOURS[0], shade(COLOURS[0])))
    controls.deleteLater()


def test_thumbnails_of_hypotheses_have_the_colours(sampled: Window) -> None:
    reviewed = session_of(sampled[0]).current
    assert reviewed is not None
    results: list[HypothesisResult] = list(search(reviewed))
    assert results[-1].error is None
    seen = {bytes(pixel).hex() for pixel in results[-1].pictures[0].reshape(-1, 3)}
    assert {each[1:] for each in COLOURS} <= seen


def test_another_model_changes_the_colours_of_its_results(
    qtbot: Any, sampled: Window, plain: Path
) -> None:
    viewer, panel = sampled
    mean = viewer.layers["slide · mean mask"]
    panel.form.model.choose(plain)
    assert run(qtbot, panel) == "done"
    assert viewer.layers["slide · mean mask"].unique_id == mean.unique_id
    assert [colour(mean, label) for label in (1, 2)] == ["#56b4e9", "#e69f00"]


def test_colours_set_by_the_user_are_kept(qtbot: Any, sampled: Window) -> None:
    viewer, panel = sampled
    session = session_of(viewer)
    section = AnnotationSection(session)
    viewer.window.add_dock_widget(section, name="accept")
    section.take_mean_mask()
    layer = annotation_of(session)
    assert layer is not None
    layer.colormap = DirectLabelColormap(color_dict={None: "#123456"}, background_value=0)
    assert run(qtbot, panel) == "done"
    assert colour(layer, 1) == "#123456"


@pytest.mark.parametrize("later", ["coloured", "plain"])
def test_a_reopened_exported_annotation_keeps_the_colours(
    qtbot: Any,
    sampled: Window,
    plain: Path,
    tmp_path: Path,
    later: str,
) -> None:
    """Colours of classes and of a label that the annotator adds and names."""
    viewer, panel = sampled
    session = session_of(viewer)
    section = AnnotationSection(session)
    viewer.window.add_dock_widget(section, name="accept")
    section.take_mean_mask()
    layer = annotation_of(session)
    assert layer is not None
    with layer.block_history():
        layer.data_setitem((np.full(5, 2), np.arange(5)), 3)
    record_of(layer).names[3] = "scar"
    facts = facts_of(layer)
    assert facts is not None
    path, _ = export_file(tmp_path / "a.palette.png", facts, layer.data)
    expected = [*COLOURS, label_colour(3, COLOURS)]
    assert expected[2] not in COLOURS
    with Image.open(path) as picture:
        indices, seen = np.asarray(picture), np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(indices, layer.data)
    for label, each in enumerate(expected, 1):
        assert {bytes(pixel).hex() for pixel in seen[indices == label]} == {each[1:]}
    viewer.layers.remove(layer)
    if later == "plain":
        # A model of the same classes without colours does not take them away.
        panel.form.model.choose(plain)
        assert run(qtbot, panel) == "done"
    restored, _ = restore(session, *read_annotation(path))
    assert [colour(restored, label) for label in (1, 2, 3)] == expected
    assert record_of(restored).names == {3: "scar"}
    again = facts_of(restored)
    assert again is not None
    export_file(tmp_path / "b.tif", again, restored.data)
    side = read_sidecar(sidecar_path(tmp_path / "b.tif"))
    assert side is not None
    assert (side.classes, side.class_colours) == (tuple(CLASSES), tuple(COLOURS))


# --- files --------------------------------------------------------------------------------


def test_dicom_segments_recommend_the_colours(tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    labels = np.zeros((40, 50), np.uint8)
    labels[4:9, 4:9], labels[20:25, 4:9], labels[30:35, 4:9] = 1, 2, 3
    scan = source(tmp_path / "scan.dcm")
    labelled = LabelledImage("scan", labels, {}, path=scan, colours=tuple(COLOURS))
    write_dicom_seg(tmp_path / "seg.dcm", labelled)
    segments = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    wanted = [*COLOURS, label_colour(3, COLOURS)]
    for segment, each in zip(segments, wanted, strict=True):
        value = segment.RecommendedDisplayCIELabValue
        red, green, blue = highdicom.color.CIELabColor.from_dicom_value(value).to_rgb(clip=True)
        difference = np.subtract((red, green, blue), tuple(bytes.fromhex(each[1:])))
        assert np.abs(difference).max() <= 2, "rounding of 16-bit CIELab"


def test_validation_pictures_and_training_report_have_the_colours(coloured: Path) -> None:
    folder = coloured / "training"
    (picture,) = sorted((folder / "samples").glob("epoch_*.png"))
    with Image.open(picture) as found:
        pixels = np.asarray(found.convert("RGB"))
    seen = {bytes(pixel).hex() for pixel in pixels[:, :SIZE].reshape(-1, 3)}
    assert {each[1:] for each in COLOURS} <= seen, "outlines on the image"
    # The mean probability of each class is in its colour, and a mixture between them.
    mean = pixels[:, SIZE : 2 * SIZE].reshape(-1, 3).astype(int)
    for each in COLOURS:
        assert np.abs(mean - list(bytes.fromhex(each[1:]))).max(axis=1).min() < 40
    section = Page.read(folder / "report.html").section("Best and last epoch")
    entries = {item.text.strip(): item for item in section.all("li")}
    for name, each in zip(CLASSES, COLOURS, strict=True):
        assert entries[name].one("line").attributes["stroke"] == each


def test_outlines_in_an_evaluation_report_have_the_colours(
    folders: Folders, coloured: Path, tmp_path: Path
) -> None:
    words = ["--images", folders[0], "--masks", folders[1], "--model", coloured]
    options = ["--samples", "2", "--steps", "2", "--out", tmp_path / "out", "--device", "cpu"]
    options += ["--split", coloured / "training" / "split.json", "--report", "--report-cases", "1"]
    assert evaluate_main([str(word) for word in (*words, *options)]) == 0
    worst = Page.read(tmp_path / "out/report.html").section("Worst cases")
    legend = {item.text.strip(): item.one("line").attributes for item in worst.all("li")}
    assert [legend[name]["stroke"] for name in CLASSES] == COLOURS
    for line in ("expert", "mean mask", "samples"):
        dash = legend[line]["stroke-dasharray"]
        paths = worst.one("figure").all("path", **{"stroke-dasharray": dash})
        assert {path.attributes["stroke"] for path in paths} == set(COLOURS), line


def test_a_stored_tiled_result_keeps_the_colours(
    folders: Folders, coloured: Path, tmp_path: Path
) -> None:
    words = ["--tiled", "--samples", "2", "--steps", "1", "--device", "cpu", "--quiet"]
    paths = [str(folders[0] / "03.png"), "--model", str(coloured), "--out", str(tmp_path)]
    assert predict_main([*paths, *words]) == 0
    (folder,) = (path for path in tmp_path.iterdir() if is_stored(path))
    masks = [each for each in stored_maps(folder) if each.kind == "labels"]
    assert len(masks) == 2
    for each in masks:
        layer = Labels(np.asarray(each.levels[0]), colormap=each.look["colormap"])
        assert [colour(layer, label) for label in (1, 2)] == COLOURS
