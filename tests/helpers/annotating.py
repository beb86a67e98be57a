"""A window with an image under review and the annotation section."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.layers import Image, Labels

from latentfm_core.annotation.autosave import Autosaved, AutosaveStore
from latentfm_core.annotation.fingerprint import image_signature
from napari_latentfm.annotation import autosave as autosave_module
from napari_latentfm.annotation.autosave import autosave_folder
from napari_latentfm.annotation.layer import annotation_of
from napari_latentfm.annotation.section import AnnotationSection
from napari_latentfm.results.session import ReviewSession, session_of
from tests.helpers.looks import reviewed, two_looks
from tests.helpers.plugin_fixtures import PATIENCE, disc_image

DOCK = "accept"


class Window:
    """A viewer with an image under review and the docked section."""

    def __init__(self, viewer: Any, qtbot: Any, image: np.ndarray | None = None) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        pixels = disc_image() if image is None else image
        self.image: Image = viewer.add_image(
            pixels,
            rgb=pixels.shape[-1] == 3,
            name="skin",
            scale=(3, 0.5, 0.25)[-pixels.ndim + (pixels.shape[-1] == 3) :],
            units="mm",
        )
        self.session: ReviewSession = session_of(viewer)
        self.section = AnnotationSection(self.session)
        self.dock = viewer.window.add_dock_widget(self.section, name=DOCK)
        self.times: list[str] = []
        self.section.autosaver.kept.connect(self.times.append)
        self.review()

    def review(self) -> None:
        self.session.show(reviewed(self.image, self.viewer, two_looks()))

    @property
    def layer(self) -> Labels:
        layer = annotation_of(self.session, create=False)
        assert layer is not None
        return layer

    @property
    def states(self) -> tuple[Autosaved, ...]:
        return AutosaveStore(autosave_folder()).history(image_signature(self.image.data))

    def wait(self, condition: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(condition, timeout=PATIENCE)

    def settle(self) -> None:
        work = self.section.autosaver.work
        self.wait(lambda: not work.busy)

    def stroke(self, row: int = 2) -> None:
        layer = self.layer
        with layer.block_history():
            layer.data_setitem((np.full(10, row), np.arange(60, 70)), 1)


@pytest.fixture
def open_window(
    make_napari_viewer: Callable[..., Any], qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Window]:
    monkeypatch.setattr(autosave_module, "PAUSE_MS", 100)

    def open_one(image: np.ndarray | None = None) -> Window:
        window = Window(make_napari_viewer(), qtbot, image)
        window.settle()
        return window

    return open_one
