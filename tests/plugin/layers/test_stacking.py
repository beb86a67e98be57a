"""Each of several images of one size has its result directly above it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from latentfm_core.progress import finish
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.layers.camera import camera_of, fit_view
from napari_latentfm.layers.stacking import bring_forward, hide_others, source_of
from napari_latentfm.results.session import session_of
from napari_latentfm.results.show import show_result_steps
from napari_latentfm.review.stroke_layer import stroke_layer
from tests.helpers.looks import SHAPE, reviewed, two_looks
from tests.helpers.plugin_fixtures import run


def patients(viewer: Any, count: int = 6) -> list[Any]:
    rng = np.random.default_rng(0)
    return [
        viewer.add_image(rng.integers(0, 255, (*SHAPE, 3), np.uint8), name=f"patient {n}")
        for n in range(count)
    ]


def visible(viewer: Any, layers: list[Any]) -> list[str]:
    return [layer.name for layer in layers if layer.visible]


@pytest.mark.skipif(not hasattr(ViewerModel().dims, "units"), reason="the viewer has no units")
def test_an_image_in_other_units_is_fitted_and_covers(qtbot: Any) -> None:
    viewer = ViewerModel()
    below = viewer.add_image(np.zeros(SHAPE), units="mm")
    cover = viewer.add_image(np.zeros((60_000, 2)), units="um", scale=(1, 40_000))
    fit_view(viewer, below)
    # The viewer is in micrometres.
    middle = 1000 * (np.array(SHAPE) - 1) / 2
    np.testing.assert_allclose(camera_of(viewer).center[-2:], middle)
    assert bring_forward(viewer, below) == 1
    assert not cover.visible


def test_results_are_above_their_image_and_not_covered(docked_panel: Any, qtbot: Any) -> None:
    viewer, panel = docked_panel()
    images = patients(viewer)
    chosen = images[2]
    panel.form.image.value = chosen
    assert run(qtbot, panel) == "done"
    place = viewer.layers.index(chosen)
    results = list(viewer.layers)[place + 1 : place + 5]
    assert all(source_of(layer) == str(chosen.unique_id) for layer in results)
    assert viewer.layers[place + 5].name == "patient 3"
    assert visible(viewer, images) == ["patient 0", "patient 1", "patient 2"]
    assert panel.form.status.value.startswith("patient 2: ")
    # Another one: it is shown again, without the results of the first one.
    panel.form.image.value = images[5]
    assert run(qtbot, panel) == "done"
    assert images[5].visible
    assert panel.form.status.value.startswith("patient 5: ")
    panel.form.image.value = images[0]
    assert run(qtbot, panel) == "done"
    assert visible(viewer, images) == ["patient 0"]
    assert not any(layer.visible for layer in results), "they would lie on the wrong patient"
    panel.form.image.value = chosen
    assert run(qtbot, panel) == "done"
    assert any(layer.visible for layer in results)


def test_painted_layers_are_above_the_results(make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    first, second = patients(viewer, 2)
    shown = reviewed(first, viewer, two_looks())
    finish(show_result_steps(viewer, shown, lambda _names: None))  # type: ignore[arg-type, return-value]
    session = session_of(viewer)
    annotation, strokes = annotation_of(session), stroke_layer(session)
    order = [layer.name for layer in viewer.layers]
    assert order[0] == "patient 0"
    assert order[-1] == "patient 1"
    assert order.index(annotation.name) == 5
    assert order.index(strokes.name) == 6
    assert isinstance(annotation, Labels)
    bring_forward(viewer, second)
    assert not second.visible or first.visible


def test_an_image_is_named_without_its_results_when_it_is_hidden(make_napari_viewer: Any) -> None:
    viewer = make_napari_viewer()
    first, second = patients(viewer, 2)
    finish(show_result_steps(viewer, reviewed(first, viewer, two_looks()), lambda _names: None))  # type: ignore[arg-type, return-value]
    viewer.add_labels(np.ones(SHAPE, np.uint8), name="mine")
    second.visible = True  # hidden by the results of the first
    assert len(visible(viewer, list(viewer.layers))) > 3
    assert hide_others(viewer, second) == ("patient 0", "mine")
    assert visible(viewer, list(viewer.layers)) == ["patient 1"]


def test_channels_that_are_blended_stay_visible() -> None:
    viewer = ViewerModel()
    one = viewer.add_image(np.zeros(SHAPE), blending="additive")
    two = viewer.add_image(np.zeros(SHAPE), blending="additive")
    assert bring_forward(viewer, one) == 0
    assert two.visible


def test_a_small_image_that_covers_a_corner_stays_visible() -> None:
    viewer = ViewerModel()
    one = viewer.add_image(np.zeros((100, 100)))
    two = viewer.add_image(np.zeros((20, 20)))
    assert bring_forward(viewer, one) == 0
    assert two.visible
