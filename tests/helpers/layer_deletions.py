"""Delete layers by hand while samples are drawn, in a separate process, since it may crash.

python -m tests.helpers.layer_deletions MODEL ROUNDS
"""

from __future__ import annotations

import faulthandler
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(model: Path, rounds: int) -> None:
    """Draw boxes and run the model; delete some of the layers at random moments."""
    faulthandler.enable()
    import napari
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QListView

    from napari_latentfm.dock.entries import open_dock
    from tests.helpers.prompting import two_discs

    viewer = napari.Viewer(show=True)
    panel = open_dock(viewer)
    form = panel.sampling.form
    form.model.choose(model)
    form.device.value = "cpu"
    form.n_samples.value, form.steps.value = 3, 2
    pixels, _ = two_discs(np.random.default_rng(21))
    chance = random.Random(5)
    window = panel.window()
    canvas: Any = next(x for x in window.findChildren(object) if is_canvas(x))
    layer_list: Any = next(
        x for x in window.findChildren(QListView) if "LayerList" in type(x).__name__
    )

    def drag(start: tuple[int, int], end: tuple[int, int]) -> None:
        centre, zoom = viewer.scene.camera.center, viewer.scene.camera.zoom
        middle = canvas.rect().center()
        first, last = (
            middle + QPoint(round((at[1] - centre[-1]) * zoom), round((at[0] - centre[-2]) * zoom))
            for at in (start, end)
        )
        QTest.mouseMove(canvas, first)
        QTest.mousePress(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, first)
        for step in range(1, 5):
            QTest.mouseMove(canvas, first + (last - first) * step / 4)
            QTest.qWait(1)
        QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, last)

    def delete(layers: list[Any]) -> None:
        viewer.layers.selection.clear()
        viewer.layers.selection.update(layers)
        layer_list.setFocus()
        QTest.keyClick(layer_list, Qt.Key.Key_Delete)
        left = [layer.name for layer in layers if layer in viewer.layers]
        assert not left, f"still there: {left}"

    image: Any = None
    for number in range(rounds):
        if image is None or image not in viewer.layers:
            image = viewer.add_image(pixels, rgb=True, name="a")
            viewer.reset_view()
            QTest.qWait(50)
        if number % 3 < 2:
            panel.point.tools.draw_box()
            drag((10, 8), (55, 45))
        else:
            panel.run_model()
        QTest.qWait(chance.randint(0, 250))
        others = [layer for layer in viewer.layers if layer is not image]
        if number % 7 == 6:
            others.append(image)
        if others:
            delete(chance.sample(others, chance.randint(1, len(others))))
        QTest.qWait(chance.randint(0, 250))
    sys.stdout.write(f"{rounds} rounds\n")
    sys.stdout.flush()
    viewer.close()


def is_canvas(widget: Any) -> bool:
    """Return whether a Qt object is napari's canvas."""
    return hasattr(widget, "inherits") and bool(widget.inherits("QOpenGLWidget"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
