"""Widgets that Qt deletes after their viewer is gone."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any
from weakref import ref

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QWidget

from napari_latentfm.annotation.section import AnnotationSection
from napari_latentfm.fixing.section import FixSection
from napari_latentfm.results.session import ReviewSession, session_of
from napari_latentfm.review.hypotheses_section import HypothesesSection
from napari_latentfm.review.look_controls import LookControls
from napari_latentfm.review.regions_section import RegionsSection
from napari_latentfm.review.strokes_section import StrokesSection
from tests.helpers.looks import SHAPE, reviewed, two_looks

WIDGETS: tuple[Callable[[ReviewSession], QWidget], ...] = (
    LookControls,
    HypothesesSection,
    RegionsSection,
    StrokesSection,
    FixSection,
    AnnotationSection,
)


def under_review(viewer: ViewerModel) -> ReviewSession:
    """Return the session of a viewer with a result under review."""
    session = session_of(viewer)
    image = viewer.add_image(np.zeros(SHAPE, np.float32))
    session.show(reviewed(image, viewer, two_looks()))
    return session


def delete(widget: QWidget) -> None:
    """Delete a widget in Qt while Python still refers to it."""
    widget.deleteLater()
    QCoreApplication.sendPostedEvents(widget, QEvent.Type.DeferredDelete)


@pytest.mark.parametrize("create", WIDGETS)
def test_a_widget_can_be_deleted_after_its_viewer(
    qtbot: Any, create: Callable[[ReviewSession], QWidget]
) -> None:
    viewer = ViewerModel()
    session = under_review(viewer)
    widget = create(session)
    session.show(None)
    del viewer
    gc.collect()
    with qtbot.capture_exceptions() as raised:
        delete(widget)
    assert not raised


def test_a_session_does_not_keep_its_viewer(qtbot: Any) -> None:
    viewer = ViewerModel()
    session, gone = under_review(viewer), ref(viewer)
    session.show(None)
    del viewer
    gc.collect()
    assert gone() is None
    with pytest.raises(ReferenceError, match="closed"):
        _ = session.viewer
