"""Windows with a single section of the review."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.layers import Image, Shapes
from qtpy.QtCore import Qt

from napari_latentfm.results.session import Reviewed, ReviewSession, session_of
from napari_latentfm.review.hypotheses_section import HypothesesSection
from tests.helpers.looks import reviewed, two_looks
from tests.helpers.plugin_fixtures import PATIENCE, disc_image


class SectionDesk:
    """A viewer with one docked section of the review.

    Attributes
    ----------
    kind, name
        Class and name of the section.
    usual
        Makes the masks under review if a test gives none.
    ready
        Words in the section's status when it has processed the samples.
    """

    kind: type
    name: str
    usual: Callable[[], np.ndarray]
    ready: tuple[str, ...]

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.session: ReviewSession = session_of(viewer)
        self.section: Any = self.kind(self.session)
        viewer.window.add_dock_widget(self.section, name=self.name)

    def review(self, layer: Image, masks: np.ndarray | None = None) -> Reviewed:
        shown = reviewed(layer, self.viewer, type(self).usual() if masks is None else masks)
        self.session.show(shown)
        self.wait()
        return shown

    def wait(self) -> None:
        self.qtbot.waitUntil(
            lambda: any(words in self.section.status.text() for words in self.ready),
            timeout=PATIENCE,
        )

    def remove_section(self) -> None:
        """Remove the dock of the section, and wait until Qt has deleted it."""
        self.viewer.window.remove_dock_widget(self.section)
        gone: list[bool] = []
        self.section.destroyed.connect(lambda: gone.append(True))
        self.section.deleteLater()
        self.qtbot.waitUntil(lambda: bool(gone), timeout=PATIENCE)


class Desk(SectionDesk):
    """A viewer with the hypotheses section, and a mouse."""

    kind, name, usual = HypothesesSection, "hypotheses", two_looks
    ready = "hypotheses among", "look alike", "No hypotheses"

    def click(self, place: int) -> None:
        self.qtbot.mouseClick(self.section.strip.buttons[place], Qt.MouseButton.LeftButton)

    def show_contours(self) -> Shapes:
        self.section.contours.shown.setChecked(True)
        self.qtbot.waitUntil(lambda: bool(self.layers(Shapes)), timeout=PATIENCE)
        (layer,) = self.layers(Shapes)
        return layer

    def layers(self, kind: type) -> list[Any]:
        return [x for x in self.viewer.layers if isinstance(x, kind)]

    @property
    def names(self) -> list[str]:
        """Return the names of the visible layers, from bottom to top."""
        return [layer.name for layer in self.viewer.layers if layer.visible]

    @property
    def texts(self) -> list[str]:
        return [button.text().replace("\n", " ") for button in self.section.strip.buttons]

    @property
    def checked(self) -> list[bool]:
        return [button.isChecked() for button in self.section.strip.buttons]


@pytest.fixture
def desk(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Desk:
    return Desk(make_napari_viewer(), qtbot)


@pytest.fixture
def skin(desk: Desk) -> Image:
    return desk.viewer.add_image(disc_image(), rgb=True, name="skin")
