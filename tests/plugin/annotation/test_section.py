"""The annotation section: take, protect, export and open an annotation."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.layers import Labels
from npe2 import DynamicPlugin, PluginManager
from pycocotools.coco import COCO
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton

from latentfm_core.annotation.reading import read_annotation
from napari_latentfm.annotation import writer
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.region import region_layer
from napari_latentfm.annotation.section import AnnotationSection
from napari_latentfm.annotation.writing import write_labels
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.results.session import session_of
from tests.helpers.annotating import Window, open_window
from tests.helpers.looks import LARGE, SHAPE, SMALL, disc, reviewed
from tests.helpers.plugin_fixtures import PATIENCE, disc_image

__all__ = ["open_window"]


@pytest.fixture
def window(open_window: Callable[..., Window]) -> Window:
    return open_window()


def press(window: Window, text: str) -> None:
    (button,) = [b for b in window.section.findChildren(QAbstractButton) if text in b.text()]
    button.click()


def finish(window: Window, press_button: str) -> str:
    endings: list[str] = []
    window.section.finished.connect(endings.append)
    press(window, press_button)
    window.wait(lambda: bool(endings))
    window.section.finished.disconnect(endings.append)
    return endings[0]


def export(window: Window, path: Path) -> str:
    window.section.files.ask_save = lambda _: path
    return finish(window, "Export")


def open_file(window: Window, path: Path) -> str:
    window.section.files.ask_open = lambda _: path
    return finish(window, "Open")


def listed(window: Window) -> list[str]:
    labels = window.section.labels.list
    return [labels.item(row).text() for row in range(labels.count())]


def test_the_section_explains_what_to_do_without_a_result(window: Window) -> None:
    window.session.show(None)
    assert not window.section.isEnabled()
    assert "Run the model" in window.section.status.text()
    window.review()
    assert window.section.isEnabled()
    assert "No annotation yet" in window.section.labels.about.text()
    # Nor is there an export without an annotation.
    button = window.section.export_button
    assert not button.isEnabled()
    assert "no annotation yet" in button.toolTip()
    press(window, "(Shift+M)")
    assert button.isEnabled()
    assert "provenance" in button.toolTip()
    window.viewer.layers.remove(window.layer)
    assert not button.isEnabled()


def test_taking_the_mean_mask_shows_area_and_edits(window: Window) -> None:
    press(window, "(Shift+M)")
    mean = disc(*LARGE)
    np.testing.assert_array_equal(window.layer.data == 1, mean)
    window.stroke()
    area = (mean.sum() + 10) * 0.5 * 0.25
    window.wait(lambda: listed(window) == [f"1  cell  {area:,.4g} mm²"])
    window.wait(lambda: "10 px differ" in window.section.labels.about.text())
    assert "1 edit by hand" in window.section.labels.about.text()
    press(window, "Undo")
    press(window, "Undo")
    assert not window.layer.data.any()
    press(window, "Redo")
    np.testing.assert_array_equal(window.layer.data == 1, mean)


def test_region_limits_the_mean_mask_and_can_be_cleared(window: Window) -> None:
    press(window, "(Shift+R)")
    assert annotation_of(window.session, create=False) is None
    assert "Draw a region" in window.section.status.text()
    press(window, "Draw region")
    shapes = region_layer(window.session, create=False)
    assert shapes is not None
    assert window.viewer.layers.selection.active is shapes
    assert shapes.mode == "add_polygon"
    shapes.add_polygons(np.array([[0, 0], [0, 80], [30, 80], [30, 0]], float))
    window.section.key_actions()["Shift-R"]()
    assert window.layer.data[:29].any()
    assert not window.layer.data[31:].any()
    press(window, "Clear region")
    assert len(shapes.data) == 0
    press(window, "Paint")
    assert window.layer.mode == "paint"
    assert window.viewer.layers.selection.active is window.layer


def test_checked_labels_are_never_overwritten(window: Window) -> None:
    write_labels(window.session, disc(*SMALL) * 3, classes=(3,))
    window.wait(lambda: len(listed(window)) == 1)
    assert listed(window)[0].startswith("3  cell")
    window.section.labels.list.item(0).setCheckState(Qt.CheckState.Checked)
    assert record_of(window.layer).protected == {3}
    write_labels(window.session, np.ones(SHAPE, bool))
    np.testing.assert_array_equal(window.layer.data == 3, disc(*SMALL))
    window.wait(lambda: len(listed(window)) == 2)
    window.section.labels.list.item(1).setCheckState(Qt.CheckState.Unchecked)
    write_labels(window.session, np.ones(SHAPE, bool))
    assert not (window.layer.data == 3).any()


def test_exporting_writes_both_files_and_clears_recovery(window: Window, tmp_path: Path) -> None:
    press(window, "(Shift+M)")
    window.stroke()
    window.wait(lambda: bool(window.states))
    assert export(window, tmp_path / "skin_annotation.tif") == "done"
    assert "skin_annotation.tif.json" in window.section.status.text()
    side = json.loads((tmp_path / "skin_annotation.tif.json").read_text())
    assert (side["image"], side["edited_pixels"], side["strokes"]) == ("skin", 10, 1)
    assert side["labels"] == [{"value": 1, "name": "cell", "pixels": int(window.layer.data.sum())}]
    assert side["image_signature"]
    assert str(tmp_path) not in json.dumps(side)
    window.settle()
    window.wait(lambda: not window.states)
    window.section.autosaver.flush(wait=True)
    assert not window.states
    window.stroke(5)
    window.wait(lambda: bool(window.states))


def test_an_export_opens_in_another_window(
    open_window: Callable[..., Window], tmp_path: Path
) -> None:
    first, second = open_window(), open_window()
    press(first, "(Shift+M)")
    first.stroke()
    restored: list[Any] = []
    second.section.restored.connect(restored.append)
    for name in ("a.tif", "a.png", *(["a.nii.gz"] if find_spec("nibabel") else [])):
        restored.clear()
        assert export(first, tmp_path / name) == "done"
        assert open_file(second, tmp_path / name) == "done"
        np.testing.assert_array_equal(second.layer.data, first.layer.data)
        assert record_of(second.layer).strokes == 1
        assert restored[0].seed == 0
        assert "Caution" not in second.section.status.text()
        second.layer.undo()
        assert not second.layer.data.any()


def test_an_annotation_of_another_image_opens_with_a_warning(
    open_window: Callable[..., Window], tmp_path: Path
) -> None:
    first, other = open_window(), open_window(255 - disc_image())
    press(first, "(Shift+M)")
    export(first, tmp_path / "a.tif")
    assert open_file(other, tmp_path / "a.tif") == "done"
    assert "Caution" in other.section.status.text()


def test_formats_of_other_programs_are_exported(window: Window, tmp_path: Path) -> None:
    press(window, "(Shift+M)")
    for name in ("skin.coco.json", "skin.polygons.json"):
        assert export(window, tmp_path / name) == "done"
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(tmp_path / name))
        (annotation,) = coco.anns.values()
        wrong = coco.annToMask(annotation) != window.layer.data
        assert wrong.sum() <= (0 if "coco" in name else 0.03 * window.layer.data.sum())
        assert coco.cats[1]["name"] == "cell"
    assert export(window, tmp_path / "skin.labelme.json") == "done"
    assert json.loads((tmp_path / "skin.labelme.json").read_text())["shapes"]
    assert export(window, tmp_path / "skin.csv") == "done"
    (row,) = csv.DictReader((tmp_path / "skin.csv").read_text("utf-8-sig").splitlines())
    assert row["unit"] == "mm"
    assert float(row["area"]) == pytest.approx(window.layer.data.sum() * 0.125, rel=1e-5)
    assert "skin.csv" in window.section.status.text()
    # Folder and format are remembered.
    export(window, tmp_path / "first.png")
    suggestions: list[Path] = []

    def cancel(path: Path) -> None:
        suggestions.append(path)

    window.section.files.ask_save = cancel
    assert finish(window, "Export") == "cancelled"
    assert suggestions == [tmp_path / "skin_annotation.png"]


def test_a_named_label_keeps_its_name(window: Window, tmp_path: Path) -> None:
    write_labels(window.session, disc(*SMALL) * 3, classes=(3,))
    window.wait(lambda: len(window.states) == 1)
    window.layer.selected_label = 3
    window.section.labels.ask_name = lambda label, known: f"{known} = hair"
    press(window, "Name label")
    window.wait(lambda: window.states[0].info.class_names == {3: "cell = hair"})
    window.wait(lambda: listed(window) != [] and "3  cell = hair" in listed(window)[0])
    assert export(window, tmp_path / "a.tif") == "done"
    side = read_annotation(tmp_path / "a.tif")[1]
    assert side is not None
    assert side.class_names == {3: "cell = hair"}
    assert side.labels[0].name == "cell = hair"
    assert export(window, tmp_path / "a.csv") == "done"
    (row,) = csv.DictReader((tmp_path / "a.csv").read_text("utf-8-sig").splitlines())
    assert row["class"] == "cell = hair"
    record_of(window.layer).names.clear()
    assert open_file(window, tmp_path / "a.tif") == "done"
    window.wait(lambda: "hair" in listed(window)[0])
    window.section.labels.ask_name = lambda label, known: ""
    window.section.labels.list.itemDoubleClicked.emit(window.section.labels.list.item(0))
    window.wait(lambda: listed(window)[0].startswith("3  cell  "))


def test_a_stack_is_exported_with_all_planes(
    open_window: Callable[..., Window], tmp_path: Path
) -> None:
    window = open_window(np.stack([disc_image()[..., 0]] * 3))
    window.viewer.dims.set_current_step(0, 2)
    window.review()
    press(window, "(Shift+M)")
    assert export(window, tmp_path / "stack.tif") == "done"
    labels, side = read_annotation(tmp_path / "stack.tif")
    assert labels.shape == (3, *SHAPE)
    assert labels[2].any()
    assert not labels[:2].any()
    assert side is not None
    assert (side.axes, side.spacing) == ("ZYX", (3, 0.5, 0.25))
    assert side.units == ("millimeter",) * 3
    assert side.proposals[0].index == (2, None, None)


def test_a_failed_export_is_reported_and_the_annotation_stays(
    window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("napari_latentfm.annotation.section.show_error", said.append)
    press(window, "(Shift+M)")
    before = window.layer.data.copy()
    (tmp_path / "file").write_text("")
    assert export(window, tmp_path / "file" / "a.tif") == "failed"
    assert "it is not a folder. Choose another folder" in said[0]
    np.testing.assert_array_equal(window.layer.data, before)
    assert window.section.export_button.isEnabled()
    window.wait(lambda: bool(window.states))
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((5, 6), np.uint8))
    assert open_file(window, tmp_path / "b.tif") == "failed"
    assert "shape" in said[1]
    np.testing.assert_array_equal(window.layer.data, before)


def test_several_classes_have_their_names(
    make_napari_viewer: Callable[..., Any], qtbot: Any
) -> None:
    viewer = make_napari_viewer()
    layer = viewer.add_image(disc_image(), rgb=True, name="skin")
    session = session_of(viewer)
    section = AnnotationSection(session)
    viewer.window.add_dock_widget(section)
    masks = np.stack([disc(*LARGE).astype(np.uint8) + disc(30, 30, 8)] * 3)
    session.show(reviewed(layer, viewer, masks))
    section.take_mean_mask()
    qtbot.waitUntil(lambda: section.labels.list.count() == 2, timeout=PATIENCE)
    names = [section.labels.list.item(row).text().split("  ")[1] for row in range(2)]
    assert names == ["cell", "nucleus"]
    assert section.labels.list.item(1).text().endswith(f"{disc(30, 30, 8).sum():,} px²")


# --- writer -------------------------------------------------------------------------------


def test_napari_saves_labels_with_scale_and_units(window: Window, tmp_path: Path) -> None:
    plain = window.viewer.add_labels(
        disc(*SMALL).astype(np.int32), name="mine", scale=(0.5, 0.25), units="um"
    )
    press(window, "(Shift+M)")
    with DynamicPlugin("latentfm-writer", plugin_manager=PluginManager.instance()) as plugin:
        plugin.contribute.writer(
            writer.write_labels,
            layer_types=["labels"],
            filename_extensions=[".tif", ".png", ".nii.gz"],
        )
        for layer, name in ((plain, "plain.tif"), (window.layer, "ours.tif")):
            window.viewer.layers.selection = {layer}
            saved = window.viewer.layers.save(
                str(tmp_path / name), selected=True, plugin="latentfm-writer"
            )
            assert str(tmp_path / name) in saved
    with tifffile.TiffFile(tmp_path / "plain.tif") as tiff:
        assert 'PhysicalSizeY="0.5"' in (tiff.ome_metadata or "")
        assert "PhysicalSizeXUnit" in (tiff.ome_metadata or "")
        np.testing.assert_array_equal(tiff.asarray(), plain.data)
    assert not (tmp_path / "plain.tif.json").exists()
    labels, side = read_annotation(tmp_path / "ours.tif")
    np.testing.assert_array_equal(labels, window.layer.data)
    assert side is not None
    assert side.proposals[0].origin == "mean mask"


def test_writer_keeps_the_direction_of_mirrored_axes(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    for scale, axes in (((1, 1, 1), "LPS"), ((-1, -1, -1), "RAS"), ((1, 1, -1), "RPS")):
        layer = Labels(np.ones((3, 4, 5), np.uint8), scale=scale)
        data, meta, _ = layer.as_layer_data_tuple()
        (path,) = writer.write_labels(str(tmp_path / f"{axes}.nii"), data, meta)
        assert "".join(nibabel.aff2axcodes(nibabel.load(path).affine)) == axes


def test_writer_keeps_a_scale_without_unit(tmp_path: Path) -> None:
    layer = Labels(np.ones((4, 5), np.uint8), scale=(2, 3))
    data, meta, _ = layer.as_layer_data_tuple()
    (path,) = writer.write_labels(str(tmp_path / "a.tif"), data, meta)
    with tifffile.TiffFile(path) as tiff:
        xml = tiff.ome_metadata or ""
    assert 'PhysicalSizeX="3.0"' in xml
    assert 'PhysicalSizeXUnit="pixel"' in xml
