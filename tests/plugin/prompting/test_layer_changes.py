"""The Point section while layers come, go and change; without a window."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from app_model.types import KeyBinding
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from qtpy.QtCore import QCoreApplication, QEvent

from latentfm_core.progress import finish
from latentfm_core.prompts import Prompt
from napari_latentfm.layers.camera import camera_of
from napari_latentfm.layers.edits import EditedLayers
from napari_latentfm.layers.planes import Plane
from napari_latentfm.layers.strokes import strokes_of
from napari_latentfm.prompting.mark_data import OBJECT, box_of, owners_of, write_boxes
from napari_latentfm.prompting.objects import PromptObject
from napari_latentfm.prompting.section import PromptSection
from napari_latentfm.results.session import session_of
from napari_latentfm.results.show import show_plane_steps
from napari_latentfm.sampling.panel import SamplingPanel
from tests.helpers.looks import SHAPE, reviewed, two_looks

BOX, OTHER_BOX = (10, 10, 30, 30), (20, 50, 40, 70)


needs_world_units = pytest.mark.skipif(
    not hasattr(ViewerModel().dims, "units"), reason="the viewer has no units"
)


class Bench:
    """A section on the images of a viewer model."""

    def __init__(self, qtbot: Any) -> None:
        self.viewer = ViewerModel()
        self.session = session_of(self.viewer)
        self.panel = SamplingPanel(self.viewer)
        self.section = PromptSection(self.session, self.panel)
        self.section.setParent(self.panel)
        qtbot.addWidget(self.panel)

    @property
    def states(self) -> dict[int, str]:
        return {row.number: row.state for row in self.section.form.objects.rows}

    def open(self, name: str, shape: tuple[int, ...] = SHAPE) -> Image:
        image = self.viewer.add_image(np.zeros(shape, np.float32), name=name)
        self.panel.form.image.value = image
        return image

    def show(self, image: Image) -> None:
        """Show a result of the whole image, and review it."""
        found = reviewed(image, self.viewer, two_looks())
        finish(show_plane_steps(self.viewer, found, lambda _: EditedLayers.OVERWRITE))

    def add(self, box: tuple[float, float, float, float]) -> PromptObject:
        """Add an object with a box and a mask to the plane on screen."""
        place = self.panel.place_on_screen()
        one = self.section._book.add(place.layer, place.plane, "disc", 0)
        result = reviewed(place.layer, self.viewer, two_looks()).result
        one.prompt = Prompt(box=box)
        one.answer(result.samples, result.summary.mean_mask, "test", None, one.prompt)
        self.section._context.marks.write(place.layer, place.plane, one.number, one.prompt)
        return one


@pytest.fixture
def bench(qtbot: Any) -> Bench:
    return Bench(qtbot)


def test_strokes_of_another_image_are_not_those_of_the_object(bench: Bench) -> None:
    first = bench.open("a")
    bench.section._strokes.put(bench.panel.place_on_screen(), np.ones(SHAPE, np.uint8))
    strokes = strokes_of(bench.viewer, first)
    assert strokes is not None
    bench.open("b")
    one = bench.add(BOX)
    strokes.refresh()  # as when its eye is clicked
    assert bench.section._stroked.isActive()
    bench.section._read_strokes()
    assert one.prompt.strokes is None


def test_a_new_result_does_not_show_stale_results_of_another_image(bench: Bench) -> None:
    first = bench.open("a")
    bench.show(first)
    place = bench.panel.place_on_screen()
    bench.session.show(None)
    bench.section._selection.show_no_result(place)
    assert not bench.viewer.layers["a · mean mask"].visible
    bench.show(bench.open("b"))
    assert not bench.viewer.layers["a · mean mask"].visible
    bench.show(first)
    assert bench.viewer.layers["a · mean mask"].visible


def test_marks_of_several_objects_are_deleted_at_once(bench: Bench) -> None:
    image = bench.open("a")
    objects = [bench.add(BOX), bench.add(OTHER_BOX)]
    boxes = bench.section._marks.boxes(image)
    assert boxes is not None
    boxes.selected_data = {0, 1}
    boxes.remove_selected()
    bench.section._drawing.read_marks()
    assert all(one.prompt.is_empty and one.samples is None for one in objects)


def test_objects_belong_to_the_shape_of_their_image(bench: Bench) -> None:
    image = bench.open("a")
    bench.add(BOX)
    bench.section._strokes.put(bench.panel.place_on_screen(), np.ones(SHAPE, np.uint8))
    bench.section._book.choose(image, bench.panel.place_on_screen().plane, None)
    bench.section._shown.renew()
    assert bench.states == {1: "proposed"}
    assert bench.viewer.layers["a · objects"].data.any()
    image.data = np.zeros((20, 30), np.float32)
    bench.section._shown.renew()
    assert bench.states == {}
    assert "a · objects" not in bench.viewer.layers
    assert strokes_of(bench.viewer, image) is None
    image.data = np.zeros(SHAPE, np.float32)
    bench.section._shown.renew()
    assert bench.states == {1: "proposed"}


def test_strokes_on_one_plane_do_not_copy_the_others(bench: Bench) -> None:
    image = bench.open("a", (100, *SHAPE))
    place = bench.panel.place_on_screen()
    bench.section._strokes.put(place, np.eye(*SHAPE, dtype=np.uint8))
    layer = strokes_of(bench.viewer, image)
    assert layer is not None
    assert np.count_nonzero(layer.data) == min(SHAPE)
    tracemalloc.start()
    bench.section._strokes.put(place, None)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not layer.data.any()
    assert most < layer.data.nbytes
    layer.undo()
    assert np.count_nonzero(layer.data) == min(SHAPE)


@needs_world_units
def test_a_box_outside_an_image_in_other_units_is_not_a_click(bench: Bench) -> None:
    image = bench.viewer.add_image(np.zeros(SHAPE, np.float32), units="mm")
    bench.viewer.add_image(np.zeros((5, 5), np.float32), units="um")
    bench.panel.form.image.value = image
    place, marks = bench.panel.place_on_screen(), bench.section._marks
    # The viewer is in micrometres: ten pixels of the screen for one of the image.
    camera_of(bench.viewer).zoom = 0.01
    assert not marks.is_drawing_click(BOX, image, place.plane, 5)
    assert marks.is_drawing_click((10, 10, 10.4, 10.4), image, place.plane, 5)


def test_a_box_is_measured_along_the_axes_of_its_plane(bench: Bench) -> None:
    image = bench.viewer.add_image(np.zeros((50, *SHAPE), np.float32), scale=(10, 1, 1))
    bench.panel.form.image.value = image
    bench.viewer.dims.order = (1, 0, 2)
    plane = bench.panel.place_on_screen().plane
    assert plane.axes == (0, 2)
    camera_of(bench.viewer).zoom = 1
    assert not bench.section._marks.is_drawing_click((3, 3, 5, 5), image, plane, 5)


def test_following_layers_in_turn_adds_no_connections(bench: Bench) -> None:
    layers = [bench.viewer.add_labels(np.zeros(SHAPE, np.uint8)) for _ in range(2)]
    bench.section._strokes.follow(layers[0])
    connected = len(layers[0].events.paint.callbacks)
    for layer in (*layers, *layers, *layers):
        bench.section._strokes.follow(layer)
    assert len(layers[0].events.paint.callbacks) == connected - 1
    assert len(layers[1].events.paint.callbacks) == connected


def test_napari_regains_undo_when_the_section_is_deleted(qtbot: Any) -> None:
    bench = Bench(qtbot)
    image = bench.open("a")
    bench.add(BOX)
    boxes = bench.section._marks.boxes(image)
    assert boxes is not None
    assert KeyBinding.from_str("Ctrl-Z") in boxes.keymap
    bench.section.deleteLater()
    QCoreApplication.sendPostedEvents(bench.section, QEvent.Type.DeferredDelete)
    assert KeyBinding.from_str("Ctrl-Z") not in boxes.keymap


def test_boxes_are_replaced_on_their_own_planes_alone() -> None:
    planes = [Plane((32, 32), (at, None, None), (4, 32, 32)) for at in range(4)]
    layer = Shapes(ndim=3, feature_defaults={OBJECT: 0}, features={OBJECT: np.zeros(0, int)})
    small, large, other = (2.0, 2.0, 9.0, 9.0), (3.0, 3.0, 20.0, 20.0), (1.0, 1.0, 4.0, 4.0)
    write_boxes(layer, 1, [(plane, small) for plane in planes])
    write_boxes(layer, 2, [(planes[1], other)])
    write_boxes(layer, 1, [(planes[1], large), (planes[2], None)])

    def found(number: int) -> dict[int, Any]:
        return {
            int(shape[0][0]): box_of(shape, planes[0])
            for shape, owner in zip(layer.data, owners_of(layer), strict=True)
            if owner == number
        }

    assert found(1) == {0: small, 1: large, 3: small}
    assert found(2) == {1: other}
