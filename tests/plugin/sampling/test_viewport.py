"""The current view of a large image in a real window: reading, placement and samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ImageError
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.progress import finish
from latentfm_core.types import ImageInput
from napari_latentfm.layers.crop import (
    KEY,
    PlaneCrop,
    crop_on_screen,
    crop_placement,
    read_crop,
)
from napari_latentfm.layers.edits import EditedLayers, is_result
from napari_latentfm.layers.planes import displayed_plane
from napari_latentfm.layers.specs import METADATA_KEY
from napari_latentfm.sampling.controls import VISIBLE
from napari_latentfm.sampling.viewport import CropRun, ViewportTarget
from tests.helpers.looks import SHAPE, reviewed, two_looks
from tests.helpers.plugin_fixtures import BEFORE_0_7, PATIENCE, OpenPanel, disc_image, gate, run


def look_at(viewer: Any, centre: tuple[float, float], zoom: float) -> None:
    """Move the view, and wait until napari has updated its layers."""
    camera = getattr(viewer, "scene", viewer).camera
    camera.center = centre
    camera.zoom = zoom
    viewer.window.screenshot(canvas_only=True, flash=False)


def world(layer: Any, *pixels: float) -> np.ndarray:
    """Return the world coordinates of a pixel of a layer."""
    return np.asarray(layer.data_to_world(pixels))


def test_the_visible_field_becomes_a_layer_with_its_results(
    docked_panel: OpenPanel, qtbot: Any, tiny_model_folder: Any
) -> None:
    viewer, panel = docked_panel(show=True)
    pixels = disc_image((400, 600), radius=60)
    source = viewer.add_image(pixels, name="slide", scale=(0.5, 0.5), translate=(7, 3), rotate=30)
    look_at(viewer, tuple(world(source, 200, 300)[-2:]), 5)
    field = crop_on_screen(viewer, source)
    assert 2 < field.shape[0] < 400
    panel.form.field.value = VISIBLE
    assert run(qtbot, panel) == "done", panel.last_error
    crop = viewer.layers["slide [field]"]
    top, left = field.start
    height, width = field.shape
    np.testing.assert_array_equal(crop.data, pixels[top : top + height, left : left + width])
    results = [layer for layer in viewer.layers if is_result(layer)]
    for layer in (crop, *results):
        for y, x in ((0, 0), (height - 1, 5)):
            here = (0,) * (layer.ndim - 2) + (y, x)
            np.testing.assert_allclose(world(layer, *here)[-2:], world(source, top + y, left + x))
    assert panel.form.image.value.unique_id == source.unique_id
    settings = SamplingConfig(n_samples=3, steps=2, device="cpu")
    samples = Segmenter.load(tiny_model_folder, "cpu").sample(ImageInput(crop.data), settings)
    wanted = Segmenter.load(tiny_model_folder, "cpu").summarise(samples).mean_mask
    mask = next(r for r in results if r.metadata[METADATA_KEY]["role"] == "mean_mask")
    np.testing.assert_array_equal(mask.data, wanted)
    camera = getattr(viewer, "scene", viewer).camera
    if not BEFORE_0_7:  # its zoom changes with the window, in which a slider appeared
        assert camera.zoom == pytest.approx(5)
    # The slider of the samples takes a part of the window some time later, so that the next field
    # differs. Two runs over the same field share one layer.
    seen, counts = [], []
    for seed in range(8, 18):
        viewer.window.screenshot(canvas_only=True, flash=False)
        seen.append(crop_on_screen(viewer, source))
        panel.form.seed.value = seed
        assert run(qtbot, panel) == "done"
        counts.append(len(viewer.layers))
        if len(seen) > 1 and seen[-1] == seen[-2]:
            break
    assert seen[-1] == seen[-2], "the view never stood still"
    assert counts[-1] == counts[-2]
    panel.job.unload()


def pyramid() -> list[Any]:
    """Three levels of a lazy image, in which each pixel value identifies its level."""
    shapes = [(8000, 12000), (4000, 6000), (1000, 1500)]
    return [
        dask.array.full(shape, fill_value=10 * n + 1, dtype=np.uint8, chunks=500)
        for n, shape in enumerate(shapes)
    ]


@pytest.mark.parametrize(("zoom", "level"), [(0.05, 2), (0.3, 1), (2.0, 0)])
def test_the_coarsest_level_with_enough_pixels_is_chosen(
    make_napari_viewer_proxy: Callable[..., Any], zoom: float, level: int
) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    layer = viewer.add_image(pyramid(), multiscale=True, contrast_limits=(0, 255))
    # A layer of that size without a pyramid tells exactly what is on screen.
    witness = viewer.add_image(np.broadcast_to(np.uint8(0), (8000, 12000)), visible=False)
    look_at(viewer, (4000, 6000), zoom)
    field = crop_on_screen(viewer, layer)
    assert field.level == level
    assert (read_crop(layer, field).pixels == 10 * level + 1).all()
    first, last = witness.corner_pixels
    np.testing.assert_allclose(np.multiply(field.start, field.factor), first, atol=10)
    covered = np.multiply(field.shape, field.factor)
    np.testing.assert_allclose(covered, last - first, atol=20)
    space = crop_placement(layer, field)
    # The outer edge of the crop is that of the pixels that it covers.
    edge = np.asarray(space["translate"]) - np.asarray(space["scale"]) / 2
    np.testing.assert_allclose(edge, np.multiply(field.start, field.factor) - 0.5)


def test_the_visible_field_of_a_stack_is_in_its_plane(docked_panel: OpenPanel, qtbot: Any) -> None:
    viewer, panel = docked_panel(show=True)
    stack = np.stack([disc_image((80, 100))[..., 0] + 5 * n for n in range(3)]).astype(np.uint8)
    source = viewer.add_image(stack, name="scan", scale=(4, 1, 1))
    viewer.dims.set_current_step(0, 2)
    look_at(viewer, (40, 50), 12)
    panel.form.field.value = VISIBLE
    assert run(qtbot, panel) == "done", panel.last_error
    crop = viewer.layers["scan [2] [field]"]
    height, width = crop.data.shape[1:]
    assert height < 80
    y, x = (round(v) for v in source.world_to_data(world(crop, 0, 0, 0))[1:])
    np.testing.assert_array_equal(crop.data[0], stack[2, y : y + height, x : x + width])
    np.testing.assert_allclose(world(crop, 0, 0, 0), [8, y, x])


def test_cancelling_does_not_change_the_viewer(docked_panel: OpenPanel, qtbot: Any) -> None:
    viewer, panel = docked_panel(show=True)
    viewer.add_image(disc_image((200, 200)), name="slide")
    look_at(viewer, (100, 100), 6)
    panel.form.field.value = VISIBLE
    segmenter = gate(panel)
    endings: list[str] = []
    panel.finished.connect(endings.append)
    panel.run()
    segmenter.allow(2)
    qtbot.waitUntil(lambda: segmenter.done == 2, timeout=PATIENCE)
    panel.cancel()
    segmenter.allow(1)
    qtbot.waitUntil(lambda: bool(endings), timeout=PATIENCE)
    assert endings == ["cancelled"]
    assert segmenter.closed.wait(PATIENCE / 1000)
    assert [layer.name for layer in viewer.layers] == ["slide"]
    assert not any(KEY in layer.metadata for layer in viewer.layers)


@pytest.mark.skipif(
    not hasattr(ViewerModel(), "canvas"), reason="napari does not give the size of its canvas"
)
def test_the_view_of_a_pyramid_next_to_an_image_in_other_units(qtbot: Any) -> None:
    viewer = ViewerModel()
    pixels = np.zeros((400, 600), np.uint8)
    slide = viewer.add_image([pixels, pixels[::2, ::2]], multiscale=True, units="mm")
    viewer.add_image(np.zeros((10, 10)), units="um")
    viewer.canvas.size = 60, 80
    slide.corner_pixels = np.array([[0, 0], [399, 599]])
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0, 200e3, 300e3), 1e-3
    field = crop_on_screen(viewer, slide)
    assert (field.start, field.shape) == ((170, 260), (61, 81))


def field_target(image: Image, viewer: Any) -> ViewportTarget:
    """Return a target for the part of an image that begins at pixel (5, 7)."""
    plane = displayed_plane(image, viewer.dims)
    return ViewportTarget(image, PlaneCrop(plane, 0, (5, 7), SHAPE, (1.0, 1.0)), "test")


def field_run(image: Image, viewer: Any) -> CropRun:
    """Return a result of `field_target` with the current pixels of the image."""
    pixels = image.data[5 : 5 + SHAPE[0], 7 : 7 + SHAPE[1]]
    small = viewer.add_image(pixels)
    result = reviewed(small, viewer, two_looks()).result
    viewer.layers.remove(small)
    return CropRun(result.samples, result.summary, result.device, pixels)


def overwrite(_names: object) -> EditedLayers:
    return EditedLayers.OVERWRITE


def test_cancelling_while_the_layers_are_added_removes_the_field(qtbot: Any) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((80, 100), np.uint8), name="slide")
    target, run = field_target(image, viewer), field_run(image, viewer)
    steps = target.show(viewer, run, overwrite)
    for _ in range(6):
        next(steps)
    assert len(viewer.layers) > 1
    steps.close()
    assert [layer.name for layer in viewer.layers] == ["slide"]


def test_the_view_of_a_changed_image_shows_its_pixels_and_position(qtbot: Any) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((80, 100), np.uint8), name="slide")
    target = field_target(image, viewer)
    assert finish(target.show(viewer, field_run(image, viewer), overwrite))
    field = viewer.layers["slide [field]"]
    image.data, image.scale = np.full((80, 100), 9, np.uint8), (2, 3)
    run = field_run(image, viewer)
    steps = target.show(viewer, run, overwrite)
    next(steps)
    assert field.data.all()
    steps.close()
    assert not field.data.any()
    np.testing.assert_array_equal(field.translate, (5, 7))
    assert finish(target.show(viewer, run, overwrite))
    assert viewer.layers["slide [field]"] is field
    assert field.data.all()
    np.testing.assert_array_equal(field.translate, (10, 21))


def test_an_invisible_image_is_reported(make_napari_viewer_proxy: Callable[..., Any]) -> None:
    viewer = make_napari_viewer_proxy()
    layer = viewer.add_image(np.zeros((50, 50), np.uint8))
    layer.corner_pixels = np.array([[60, 60], [70, 70]])
    with pytest.raises(ImageError, match="Nothing of"):
        crop_on_screen(viewer, layer)
