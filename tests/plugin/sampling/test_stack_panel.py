"""All planes of a stack in a real window: layers, slider, review, and every ending."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest

from latentfm_core.config import SamplingConfig
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.types import ImageInput, Summary
from napari_latentfm.layers.edits import EditedLayers
from napari_latentfm.layers.specs import METADATA_KEY
from napari_latentfm.results.session import session_of
from napari_latentfm.sampling.panel import SamplingPanel
from napari_latentfm.sampling.plane_choice import CURRENT, ON_SCREEN
from tests.helpers.pictures import grey_stack
from tests.helpers.plugin_fixtures import (
    PATIENCE,
    OpenPanel,
    Window,
    assert_idle,
    choose_model,
    contents_of,
    disc_image,
    ending_of,
    gate,
    run,
)

SETTINGS = SamplingConfig(n_samples=3, steps=2, device="cpu")
ROLES = ("mean probability", "confidence", "samples", "mean mask")


def colour_stack(count: int = 3) -> np.ndarray:
    """Return the same in colour, ``(T, Y, X, 3)``."""
    return np.stack([disc_image((48, 64), radius=10 + 3 * n) for n in range(count)])


@pytest.fixture(scope="module")
def segmenter(tiny_model_folder: Path) -> Segmenter:
    return Segmenter.load(tiny_model_folder, "cpu")


@pytest.fixture
def scan_window(docked_panel: OpenPanel) -> Window:
    """A viewer with a stack of three planes, "scan", of which all are to be segmented."""
    viewer, panel = docked_panel()
    viewer.add_image(grey_stack(), name="scan")
    panel.form.plane_choice.planes.value = "0"
    return viewer, panel


def alone(segmenter: Segmenter, pixels: np.ndarray) -> Summary:
    samples = segmenter.sample(ImageInput(pixels), SETTINGS)
    return segmenter.summarise(samples, SETTINGS)


def labels_of(box: Any) -> list[str]:
    native = box.native
    return [native.itemText(place) for place in range(native.count())]


# --- layers -------------------------------------------------------------------------------


def test_all_planes_of_a_stack_equal_single_runs(
    qtbot: Any, docked_panel: OpenPanel, segmenter: Segmenter
) -> None:
    viewer, panel = docked_panel()
    stack = grey_stack()
    space = {
        "scale": (3, 0.5, 0.25),
        "translate": (7, -2, 4),
        "units": ("um", "um", "um"),
        "axis_labels": ("z", "y", "x"),
        "rotate": [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]],
    }
    source = viewer.add_image(stack, name="scan", **space)
    panel.form.plane_choice.planes.value = "0"
    assert run(qtbot, panel) == "done", panel.last_error
    assert [layer.name for layer in viewer.layers] == ["scan", *(f"scan · {r}" for r in ROLES)]
    assert "3 planes" in panel.form.status.value
    for number, plane in enumerate(stack):
        wanted = alone(segmenter, plane)
        found = {role: viewer.layers[f"scan · {role}"].data for role in ROLES}
        np.testing.assert_array_equal(found["samples"][:, number], wanted.sample_masks)
        np.testing.assert_array_equal(found["mean mask"][number], wanted.mean_mask)
        np.testing.assert_array_equal(found["confidence"][number], wanted.confidence)
        np.testing.assert_array_equal(found["mean probability"][number], wanted.mean_probability)
    for layer in list(viewer.layers)[1:]:
        place = source.data_to_world((2, 11, 30))
        np.testing.assert_allclose(layer.data_to_world((0, 2, 11, 30))[-3:], place)
        assert tuple(layer.units[-3:]) == tuple(source.units)
        assert tuple(layer.axis_labels[-3:]) == ("z", "y", "x")
    assert viewer.layers["scan · samples"].axis_labels[0] == "sample"
    assert_idle(panel)


def test_a_lazy_colour_movie_is_read_frame_by_frame(
    qtbot: Any, docked_panel: OpenPanel, segmenter: Segmenter
) -> None:
    viewer, panel = docked_panel()
    movie, read = colour_stack(), []

    def frame(block: np.ndarray) -> np.ndarray:
        read.append(block.shape)
        return block

    lazy = dask.array.from_array(movie, chunks=(1, *movie.shape[1:]))
    lazy = lazy.map_blocks(frame, dtype=np.uint8, meta=np.empty((0, 0, 0, 0), np.uint8))
    viewer.add_image(lazy, rgb=True, name="movie", contrast_limits=(0, 255))
    panel.form.plane_choice.planes.value = "0"
    read.clear()
    assert run(qtbot, panel) == "done", panel.last_error
    assert set(read) == {(1, 48, 64, 3)}
    assert viewer.layers["movie · samples"].data.shape == (3, 3, 48, 64)
    for number, plane in enumerate(movie):
        wanted = alone(segmenter, plane).mean_mask
        np.testing.assert_array_equal(viewer.layers["movie · mean mask"].data[number], wanted)


def test_choices_follow_the_layer_and_the_axes_on_screen(docked_panel: OpenPanel) -> None:
    viewer, panel = docked_panel()
    choice = panel.form.plane_choice
    viewer.add_image(disc_image(), rgb=True, name="flat")
    assert not choice.planes.native.isVisibleTo(panel)
    stack = viewer.add_image(grey_stack(), name="scan", axis_labels=("z", "y", "x"))
    panel.form.image.value = stack.__wrapped__
    assert choice.planes.native.isVisibleTo(panel)
    assert labels_of(choice.planes) == ["current", "all along z"]
    assert labels_of(choice.axes) == ["on screen", "y, x", "z, x", "z, y"]
    viewer.dims.order = (1, 0, 2)
    assert labels_of(choice.planes) == ["current", "all along y"]
    choice.axes.value = "0,1"
    assert labels_of(choice.planes) == ["current", "all along x"]
    both = viewer.add_image(np.stack([grey_stack()] * 2), name="movie")
    panel.form.image.value = both.__wrapped__
    assert (choice.axes.value, choice.planes.value) == (ON_SCREEN, CURRENT)
    viewer.dims.order = (0, 1, 2, 3)
    assert labels_of(choice.planes) == ["current", "all along axis 0", "all along axis 1", "all"]


def test_planes_are_segmented_along_one_or_several_axes(
    qtbot: Any, docked_panel: OpenPanel, segmenter: Segmenter
) -> None:
    viewer, panel = docked_panel()
    choice = panel.form.plane_choice
    stack = np.moveaxis(grey_stack(), 0, 1)  # planes are z, x
    source = viewer.add_image(stack, name="scan", scale=(1, 4, 1))
    choice.axes.value, choice.planes.value = "0,2", "1"
    assert run(qtbot, panel) == "done", panel.last_error
    mask = viewer.layers["scan [:, :, :] · mean mask"]
    np.testing.assert_array_equal(mask.data[:, 2], alone(segmenter, stack[:, 2]).mean_mask)
    np.testing.assert_allclose(mask.data_to_world((5, 2, 9)), source.data_to_world((5, 2, 9)))
    viewer.layers.clear()

    movie = np.stack([grey_stack(2), grey_stack(2)[::-1]])
    source = viewer.add_image(movie, name="movie", scale=(1, 3, 1, 1))
    viewer.dims.set_current_step(0, 1)
    choice.planes.value = "1"
    assert run(qtbot, panel) == "done", panel.last_error
    one = viewer.layers["movie [1, :, :, :] · mean mask"]
    assert one.data.shape == (1, 2, 48, 64)
    np.testing.assert_array_equal(one.data[0, 0], alone(segmenter, movie[1, 0]).mean_mask)
    np.testing.assert_allclose(one.data_to_world((0, 1, 5, 6)), source.data_to_world((1, 1, 5, 6)))
    choice.planes.value = "0,1"
    assert run(qtbot, panel) == "done", panel.last_error
    both = viewer.layers["movie · mean mask"]
    assert both.data.shape == movie.shape
    np.testing.assert_array_equal(both.data[1], one.data[0])


def test_rerun_updates_its_layers_and_asks_about_edits(qtbot: Any, scan_window: Window) -> None:
    viewer, panel = scan_window
    run(qtbot, panel)
    before = [layer.unique_id for layer in viewer.layers]
    panel.form.n_samples.value = 4
    assert run(qtbot, panel) == "done"
    assert [layer.unique_id for layer in viewer.layers] == before
    mine = viewer.layers["scan · mean mask"]
    mine.fill((1, 0, 0), 3)
    asked: list[Any] = []
    panel.ask_about_edits = lambda names: asked.append(list(names)) or EditedLayers.CANCEL
    assert run(qtbot, panel) == "cancelled"
    assert asked == [["scan · mean mask"]]
    assert (mine.data == 3).any()
    # The current plane alone has separate layers.
    panel.form.plane_choice.planes.value = CURRENT
    assert run(qtbot, panel) == "done"
    assert asked == [["scan · mean mask"]]
    assert len(viewer.layers) == 9


def test_cancelling_a_stack_run_does_not_change_the_viewer(qtbot: Any, scan_window: Window) -> None:
    viewer, panel = scan_window
    run(qtbot, panel)
    before, under_review = contents_of(viewer), session_of(viewer).current
    slow = _slow(panel)
    endings: list[str] = []
    panel.finished.connect(endings.append)
    panel.run()
    slow.allow(7)
    qtbot.waitUntil(lambda: "Plane 1 (2 of 3)" in panel.form.status.value, timeout=PATIENCE)
    qtbot.waitUntil(lambda: panel.form.progress.native.value() == 7, timeout=PATIENCE)
    assert panel.form.progress.native.maximum() == 15
    assert not panel.form.plane_choice.planes.enabled
    panel.form.cancel_button.native.click()
    slow.allow(1)
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["cancelled"]
    assert slow.done <= 3  # of the second plane
    assert contents_of(viewer) == before
    assert session_of(viewer).current is under_review
    assert_idle(panel)


# --- cancel, errors, the end of the window ------------------------------------------------


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")
def test_unusable_stacks_end_the_run_with_a_reason(qtbot: Any, docked_panel: OpenPanel) -> None:
    viewer, panel = docked_panel()
    stack = grey_stack().astype(np.float32)
    stack[1, 5, 5] = np.nan
    layer = viewer.add_image(stack, name="scan", contrast_limits=(0, 255))
    panel.form.plane_choice.planes.value = "0"
    assert run(qtbot, panel) == "failed"
    assert "scan [1]: 1 NaN" in str(panel.last_error)
    assert [layer.name for layer in viewer.layers] == ["scan"]
    assert_idle(panel)
    layer.rotate = (10, 20, 30)
    assert run(qtbot, panel) == "failed"
    assert "rotated or sheared" in str(panel.last_error)


def test_closing_the_window_ends_the_run(qtbot: Any, scan_window: Window) -> None:
    viewer, panel = scan_window
    slow = _slow(panel)
    job = panel.job
    panel.run()
    slow.allow(6)
    qtbot.waitUntil(lambda: "Plane 1 (2 of 3)" in panel.form.status.value, timeout=PATIENCE)
    viewer.close()
    slow.allow(20)
    qtbot.waitUntil(lambda: not job.busy, timeout=PATIENCE)
    assert slow.done <= 3


def test_confidence_of_all_planes_changes_without_new_samples(
    qtbot: Any,
    scan_window: Window,
    calibrated_model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewer, panel = scan_window
    choose_model(panel, calibrated_model_folder, 3)
    assert run(qtbot, panel) == "done"
    layer = viewer.layers["scan · confidence"]
    assert layer.metadata[METADATA_KEY]["calibrated"] is True
    monkeypatch.setattr(Segmenter, "sample_steps", None)
    ending = ending_of(qtbot, panel, partial(setattr, panel.form.confidence, "value", "raw"))
    assert ending == "done", panel.last_error
    monkeypatch.undo()
    raw = SETTINGS.model_copy(update={"calibrated": False})
    model = Segmenter.load(calibrated_model_folder, "cpu")
    for number, plane in enumerate(grey_stack()):
        wanted = model.summarise(model.sample(ImageInput(plane), raw), raw).confidence
        np.testing.assert_array_equal(layer.data[number], wanted)


def _slow(panel: SamplingPanel) -> Any:
    """Replace the model of the panel's job by a gated one with 5 steps per plane."""
    slow = gate(panel, total=5)
    # The warm model would be used instead of the slow one.
    panel.form.device.value = "auto"
    return slow
