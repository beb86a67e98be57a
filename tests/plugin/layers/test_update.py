"""Result layers of further runs: updates, and edits of the user."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_latentfm.layers.edits import EditedLayers, digest
from napari_latentfm.layers.specs import METADATA_KEY
from tests.helpers.result_layers import by_role, never_asked, show, viewer

__all__ = ["viewer"]


@pytest.fixture
def source(viewer: ViewerModel) -> Image:
    """An image with its first result."""
    layer = viewer.add_image(np.zeros((12, 20)), name="a")
    show(viewer, layer)
    return layer


def test_rerun_updates_its_own_layers(viewer: ViewerModel, source: Image) -> None:
    before = list(viewer.layers)
    mean = by_role(viewer, "mean_mask")
    mean.name, mean.opacity, mean.visible = "my outline", 0.3, False
    old = mean.data.copy()
    source.scale = (3, 3)
    assert show(viewer, source, count=5, seed=4)
    assert list(viewer.layers) == before
    assert (mean.name, mean.opacity, mean.visible) == ("my outline", 0.3, False)
    assert not np.array_equal(mean.data, old)
    assert by_role(viewer, "samples").data.shape == (5, 12, 20)
    np.testing.assert_array_equal(mean.scale, (3, 3))
    np.testing.assert_array_equal(by_role(viewer, "samples").scale, (1, 3, 3))
    assert mean.metadata[METADATA_KEY]["seed"] == 4


def test_images_do_not_share_results(viewer: ViewerModel) -> None:
    first = viewer.add_image(np.zeros((12, 20)), name="a")
    second = viewer.add_image(np.zeros((12, 20)), name="b")
    show(viewer, first)
    kept = by_role(viewer, "mean_mask")
    old = kept.data.copy()
    show(viewer, second, seed=7)
    np.testing.assert_array_equal(kept.data, old)
    assert len(viewer.layers) == 10


def test_a_deleted_result_layer_is_added_again(viewer: ViewerModel, source: Image) -> None:
    viewer.layers.remove("a · confidence")
    show(viewer, source)
    assert sorted(layer.name for layer in viewer.layers if "confidence" in layer.name) == [
        "a · confidence"
    ]
    assert len(viewer.layers) == 5


def test_a_copy_of_a_result_is_not_updated(viewer: ViewerModel, source: Image) -> None:
    copy = Labels(
        **by_role(viewer, "mean_mask").as_layer_data_tuple()[1], data=np.ones((12, 20), int)
    )
    viewer.add_layer(copy)
    show(viewer, source, seed=3)
    assert copy.data.all()
    assert len(viewer.layers) == 6


def _edit(layer: Labels) -> np.ndarray:
    layer.paint((4, 4), 2)
    return layer.data.copy()


def test_edited_layer_is_kept_on_request(viewer: ViewerModel, source: Image) -> None:
    mine = by_role(viewer, "mean_mask")
    edited = _edit(mine)
    asked: list[list[str]] = []

    def keep(names: Any) -> EditedLayers:
        asked.append(list(names))
        return EditedLayers.KEEP

    assert show(viewer, source, seed=3, ask=keep)
    assert asked == [["a · mean mask"]]
    np.testing.assert_array_equal(mine.data, edited)
    (new,) = (x for x in viewer.layers if "mean mask" in x.name and x is not mine)
    assert new.metadata[METADATA_KEY]["seed"] == 3
    # From now on reruns go to the new layer, and nobody is asked about the kept one.
    assert show(viewer, source, seed=5)
    np.testing.assert_array_equal(mine.data, edited)
    assert new.metadata[METADATA_KEY]["seed"] == 5
    assert len(viewer.layers) == 6


def test_edited_layer_is_overwritten_on_request(viewer: ViewerModel, source: Image) -> None:
    mine = by_role(viewer, "mean_mask")
    edited = _edit(mine)
    assert show(viewer, source, seed=3, ask=lambda names: EditedLayers.OVERWRITE)
    assert not np.array_equal(mine.data, edited)
    assert len(viewer.layers) == 5
    assert show(viewer, source)


def test_cancelling_the_question_changes_nothing(viewer: ViewerModel, source: Image) -> None:
    _edit(by_role(viewer, "mean_mask"))
    before = {layer.name: digest(layer.data) for layer in viewer.layers}
    assert not show(viewer, source, seed=3, ask=lambda names: EditedLayers.CANCEL)
    assert {layer.name: digest(layer.data) for layer in viewer.layers} == before


@pytest.mark.parametrize("role", ["mean_mask", "samples"])
@pytest.mark.parametrize("how", ["fill", "data_setitem", "new data", "into the array", "redo"])
def test_every_kind_of_edit_is_detected(
    viewer: ViewerModel, source: Image, role: str, how: str
) -> None:
    layer = by_role(viewer, role)
    origin = (0,) * layer.ndim
    if how == "fill":
        layer.fill(origin, 7)
    elif how == "data_setitem":
        layer.data_setitem(tuple(np.array([0]) for _ in origin), [7])
    elif how == "new data":
        layer.data = np.full_like(layer.data, 7)
    elif how == "into the array":
        layer.data[origin] = 7
    else:
        layer.fill(origin, 7)
        layer.undo()
        layer.redo()
    asked: list[Any] = []

    def cancel(names: Any) -> EditedLayers:
        asked.extend(names)
        return EditedLayers.CANCEL

    show(viewer, source, ask=cancel)
    assert asked == [layer.name]


def test_changing_the_view_is_not_an_edit(viewer: ViewerModel, source: Image) -> None:
    samples, mean = by_role(viewer, "samples"), by_role(viewer, "mean_mask")
    viewer.dims.set_current_step(0, 2)
    samples.contour, mean.visible = 0, False
    mean.fill((0, 0), 7)
    mean.undo()
    assert show(viewer, source, ask=never_asked)


@pytest.mark.parametrize("count", [3, 6])
def test_undo_after_a_rerun_does_not_touch_the_new_result(
    viewer: ViewerModel, source: Image, count: int
) -> None:
    labels = [by_role(viewer, "mean_mask"), by_role(viewer, "samples")]
    for layer in labels:
        layer.fill((0,) * layer.ndim, 7)
        layer.undo()
        layer.fill((0,) * layer.ndim, 9)
    show(viewer, source, count=count, seed=2, ask=lambda names: EditedLayers.OVERWRITE)
    for layer in labels:
        written = layer.data.copy()
        layer.undo()
        layer.redo()
        np.testing.assert_array_equal(layer.data, written)
        layer.fill((0,) * layer.ndim, 7)
        layer.undo()
        np.testing.assert_array_equal(layer.data, written)


def test_a_rerun_keeps_the_active_tool(viewer: ViewerModel, source: Image) -> None:
    mean = by_role(viewer, "mean_mask")
    mean.mode, mean.brush_size = "paint", 4
    show(viewer, source, seed=1)
    assert (mean.mode, mean.brush_size, mean.editable) == ("paint", 4, True)


def _linked(viewer: ViewerModel, *chosen: str) -> None:
    viewer.layers.link_layers([layer for layer in viewer.layers if layer.name.endswith(chosen)])


@pytest.mark.parametrize(
    "chosen",
    [
        ("",),
        ("mean mask", "samples"),
        ("a", "confidence"),
        ("mean probability", "mean mask", "confidence"),
    ],
)
def test_linked_layers_get_their_own_results(
    viewer: ViewerModel, source: Image, chosen: tuple[str, ...]
) -> None:
    source.scale = (3, 3)
    _linked(viewer, *chosen)
    assert show(viewer, source, count=5, seed=4)
    roles = [layer.metadata[METADATA_KEY]["role"] for layer in viewer.layers if layer is not source]
    assert len(set(roles)) == len(roles) == 4
    assert METADATA_KEY not in source.metadata
    assert {
        layer.metadata[METADATA_KEY]["seed"] for layer in viewer.layers if layer is not source
    } == {4}
    np.testing.assert_array_equal(by_role(viewer, "samples").scale, (1, 3, 3))
    np.testing.assert_array_equal(by_role(viewer, "mean_mask").scale, (3, 3))
    assert show(viewer, source, seed=5), "and so at every further run"


@pytest.mark.parametrize("broken", ["confidence", "samples", "mean_mask"])
def test_an_error_between_two_layers_keeps_the_previous_result(
    viewer: ViewerModel, source: Image, broken: str
) -> None:
    viewer.layers.remove(by_role(viewer, "mean_probability"))
    before = {layer: (layer.data.copy(), dict(layer.metadata)) for layer in viewer.layers}

    def fail(event: object) -> None:
        raise RuntimeError("a listener of another plugin")

    by_role(viewer, broken).events.set_data.connect(fail)
    with pytest.raises(Exception, match="another plugin"):
        show(viewer, source, seed=9)
    by_role(viewer, broken).events.set_data.disconnect(fail)
    assert list(viewer.layers) == list(before)
    for layer, (data, metadata) in before.items():
        np.testing.assert_array_equal(layer.data, data)
        assert layer.metadata == metadata
