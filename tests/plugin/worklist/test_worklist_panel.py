"""The work list in a real window with a real model."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from latentfm_core.annotation.export import export_annotation
from latentfm_core.annotation.fingerprint import image_signature
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.config import SamplingConfig
from latentfm_core.images.read import read_image
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.model_io.card import read_card
from latentfm_core.worklist.order import uncertainty_of
from latentfm_core.worklist.state import WorkList
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.writing import write_labels
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.layers.camera import camera_of
from napari_latentfm.results.session import session_of
from napari_latentfm.ui.model_chooser import FOLDER_CHOICE
from napari_latentfm.worklist import form_memory
from napari_latentfm.worklist import navigator as walk_module
from napari_latentfm.worklist.files import load
from napari_latentfm.worklist.form import BY_NAME, BY_UNCERTAINTY
from napari_latentfm.worklist.panel import QueuePanel
from napari_latentfm.worklist.table import COLUMNS
from tests.helpers.annotations import info
from tests.helpers.fixtures import copy_model
from tests.helpers.plugin_fixtures import PATIENCE, GatedSegmenter

Open = Callable[..., tuple[Any, QueuePanel]]
NAMES = ["blob_000.png", "blob_001.png", "blob_002.png"]


@pytest.fixture
def images(blob_folders: tuple[Path, Path], tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(blob_folders[0] / name, folder)
    return folder


@pytest.fixture
def queue(make_napari_viewer: Any, tiny_model_folder: Path, images: Path, qtbot: Any) -> Open:
    def open_panel(wait: bool = True, folder: Path = images) -> tuple[Any, QueuePanel]:
        viewer = make_napari_viewer()
        panel = QueuePanel(viewer)
        viewer.window.add_dock_widget(panel, name="Queue")
        panel.form.model.choose(tiny_model_folder)
        panel.form.n_samples.setValue(3)
        panel.form.folder.setText(str(folder))
        if wait:
            wait_for(qtbot, panel, NAMES[0], panel.open_folder)
        return viewer, panel

    return open_panel


@pytest.mark.parametrize("how", ["dialog", "typed"])
def test_a_chosen_folder_opens_at_once(
    how: str, queue: Open, images: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, panel = queue(wait=False)
    edit = panel.form.folder_edit
    edit.line.clear()
    # The dialog of the system cannot be operated by events.
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(images))

    def choose() -> None:
        if how == "dialog":
            qtbot.mouseClick(edit.button, Qt.MouseButton.LeftButton)
        else:
            qtbot.keyClicks(edit.line, str(images))
            assert panel.work is None
            qtbot.keyClick(edit.line, Qt.Key.Key_Return)

    wait_for(qtbot, panel, NAMES[0], choose)


def wait_for(qtbot: Any, panel: QueuePanel, name: str, act: Callable[[], None]) -> None:
    seen: list[str] = []
    panel.shown.connect(seen.append)
    act()
    qtbot.waitUntil(lambda: name in seen, timeout=PATIENCE)
    panel.shown.disconnect(seen.append)
    assert panel.current == name


def idle(qtbot: Any, panel: QueuePanel) -> None:
    qtbot.waitUntil(lambda: panel.sampler._active is None, timeout=PATIENCE)


def annotate(viewer: Any, corner: int = 5) -> np.ndarray:
    mask = np.zeros((64, 64), bool)
    mask[:corner, :corner] = True
    write_labels(session_of(viewer), mask)
    return mask


def expected(folder: Path, name: str, model: Path) -> Any:
    base = read_card(model).config.sampling
    settings = base.model_copy(update={"n_samples": 3, "seed": SamplingConfig().seed})
    segmenter = Segmenter.load(model, "cpu")
    return segmenter.summarise(segmenter.sample(read_image(folder / name), settings), settings)


def test_images_can_be_accepted_and_reopened(
    qtbot: Any, queue: Open, images: Path, tiny_model_folder: Path
) -> None:
    viewer, panel = queue()
    wanted = expected(images, NAMES[0], tiny_model_folder)
    np.testing.assert_array_equal(viewer.layers["blob_000 · samples"].data, wanted.sample_masks)
    np.testing.assert_array_equal(viewer.layers["blob_000 · confidence"].data, wanted.confidence)
    mine = viewer.add_points([[1, 1]], name="mine")
    mask = annotate(viewer)
    panel.open_image.clock.touch(panel.open_image.clock._last + 30)
    wait_for(qtbot, panel, NAMES[1], panel.accept)
    assert panel.work is not None
    np.testing.assert_array_equal(tifffile.imread(panel.work.annotation(NAMES[0])), mask)
    assert (panel.work.output / "blob_000.tif.json").is_file()
    done = panel.work.annotation(NAMES[0])
    assert load(images / NAMES[0], None, done, done).warning == ""
    item = WorkList(images).item(NAMES[0])
    assert item.state == "completed"
    assert 30 <= item.seconds < 60
    assert "1 of 3 done" in panel.form.tally.text()
    assert mine in viewer.layers
    assert not [layer for layer in viewer.layers if layer.name.startswith("blob_000")]
    # Unfinished work is saved without asking, and restored.
    other = annotate(viewer, 9)
    wait_for(qtbot, panel, NAMES[2], panel.next)
    assert panel.work.item(NAMES[1]).state == "in progress"
    assert not panel.work.annotation(NAMES[1]).exists()
    wait_for(qtbot, panel, NAMES[1], panel.previous)
    layer = annotation_of(session_of(viewer), create=False)
    assert layer is not None
    np.testing.assert_array_equal(layer.data, other)
    wait_for(qtbot, panel, NAMES[0], panel.previous)
    panel.previous()
    assert panel.current == NAMES[0]
    assert "first image" in panel.form.status.text()


def test_result_layers_are_reused_for_the_next_image(
    qtbot: Any, queue: Open, images: Path, tiny_model_folder: Path
) -> None:
    small = read_image(images / NAMES[1]).pixels[:48, :56]
    Image.fromarray(small).save(images / NAMES[1])
    viewer, panel = queue()
    before = {layer.name.split(" · ")[-1]: layer for layer in viewer.layers}
    before["mean mask"].opacity, before["confidence"].visible = 0.2, False
    before["mean mask"].show_selected_label = True
    before["mean mask"].mode = "paint"
    before["confidence"].gamma = 2.0
    wait_for(qtbot, panel, NAMES[1], panel.next)
    wanted = expected(images, NAMES[1], tiny_model_folder)
    shown = {layer.name: layer for layer in viewer.layers}
    for title in ("mean probability", "confidence", "samples", "mean mask"):
        assert shown[f"blob_001 · {title}"] is before[title], "added layers take long"
    mean = shown["blob_001 · mean mask"]
    np.testing.assert_array_equal(mean.data, wanted.mean_mask)
    np.testing.assert_array_equal(shown["blob_001 · samples"].data, wanted.sample_masks)
    assert mean.opacity == 0.9
    assert mean.visible
    assert (mean.mode, mean.show_selected_label) == ("pan_zoom", False)
    assert shown["blob_001 · confidence"].visible
    assert shown["blob_001 · confidence"].gamma == 1
    assert not shown["blob_001 · mean probability"].visible
    assert viewer.layers.selection.active is mean
    assert viewer.layers[0].name == "blob_001"
    np.testing.assert_array_equal(viewer.layers.extent.world[:, -2:], [[0, 0], [47, 55]])
    # An edited result belongs to the user: it stays, and the next image gets another layer.
    mean.data_setitem((np.array([1, 2]), np.array([1, 2])), 1)
    edited = mean.data.copy()
    wait_for(qtbot, panel, NAMES[2], panel.next)
    assert viewer.layers["blob_002 · mean mask"] is not mean
    assert mean in viewer.layers
    np.testing.assert_array_equal(mean.data, edited)


def test_a_removed_result_layer_is_added_again_in_its_place(qtbot: Any, queue: Open) -> None:
    viewer, panel = queue()
    viewer.layers.remove("blob_000 · confidence")
    wait_for(qtbot, panel, NAMES[1], panel.next)
    titles = ("mean probability", "confidence", "samples", "mean mask")
    names = ["blob_001", *(f"blob_001 · {title}" for title in titles)]
    assert [layer.name for layer in viewer.layers] == names
    assert viewer.layers.selection.active.name == names[-1]
    # A layer that is linked to a result does not change.
    mine = viewer.add_labels(np.zeros((64, 64), np.uint8), metadata={"mine": 1})
    viewer.layers.link_layers([viewer.layers["blob_001 · mean mask"], mine])
    wait_for(qtbot, panel, NAMES[2], panel.next)
    assert mine.metadata == {"mine": 1}
    assert mine.visible


def test_coarser_levels_of_the_next_large_image_cannot_be_painted(
    qtbot: Any, queue: Open, images: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1000), np.uint8)
    for name, rows in zip(NAMES, (1100, 1200, 64), strict=True):
        Image.fromarray(noise[:rows]).save(images / name)
    viewer, panel = queue()
    wait_for(qtbot, panel, NAMES[1], panel.next)
    mean = viewer.layers["blob_001 · mean mask"]
    assert mean.multiscale
    assert not mean.editable
    wait_for(qtbot, panel, NAMES[2], panel.next)
    assert viewer.layers["blob_002 · mean mask"].editable


def test_an_image_opened_before_the_list_is_hidden(qtbot: Any, queue: Open) -> None:
    viewer, panel = queue(wait=False)
    large = viewer.add_image(np.ones((500, 400)), name="large")
    wait_for(qtbot, panel, NAMES[0], panel.open_folder)
    assert not large.visible
    camera = camera_of(viewer)
    np.testing.assert_allclose(camera.center[-2:], (31.5, 31.5), atol=1)
    assert camera.zoom * 64 > 0.5 * min(viewer.window._qt_viewer.canvas.size), "it fills the view"


def test_a_label_name_applies_to_later_images_of_the_list(
    qtbot: Any, queue: Open, images: Path
) -> None:
    viewer, panel = queue()
    annotate(viewer)
    wait_for(qtbot, panel, NAMES[1], panel.next)
    wait_for(qtbot, panel, NAMES[0], panel.previous)
    layer = annotation_of(session_of(viewer), create=False)
    assert layer is not None
    record_of(layer).names[1] = "naevus"
    wait_for(qtbot, panel, NAMES[1], panel.next)
    assert panel.work is not None
    sidecar = read_annotation(panel.work.unfinished(NAMES[0]))[1]
    assert sidecar is not None
    assert sidecar.class_names == {1: "naevus"}, "kept though no pixel changed"
    annotate(viewer)
    layer = annotation_of(session_of(viewer), create=False)
    assert layer is not None
    assert record_of(layer).names == {1: "naevus"}


def test_an_image_above_the_limit_opens_once_the_limit_is_raised(
    qtbot: Any, queue: Open, images: Path
) -> None:
    large = np.random.default_rng(0).integers(0, 256, (1100, 1000), np.uint8)
    tifffile.imwrite(images / NAMES[0].replace(".png", ".tif"), large)
    (images / NAMES[0]).unlink()
    _, panel = queue(wait=False)
    panel.form.reading.megapixels.setValue(1)
    wait_for(qtbot, panel, NAMES[1], panel.open_folder)
    assert panel.work is not None
    error = panel.work.item("blob_000.tif").error
    assert "Largest image" in error, "it was passed over, and the list says what to do"
    panel.form.reading.megapixels.setValue(2)
    wait_for(qtbot, panel, "blob_000.tif", panel.previous)
    assert QueuePanel(panel.open_image._viewer).form.reading.megapixels.value() == 2, (
        "the choice is kept"
    )


def test_accept_takes_the_mean_mask_if_nothing_was_edited(
    qtbot: Any, queue: Open, images: Path, tiny_model_folder: Path
) -> None:
    _, panel = queue()
    wanted = expected(images, NAMES[0], tiny_model_folder)
    assert wanted.mean_mask.any()
    wait_for(qtbot, panel, NAMES[1], panel.accept)
    assert panel.work is not None
    saved = tifffile.imread(panel.work.annotation(NAMES[0]))
    np.testing.assert_array_equal(saved, wanted.mean_mask)
    sidecar = json.loads((panel.work.output / "blob_000.tif.json").read_text())
    assert sidecar["proposals"][0]["origin"] == "mean mask"
    assert cell(panel, NAMES[0], "State") == "✓ done"


def test_an_empty_image_is_accepted_by_a_separate_action(qtbot: Any, queue: Open) -> None:
    viewer, panel = queue()
    annotate(viewer)
    for _ in range(3):
        panel.accept_empty()
        assert panel.current == NAMES[0], "what is marked is not thrown away"
        assert "25 pixels are marked" in panel.form.status.text()
    layer = annotation_of(session_of(viewer), create=False)
    assert layer is not None
    layer.undo()
    for _ in range(3):
        panel.accept()
        assert panel.current == NAMES[0], "what was erased is not replaced by the mean mask"
        assert "press No object" in panel.form.status.text()
    wait_for(qtbot, panel, NAMES[1], panel.accept_empty)
    assert panel.work is not None
    assert not tifffile.imread(panel.work.annotation(NAMES[0])).any()
    assert cell(panel, NAMES[0], "State") == "✓ done (empty)"
    wait_for(qtbot, panel, NAMES[0], panel.previous)
    wait_for(qtbot, panel, NAMES[1], panel.next)


def test_an_empty_image_is_named_after_the_models_class(
    queue: Open, tiny_model_folder: Path, tmp_path: Path
) -> None:
    _, panel = queue(wait=False)
    assert panel.form.empty_name == "No object"
    folder = copy_model(tiny_model_folder, tmp_path / "polyps")
    card = json.loads((folder / "model.json").read_text())
    card["config"]["model"]["classes"] = ["polyp"]
    (folder / "model.json").write_text(json.dumps(card))
    panel.form.model.folder.line.setText(str(folder))
    assert panel.form.empty_name == "No polyp"


def test_resuming_opens_the_first_unfinished_image(qtbot: Any, queue: Open, images: Path) -> None:
    work = WorkList(images)
    work.update(NAMES[0], state="completed")
    _, panel = queue(wait=False)
    assert panel.form.skip.isChecked()
    wait_for(qtbot, panel, NAMES[1], panel.open_folder)
    for name in NAMES:
        work.update(name, state="completed")
    wait_for(qtbot, panel, NAMES[0], panel.open_folder)
    assert panel.form.status.text().startswith("All images are done.")
    # The viewer is not empty if all images that are not done cannot be read.
    work.update(NAMES[2], state="not started")
    (images / NAMES[2]).write_bytes(b"no picture")
    wait_for(qtbot, panel, NAMES[1], panel.open_folder)
    assert panel.form.status.text().startswith("2 done, 1 cannot be read.")


def test_the_viewer_is_never_empty_between_two_images(qtbot: Any, queue: Open) -> None:
    viewer, panel = queue()
    counts: list[int] = []
    viewer.layers.events.removed.connect(lambda _event: counts.append(len(viewer.layers)))
    viewer.layers["blob_000"].events.name.connect(lambda _e: counts.append(len(viewer.layers)))
    idle(qtbot, panel)
    wait_for(qtbot, panel, NAMES[1], panel.next)
    wait_for(qtbot, panel, NAMES[0], panel.previous)
    assert min(counts) >= 5, "the next image and its layers are there before the others go"
    assert [x.name for x in viewer.layers if "before" in x.name] == []


def test_strokes_painted_while_the_next_image_is_read_are_kept(
    qtbot: Any, queue: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, panel = queue()
    gate = threading.Event()
    real = walk_module.load

    def slow(*arguments: Any) -> Any:
        gate.wait(PATIENCE / 1000)
        return real(*arguments)

    monkeypatch.setattr(walk_module, "load", slow)
    seen: list[str] = []
    panel.shown.connect(seen.append)
    panel.next()
    mask = annotate(viewer, 7)
    gate.set()
    qtbot.waitUntil(lambda: NAMES[1] in seen, timeout=PATIENCE)
    assert panel.work is not None
    np.testing.assert_array_equal(tifffile.imread(panel.work.unfinished(NAMES[0])), mask)


def cell(panel: QueuePanel, name: str, column: str) -> str:
    rows = panel.form.table.rows
    return str(rows.data(rows.index(rows.names.index(name), COLUMNS.index(column))))


def test_the_next_image_is_sampled_ahead(
    qtbot: Any, queue: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    real = Segmenter.sample_steps

    def counted(self: Any, image: Any, *rest: Any, **options: Any) -> Any:
        drawn.append(image.name)
        return real(self, image, *rest, **options)

    monkeypatch.setattr(Segmenter, "sample_steps", counted)
    _, panel = queue()
    idle(qtbot, panel)
    assert drawn == ["blob_000", "blob_001"]
    wait_for(qtbot, panel, NAMES[1], panel.next)
    idle(qtbot, panel)
    assert drawn == ["blob_000", "blob_001", "blob_002"]


def test_images_can_be_ordered_by_uncertainty(
    qtbot: Any, queue: Open, images: Path, tiny_model_folder: Path
) -> None:
    _, panel = queue()
    panel.form.order.setCurrentText(BY_UNCERTAINTY)
    assert panel.work is not None
    work = panel.work
    qtbot.waitUntil(
        lambda: all(work.item(name).uncertainty is not None for name in NAMES), timeout=PATIENCE
    )
    uncertainty = {n: uncertainty_of(expected(images, n, tiny_model_folder)) for n in NAMES}
    for name in NAMES:
        assert work.item(name).uncertainty == pytest.approx(uncertainty[name], abs=1e-9)
    assert panel.form.table.shown() == sorted(NAMES, key=lambda n: -uncertainty[n])
    rows = panel.form.table.filtered
    cells = [str(rows.index(row, 3).data()) for row in range(len(NAMES))]
    assert cells == [f"{100 * each:.0f}%" for each in sorted(uncertainty.values(), reverse=True)]
    panel.form.order.setCurrentText(BY_NAME)
    assert panel.form.table.shown() == NAMES
    panel.form.search.setText("002")
    assert panel.form.table.shown() == NAMES[2:]


def test_a_running_list_can_be_cancelled_and_closed(qtbot: Any, queue: Open, images: Path) -> None:
    viewer, panel = queue(wait=False)
    slow = GatedSegmenter()
    panel.sampler.job.load = slow.load
    panel.open_folder()
    slow.allow(1)
    qtbot.waitUntil(lambda: slow.done == 1, timeout=PATIENCE)
    panel.cancel()
    slow.allow(1)
    idle(qtbot, panel)
    assert slow.done <= 2
    assert "Cancelled" in panel.form.status.text()
    panel.sampling.measure()
    slow.allow(1)
    qtbot.waitUntil(lambda: panel.sampler._active is not None, timeout=PATIENCE)
    job = panel.sampler.job
    viewer.close()
    slow.allow(50)
    qtbot.waitUntil(lambda: not job.busy, timeout=PATIENCE)
    assert WorkList(images).warning == ""


@pytest.mark.parametrize("way", ["window", "dock"])
def test_closing_saves_the_work(qtbot: Any, queue: Open, images: Path, way: str) -> None:
    viewer, panel = queue()
    mask = annotate(viewer)
    if way == "window":
        viewer.close()
    else:
        viewer.window.remove_dock_widget(panel)
    qtbot.wait(100)
    work = WorkList(images)
    np.testing.assert_array_equal(tifffile.imread(work.unfinished(NAMES[0])), mask)
    assert work.item(NAMES[0]).state == "in progress"
    again_viewer, _again = queue()
    layer = annotation_of(session_of(again_viewer), create=False)
    assert layer is not None
    np.testing.assert_array_equal(layer.data, mask)


def test_a_damaged_image_is_flagged_and_skipped(qtbot: Any, queue: Open, images: Path) -> None:
    (images / NAMES[1]).write_bytes(b"no picture")
    _, panel = queue()
    wait_for(qtbot, panel, NAMES[2], panel.next)
    assert panel.work is not None
    item = panel.work.item(NAMES[1])
    assert item.state == "flagged"
    assert NAMES[1] in item.error


def test_a_note_survives_an_image_that_is_temporarily_unreadable(
    qtbot: Any, queue: Open, images: Path
) -> None:
    whole = (images / NAMES[1]).read_bytes()
    (images / NAMES[1]).write_bytes(b"no picture")
    WorkList(images).update(NAMES[1], state="flagged", note="ask Anna")
    _, panel = queue()
    wait_for(qtbot, panel, NAMES[2], panel.next)
    assert panel.work is not None
    item = panel.work.item(NAMES[1])
    assert (item.note, bool(item.error)) == ("ask Anna", True)
    (images / NAMES[1]).write_bytes(whole)
    wait_for(qtbot, panel, NAMES[1], panel.previous)
    item = panel.work.item(NAMES[1])
    assert (item.state, item.note, item.error) == ("flagged", "ask Anna", "")
    assert item.uncertainty is not None


def test_a_damaged_annotation_is_set_aside(qtbot: Any, queue: Open, images: Path) -> None:
    work = WorkList(images)
    path = work.unfinished(NAMES[0])
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    queue()
    assert not path.exists()
    assert path.with_name(path.name + ".broken").read_bytes() == b"damaged"


def test_an_annotation_of_another_image_with_that_name_is_reported(
    images: Path, tmp_path: Path
) -> None:
    path, kept = images / NAMES[0], tmp_path / "kept.tif"
    labels = np.ones((64, 64), np.uint8)
    signature = image_signature(read_image(path).pixels)
    export_annotation(kept, labels, info((64, 64), image_signature=signature))
    opened = load(path, None, kept, kept)
    assert opened.warning == ""
    shutil.copy(images / NAMES[1], path)
    opened = load(path, None, kept, kept)
    assert f"{NAMES[0]} has changed, or is another image" in opened.warning
    assert opened.labels is not None
    np.testing.assert_array_equal(opened.labels, labels)


def test_a_missing_model_is_reported(qtbot: Any, queue: Open, tmp_path: Path) -> None:
    _, panel = queue(wait=False)
    panel.form.model.folder.line.setText(str(tmp_path))
    seen: list[str] = []
    panel.settled.connect(seen.append)
    panel.open_folder()
    qtbot.waitUntil(lambda: "failed" in seen, timeout=PATIENCE)
    assert panel.work is not None
    assert panel.work.item(NAMES[0]).state == "not started"
    panel.form.model.folder.line.setText("")
    panel.browsing.read_ahead()  # says nothing: opening the next image does
    assert not panel.sampler.busy


def test_two_viewers_have_separate_annotations(
    qtbot: Any, queue: Open, images: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(images, other)
    first, one = queue()
    second, two = queue(folder=other)
    annotate(first)
    wait_for(qtbot, two, NAMES[1], two.next)
    assert one.current == NAMES[0]
    assert annotation_of(session_of(second), create=False) is None
    assert annotation_of(session_of(first), create=False) is not None


def test_flag_reset_and_time_of_an_image(queue: Open) -> None:
    _, panel = queue()
    panel.states.flag()
    assert panel.work is not None
    assert panel.work.item(NAMES[0]).state == "flagged"
    panel.states.reset(NAMES[0])
    assert panel.work.item(NAMES[0]).state == "not started"
    # Pauses do not count as time that an image took.
    clock = panel.open_image.clock
    clock.start()
    start = clock._last
    for moment in (20, 50, 200, 210):
        clock.touch(start + moment)
    assert clock.take() == pytest.approx(60)


def test_choices_are_saved_between_sessions(queue: Open, tiny_model_folder: Path) -> None:
    viewer, panel = queue(wait=False)
    panel.form.order.setCurrentText(BY_UNCERTAINTY)
    panel.form.skip.setChecked(True)
    again = QueuePanel(viewer).form
    assert again.model.box.currentText() == FOLDER_CHOICE
    assert again.model.folder.line.text() == str(tiny_model_folder)
    assert again.n_samples.value() == 3
    assert again.order.currentText() == BY_UNCERTAINTY
    assert again.skip.isChecked()
    again.order.setCurrentText(BY_NAME)
    form_memory.restore(again, {"order": "most doubtful first"})
    assert again.order.currentText() == BY_UNCERTAINTY, "the name in earlier versions"
