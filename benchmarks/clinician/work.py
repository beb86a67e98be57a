"""The scripted clinician: opens the dock, works through a folder, and notes what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPoint, Qt

from benchmarks.clinician.hands import Hands
from latentfm_core.images.read import read_mask
from latentfm_core.metrics.overlap import dice
from napari_latentfm.dock.accepting import TOGETHER, UNSEEN

GOOD = 0.85
"""Dice from which the clinician accepts the mean mask as it is."""
MARGIN = 2
"""Pixels of the image between the object and a box around it."""
MODEL = "Any object"
"""Start of the title of the model, which fits all images of the folder."""


@dataclass
class ImageCost:
    """Input and time spent on one image.

    Attributes
    ----------
    name, easy
        Of the image; whether its mean mask was accepted as it was.
    ready
        Whether its samples had been drawn before it was opened.
    outline_seconds
        From the key that accepted the image before, to the mean mask of this one on screen. For
        the first image, from opening the folder.
    open_seconds
        The same, to all layers on screen.
    gui_seconds
        Processor time of the GUI thread in `open_seconds`.
    answer_seconds
        From the end of the box to the new mean mask; None without a box.
    keys, clicks, drags
        Actions on this image, the one that accepts it included.
    dice_before, dice_after
        Dice with the expert's mask, of the first mean mask and of the saved annotation.
    """

    name: str
    easy: bool
    ready: bool
    outline_seconds: float
    open_seconds: float
    gui_seconds: float
    answer_seconds: float | None
    keys: int
    clicks: int
    drags: int
    dice_before: float
    dice_after: float


@dataclass
class Opening:
    """What opening an image has cost; fields as in `ImageCost`."""

    ready: bool
    outline_seconds: float
    open_seconds: float
    gui_seconds: float


class Clinician:
    """Works in one window with mouse and keyboard; only reads the state of the program.

    Parameters
    ----------
    viewer
        In a window that fills the screen.
    hands
        Mouse and keyboard.
    folder
        Images; the work list is written below it.
    experts
        Mask of the expert by the name of the image.
    look
        Seconds that the clinician looks at each image, which are not counted.
    """

    def __init__(
        self, viewer: Any, hands: Hands, folder: Path, experts: dict[str, Path], look: float
    ) -> None:
        self.viewer, self.hands, self.folder, self.look = viewer, hands, folder, look
        self.experts = {name: read_mask(path) > 0 for name, path in experts.items()}
        self.window = viewer.window._qt_window
        self.canvas = viewer.window._qt_viewer.canvas.native

    def work(self) -> list[ImageCost]:
        """Go through the folder, and return what each image has cost."""
        self.open_dock()
        opening = self.open_folder()
        costs: list[ImageCost] = []
        for number in range(1, len(self.experts) + 1):
            facts = {**self._annotate(number), **asdict(opening)}
            last = number == len(self.experts)
            opening = self._accept_last() if last else self._accept()
            actions = self.hands.take_count()
            costs.append(ImageCost(**facts, **asdict(actions), dice_after=0.0))
        self.hands.pause(1.0)
        self.hands.picture("all-done")
        self.hands.click_tab(self.panel.tabs.tabBar(), "Folder")
        self.hands.pause(0.5)
        self.hands.picture("folder-at-the-end")
        for cost in costs:
            cost.dice_after = self._saved_dice(cost.name)
        return costs

    def open_dock(self) -> None:
        """Open the dock with the menu."""
        from napari_latentfm.dock.entries import dock_of

        self.hands.pause(1.0)
        self.hands.click_menu(self.window.menuBar(), "Plugins", "LatentFM", "LatentFM")
        self.hands.wait(lambda: dock_of(self.viewer) is not None, "the dock")
        found = dock_of(self.viewer)
        if found is None:
            raise SystemExit("error: the dock was closed")
        self.panel = found
        self.hands.pause(1.0)
        self.hands.picture("dock")

    def open_folder(self) -> Opening:
        """Choose folder and model, and open the folder."""
        form, hands = self.panel.queue.form, self.hands
        hands.click_tab(self.panel.tabs.tabBar(), "Folder")
        hands.pause(0.3)
        hands.click(form.model.box)
        hands.pause(0.5)
        hands.press(Qt.Key.Key_A)
        hands.pause(0.3)
        hands.press(Qt.Key.Key_Return)
        if not form.model.box.currentText().startswith(MODEL):
            raise SystemExit(f"error: the model is {form.model.box.currentText()!r}")
        hands.click(form.folder)
        hands.write(str(self.folder))
        hands.picture("folder")
        opening = self._opens(lambda: hands.press(Qt.Key.Key_Return), "", ready=False)
        hands.take_count()
        return opening

    def _annotate(self, number: int) -> dict[str, Any]:
        """Look at an image, and draw a box if the mean mask is poor."""
        name = str(self.panel.queue.current)
        expert = self.experts[name]
        before = dice(self._mean_mask(), expert)
        self.hands.pause(self.look)
        self.hands.picture(f"image-{number:02d}")
        easy = before >= GOOD
        answer = None if easy else self._draw_box(expert)
        if not easy:
            self.hands.pause(0.7)
            self.hands.picture(f"image-{number:02d}-box")
        return {
            "name": name,
            "easy": easy,
            "answer_seconds": answer,
            "dice_before": round(before, 3),
        }

    def _draw_box(self, expert: NDArray[np.bool_]) -> float:
        """Press B and drag a box around the largest object; return the seconds to the answer."""
        self.hands.press(Qt.Key.Key_B)
        self.hands.pause(0.3)
        top, left, bottom, right = _extent(expert)
        session = self.panel.session
        old = session.current
        self.hands.drag(self.canvas, self._at(top, left), self._at(bottom, right))
        start = time.perf_counter()
        self.hands.wait(
            lambda: (
                session.current is not None
                and session.current is not old
                and session.current.label is not None
                and not session.renewing
            ),
            "the answer to the box",
        )
        return round(time.perf_counter() - start, 3)

    def _accept(self) -> Opening:
        """Press Enter, and wait for the next image."""
        queue = self.panel.queue
        name = str(queue.current)
        following = queue.form.neighbour(queue.work, name, 1) if queue.work else None
        ready = following is not None and queue.sampling.find(following) is not None
        return self._opens(self._press_enter, name, ready)

    def _accept_last(self) -> Opening:
        """Press Enter, and wait until the last image is done."""
        work, name = self.panel.queue.work, str(self.panel.queue.current)
        self._press_enter()
        self.hands.wait(
            lambda: work is not None and work.item(name).state == "completed", "the last image"
        )
        return Opening(False, 0.0, 0.0, 0.0)

    def _press_enter(self) -> None:
        """Press Enter, and again if the dock asks whether the outline is right."""
        self.hands.press(Qt.Key.Key_Return)
        if UNSEEN in self.panel.footer.notice.text:
            self.hands.pause(TOGETHER)  # a quicker press counts as part of the first
            self.hands.press(Qt.Key.Key_Return)

    def _opens(self, act: Callable[[], object], before: str, ready: bool) -> Opening:
        """Do something that opens the image after `before`, and measure how long it takes."""
        start, spent = time.perf_counter(), time.thread_time()
        act()
        self.hands.wait(lambda: self._is_outlined(before), "the mean mask of the next image")
        outline = time.perf_counter() - start
        self.hands.wait(self._is_complete, "the samples of the next image")
        seconds, busy = time.perf_counter() - start, time.thread_time() - spent
        return Opening(ready, round(outline, 3), round(seconds, 3), round(busy, 3))

    def _is_outlined(self, before: str) -> bool:
        """Return whether the mean mask of another image than `before` is on screen."""
        image = self.panel.queue.open_image
        if image.layer is None or image.name in (None, before):
            return False
        wanted = f"{image.layer.name} · mean mask"
        return any(layer.visible and layer.name == wanted for layer in self.viewer.layers)

    def _is_complete(self) -> bool:
        """Return whether the open image has its samples, and the layers before are gone."""
        image = self.panel.queue.open_image
        return image.is_reviewed and not image._old

    def _mean_mask(self) -> NDArray[np.bool_]:
        current = self.panel.session.current
        if current is None:
            raise SystemExit("error: nothing is under review")
        return np.asarray(current.result.summary.mean_mask, bool)

    def _at(self, row: float, column: float) -> QPoint:
        """Return where a pixel of the image is on the canvas."""
        layer, camera = self.panel.queue.open_image.layer, self.viewer.camera
        if layer is None:
            raise SystemExit("error: no image is open")
        world = np.array(layer.data_to_world((row - 0.5, column - 0.5)))
        down, right = (world - np.array(camera.center)[-2:]) * camera.zoom
        middle: QPoint = self.canvas.rect().center()
        return middle + QPoint(round(right), round(down))

    def _saved_dice(self, name: str) -> float:
        work = self.panel.queue.work
        if work is None:
            raise SystemExit("error: the work list was closed")
        return round(dice(read_mask(work.annotation(name)) > 0, self.experts[name]), 3)


def _extent(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return a box around the largest object, with a margin, inside the image."""
    from skimage.measure import label, regionprops

    largest = max(regionprops(label(mask)), key=lambda region: region.area)
    top, left, bottom, right = largest.bbox
    height, width = mask.shape
    return (
        max(top - MARGIN, 1),
        max(left - MARGIN, 1),
        min(bottom + MARGIN, height - 1),
        min(right + MARGIN, width - 1),
    )
