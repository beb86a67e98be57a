"""Adaptation in a real window: a small promptable model and a folder of images it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from skimage.io import imsave

from latentfm_core.adaptation.record import AdaptationFolder
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.config import AdaptationConfig
from latentfm_core.errors import OutputError
from latentfm_core.model_io.card import read_card
from napari_latentfm import preferences
from napari_latentfm.adapting.adapting import SECTION, Adapting
from napari_latentfm.annotation.writing import write_labels
from napari_latentfm.dock.entries import open_dock
from napari_latentfm.dock.panel import LatentFMPanel
from napari_latentfm.results.session import session_of
from napari_latentfm.sampling.panel import SamplingPanel
from napari_latentfm.worklist.form import BY_UNCERTAINTY
from napari_latentfm.worklist.panel import QueuePanel
from tests.helpers.plugin_fixtures import PATIENCE
from tests.helpers.prompting import two_discs

QUICK = AdaptationConfig(seconds=0.8, views=6, batch_size=8, learning_rate=3e-3, fewest=2)
COUNT = 7

Open = Callable[[], tuple[Any, LatentFMPanel]]


def name_of(number: int) -> str:
    return f"{number}.png"


@pytest.fixture
def masks(tmp_path: Path) -> list[np.ndarray]:
    """Write images of bright discs on dark ground; return their masks."""
    folder = tmp_path / "images"
    folder.mkdir()
    found = []
    for number in range(COUNT):
        pixels, labels = two_discs(np.random.default_rng(1000 + number))
        imsave(folder / name_of(number), 255 - pixels, check_contrast=False)
        found.append(labels > 0)
    return found


@pytest.fixture
def opened(
    make_napari_viewer: Any,
    promptable_model_folder: Path,
    tmp_path: Path,
    masks: list[np.ndarray],
    qtbot: Any,
) -> Open:
    """Return a function that opens the folder of `masks` in a new window."""

    def open_one() -> tuple[Any, LatentFMPanel]:
        viewer = make_napari_viewer(show=True)
        panel = open_dock(viewer)
        form = panel.sampling.form
        form.model.choose(promptable_model_folder)
        form.n_samples.value = 3
        panel.adapting.config = QUICK
        panel.queue.form.skip.setChecked(False)
        wait_for(qtbot, panel, 0, lambda: panel.open_folder(tmp_path / "images"))
        return viewer, panel

    return open_one


def wait_for(qtbot: Any, panel: LatentFMPanel, number: int, act: Callable[[], None]) -> None:
    seen: list[str] = []
    panel.queue.shown.connect(seen.append)
    act()
    qtbot.waitUntil(lambda: name_of(number) in seen, timeout=PATIENCE)
    panel.queue.shown.disconnect(seen.append)


def click_switch(qtbot: Any, panel: LatentFMPanel) -> None:
    panel.tabs.setCurrentWidget(panel.queue)
    switch = panel.adapting.form.switch
    place = switch.rect().center()
    place.setX(10)
    qtbot.mouseClick(switch, Qt.MouseButton.LeftButton, pos=place)


def accept(qtbot: Any, viewer: Any, panel: LatentFMPanel, number: int, mask: np.ndarray) -> None:
    """Accept a mask for the open image, and wait until the model has learned from it."""
    write_labels(session_of(viewer), mask)
    wait_for(qtbot, panel, number + 1, panel.accept)
    adapting = panel.adapting
    qtbot.waitUntil(lambda: learned(adapting._stored.record) == number + 1, timeout=PATIENCE)


def learned(record: Any) -> int:
    return len(record.images)


def model_of(viewer: Any) -> str:
    current = session_of(viewer).current
    assert current is not None
    return str(current.result.samples.record.model_id)


def test_the_model_adapts_while_the_user_works_and_is_restored(
    opened: Open, masks: list[np.ndarray], promptable_model_folder: Path, tmp_path: Path, qtbot: Any
) -> None:
    viewer, panel = opened()
    form = panel.adapting.form
    assert not form.switch.isChecked(), "off until it is switched on"
    click_switch(qtbot, panel)
    assert preferences.get(SECTION) == {"on": True}
    assert "Accept images" in form.state.text()
    assert not form.undo.isEnabled()
    original = read_card(promptable_model_folder).id
    assert model_of(viewer) == original
    for number in range(4):
        accept(qtbot, viewer, panel, number, masks[number])
    assert form.state.text().startswith("Adapted to 4 of your images: held-out Dice")
    # The image that was open when the model became better keeps its samples.
    wait_for(qtbot, panel, 5, panel.next_image)
    assert model_of(viewer).startswith(f"{original}-adapted-")
    panel.tabs.setCurrentWidget(panel.queue)
    write_labels(session_of(viewer), masks[5])
    wait_for(qtbot, panel, 6, panel.accept)
    work = panel.queue.work
    assert work is not None
    _, sidecar = read_annotation(work.annotation(name_of(5)))
    assert sidecar is not None
    assert "-adapted-" in sidecar.model_dump_json(), "provenance names the adapted model"
    adapting = panel.adapting
    qtbot.waitUntil(lambda: learned(adapting._stored.record) == 5, timeout=PATIENCE)
    adapting.keep_as(tmp_path / "mine")
    qtbot.waitUntil(lambda: form.state.text().startswith("Kept as mine"), timeout=PATIENCE)
    assert read_card(tmp_path / "mine").id.startswith(f"{original}-adapted-")
    panel.release()
    assert not adapting.running
    # It is there again in another window, and is used at once.
    again_viewer, again = opened()
    assert again.adapting.form.switch.isChecked()
    assert again.adapting.form.state.text().startswith("Adapted to 5 of your images")
    assert model_of(again_viewer).startswith(f"{original}-adapted-")
    again.tabs.setCurrentWidget(again.queue)
    wait_for(
        qtbot,
        again,
        0,
        lambda: qtbot.mouseClick(again.adapting.form.undo, Qt.MouseButton.LeftButton),
    )
    assert model_of(again_viewer) == original
    assert not again.adapting.form.undo.isEnabled()
    assert not AdaptationFolder(work.output).read().images


def test_switched_off_adaptation_uses_the_original_model_and_does_not_run(
    opened: Open, masks: list[np.ndarray], tiny_model_folder: Path, qtbot: Any
) -> None:
    viewer, panel = opened()
    write_labels(session_of(viewer), masks[0])
    wait_for(qtbot, panel, 1, panel.accept)
    assert not panel.adapting.running
    click_switch(qtbot, panel)
    accept_second = masks[1]
    write_labels(session_of(viewer), accept_second)
    wait_for(qtbot, panel, 2, panel.accept)
    adapting = panel.adapting
    # The image accepted earlier is learned from, too.
    qtbot.waitUntil(lambda: learned(adapting._stored.record) == 2, timeout=PATIENCE)
    click_switch(qtbot, panel)
    assert not adapting.running
    assert not adapting.form.state.isVisible()
    # A model without prompts is not adapted, though it is switched on.
    click_switch(qtbot, panel)
    panel.sampling.form.model.choose(tiny_model_folder)
    assert "does not take prompts" in adapting.form.state.text()


def test_the_end_of_saving_is_shown_while_switched_off(qtbot: Any) -> None:
    viewer = ViewerModel()
    queue, sampling = QueuePanel(viewer), SamplingPanel(viewer)
    for widget in (queue, sampling):
        qtbot.addWidget(widget)
    adapting = Adapting(queue, sampling)
    assert not adapting.on
    assert adapting.form.state.isHidden()
    adapting._on_kept(Path("mine"), OutputError("The disk is full."))
    assert not adapting.form.state.isHidden()
    assert adapting.form.state.text() == "The disk is full."


def test_the_order_by_uncertainty_follows_the_adapted_model(
    opened: Open, masks: list[np.ndarray], qtbot: Any
) -> None:
    viewer, panel = opened()
    click_switch(qtbot, panel)
    queue, adapting = panel.queue, panel.adapting
    queue.form.order.setCurrentText(BY_UNCERTAINTY)
    queue.form.skip.setChecked(True)
    qtbot.waitUntil(lambda: not queue.sampler.measuring, timeout=PATIENCE)
    for count in range(1, 4):
        name, seen = queue.current, list[str]()
        assert name is not None
        queue.shown.connect(seen.append)
        write_labels(session_of(viewer), masks[int(name.split(".")[0])])
        panel.accept()
        qtbot.waitUntil(lambda seen=seen: bool(seen), timeout=PATIENCE)
        qtbot.waitUntil(
            lambda count=count: learned(adapting._stored.record) == count, timeout=PATIENCE
        )
    assert adapting._stored.model is not None
    work = queue.work
    assert work is not None
    undone = [name for name, item in work.items().items() if item.state != "completed"]
    others = [name for name in undone if name != queue.current]
    assert others
    qtbot.waitUntil(
        lambda: all(
            work.item(name).measured_with == queue.sampling.task(name).key() for name in others
        ),
        timeout=PATIENCE,
    )


def test_adaptation_pauses_during_sampling(
    opened: Open, masks: list[np.ndarray], qtbot: Any
) -> None:
    viewer, panel = opened()
    click_switch(qtbot, panel)
    adapting = panel.adapting
    adapting.config = QUICK.model_copy(update={"seconds": 600.0})
    write_labels(session_of(viewer), masks[0])
    wait_for(qtbot, panel, 1, panel.accept)
    qtbot.waitUntil(lambda: adapting.form.state.text().startswith("Adapting…"), timeout=PATIENCE)
    sent: list[bool] = []
    send = adapting._processes[0].send

    def note(command: Any) -> None:
        sent.append(command.paused)
        send(command)

    qtbot.waitUntil(lambda: not panel.queue.sampler.busy and not adapting._paused, timeout=PATIENCE)
    adapting._processes[0].send = note  # type: ignore[method-assign]
    endings: list[str] = []
    panel.sampling.finished.connect(endings.append)
    panel.run_model()
    qtbot.waitUntil(lambda: bool(endings) and len(sent) == 2, timeout=PATIENCE)
    assert sent == [True, False]
