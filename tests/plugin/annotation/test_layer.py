"""Writing of proposals into the annotation, and its protection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels

from latentfm_core.errors import ImageError
from napari_latentfm.annotation.layer import adopt, annotation_of
from napari_latentfm.annotation.region import drawn_region, region_layer
from napari_latentfm.annotation.writing import edited_pixels, write_labels
from napari_latentfm.layers.annotation_record import record_of
from napari_latentfm.results.session import ReviewSession, session_of
from tests.helpers.looks import LARGE, SHAPE, SMALL, disc, reviewed, two_looks
from tests.helpers.plugin_fixtures import disc_image

UPPER = np.zeros(SHAPE, bool)
UPPER[:30] = True


@pytest.fixture
def session(make_napari_viewer: Callable[..., Any]) -> ReviewSession:
    """A viewer with an image whose samples are under review."""
    viewer = make_napari_viewer()
    layer = viewer.add_image(disc_image(), rgb=True, name="skin", scale=(0.5, 0.25))
    found = session_of(viewer)
    found.show(reviewed(layer, viewer, two_looks()))
    return found


def the_annotation(session: ReviewSession) -> Labels:
    layer = annotation_of(session)
    assert layer is not None
    return layer


def stroke(layer: Labels, row: int, columns: range, label: int) -> None:
    """Paint as the brush does."""
    with layer.block_history():
        index = (np.full(len(columns), row), np.array(columns))
        layer.data_setitem(index, label)


def test_accepting_a_mask_is_one_undo_step(session: ReviewSession) -> None:
    layer = the_annotation(session)
    assert layer.name == "skin · annotation"
    np.testing.assert_allclose(layer.scale, (0.5, 0.25))
    assert write_labels(session, disc(*SMALL)) == disc(*SMALL).sum()
    write_labels(session, disc(*LARGE))
    np.testing.assert_array_equal(layer.data == 1, disc(*LARGE))
    layer.undo()
    np.testing.assert_array_equal(layer.data == 1, disc(*SMALL))
    layer.undo()
    assert not layer.data.any()
    layer.redo()
    layer.redo()
    np.testing.assert_array_equal(layer.data == 1, disc(*LARGE))


def test_undo_covers_strokes_and_proposals(session: ReviewSession) -> None:
    layer = the_annotation(session)
    write_labels(session, disc(*LARGE))
    stroke(layer, 2, range(60, 70), 1)
    write_labels(session, disc(*SMALL), "union")
    layer.undo()
    assert layer.data[2, 60:70].all()
    np.testing.assert_array_equal(layer.data[10:] == 1, disc(*LARGE)[10:])
    layer.undo()
    assert not layer.data[2].any()
    layer.redo()
    layer.redo()
    assert layer.data[2, 60:70].all()
    assert layer.data[SMALL[0], SMALL[1]] == 1


def test_nothing_outside_the_region_changes(session: ReviewSession) -> None:
    layer = the_annotation(session)
    write_labels(session, disc(*SMALL))
    write_labels(session, disc(*LARGE), region=UPPER)
    np.testing.assert_array_equal(layer.data[:30] == 1, disc(*LARGE)[:30])
    np.testing.assert_array_equal(layer.data[30:] == 1, disc(*SMALL)[30:])


@pytest.mark.parametrize("how", ["replace", "union", "intersect"])
def test_protected_labels_stay(session: ReviewSession, how: str) -> None:
    layer = the_annotation(session)
    hair = np.zeros(SHAPE, bool)
    hair[28:32, 10:70] = True
    write_labels(session, hair * 3, classes=(3,))
    record_of(layer).protected.add(3)
    write_labels(session, disc(*LARGE), how)
    np.testing.assert_array_equal(layer.data == 3, hair)
    record_of(layer).protected.clear()
    write_labels(session, disc(*LARGE))
    assert not (layer.data[disc(*LARGE)] == 3).any()


def test_preserve_labels_of_napari_is_respected(session: ReviewSession) -> None:
    layer = the_annotation(session)
    write_labels(session, disc(*SMALL) * 2, classes=(2,))
    layer.preserve_labels = True
    write_labels(session, np.ones(SHAPE, bool))
    np.testing.assert_array_equal(layer.data == 2, disc(*SMALL))
    np.testing.assert_array_equal(layer.data == 1, ~disc(*SMALL))


def test_classes_outside_a_result_do_not_change(session: ReviewSession) -> None:
    layer = the_annotation(session)
    write_labels(session, disc(*SMALL) * 7, classes=(7,))
    labels = disc(*LARGE) + disc(30, 30, 8).astype(np.uint8)
    write_labels(session, labels, classes=(1, 2))
    np.testing.assert_array_equal(layer.data == 2, labels == 2)
    assert (layer.data == 7).sum() == (disc(*SMALL) & (labels == 0)).sum()


def test_the_annotation_covers_the_stack_and_a_proposal_one_plane(
    make_napari_viewer: Callable[..., Any],
) -> None:
    viewer = make_napari_viewer()
    stack = viewer.add_image(np.stack([disc_image()[..., 0]] * 4), name="stack", scale=(3, 1, 1))
    session = session_of(viewer)
    viewer.dims.set_current_step(0, 2)
    session.show(reviewed(stack, viewer, two_looks()))
    write_labels(session, disc(*LARGE))
    layer = the_annotation(session)
    assert layer.data.shape == (4, *SHAPE)
    np.testing.assert_array_equal(layer.data[2] == 1, disc(*LARGE))
    assert not np.delete(layer.data, 2, axis=0).any()
    viewer.dims.set_current_step(0, 1)
    session.show(reviewed(stack, viewer, two_looks()))
    write_labels(session, disc(*SMALL))
    assert the_annotation(session) is layer
    np.testing.assert_array_equal(layer.data[2] == 1, disc(*LARGE))
    layer.undo()
    assert not layer.data[1].any()
    assert layer.data[2].any()


def test_a_region_on_another_plane_is_ignored(make_napari_viewer: Callable[..., Any]) -> None:
    viewer = make_napari_viewer()
    stack = viewer.add_image(np.stack([disc_image()[..., 0]] * 3), name="stack")
    session = session_of(viewer)
    viewer.dims.set_current_step(0, 1)
    session.show(reviewed(stack, viewer, two_looks()))
    assert drawn_region(session) is None
    shapes = region_layer(session)
    assert shapes is not None
    box = np.array([[10, 10], [10, 30], [20, 30], [20, 10]], float)
    shapes.add_rectangles(np.insert(box, 0, 0, axis=1))
    assert drawn_region(session) is None
    shapes.add_ellipses(np.insert(box, 0, 1, axis=1))
    found = drawn_region(session)
    assert found is not None
    assert found.sum() == pytest.approx(np.pi * 5 * 10, rel=0.1)
    assert found[15, 20]
    assert not found[10, 10]


def test_provenance_records_what_was_taken_and_edited(session: ReviewSession) -> None:
    layer = the_annotation(session)
    write_labels(session, disc(*SMALL))
    stroke(layer, 2, range(60, 70), 1)
    record = record_of(layer)
    ((index, proposal),) = record.proposals.items()
    info = proposal.info
    assert (info.origin, info.how, info.seed) == ("sample 6", "replace", 6)
    assert record.strokes == 1
    assert edited_pixels(layer) == {index: 10}
    layer.undo()
    assert edited_pixels(layer) == {index: 0}


def test_a_locked_annotation_shows_a_message(session: ReviewSession) -> None:
    layer = the_annotation(session)
    layer.editable = False
    with pytest.raises(ImageError, match="Unlock"):
        write_labels(session, disc(*LARGE))
    assert not layer.data.any()


def test_a_duplicated_layer_is_not_the_annotation(session: ReviewSession) -> None:
    layer = the_annotation(session)
    copy = Labels(layer.data.copy(), name="copy", metadata=dict(layer.metadata))
    session.viewer.add_layer(copy)
    session.viewer.layers.remove(layer)
    other = the_annotation(session)
    assert other is not copy
    write_labels(session, disc(*LARGE))
    assert not copy.data.any()


def test_using_a_layer_of_the_wrong_size_is_refused(session: ReviewSession) -> None:
    stranger = session.viewer.add_labels(np.zeros((5, 5), np.uint8))
    with pytest.raises(ImageError, match="shape"):
        adopt(session, stranger)
    mine = session.viewer.add_labels(disc(*SMALL).astype(np.uint8))
    adopt(session, mine)
    assert annotation_of(session) is mine
