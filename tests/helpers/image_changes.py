"""Change images repeatedly in a real window, in a separate process, since it may crash.

python -m tests.helpers.image_changes IMAGES MODEL CHANGES
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(folder: Path, model: Path, changes: int) -> None:
    """Open, paint strokes, view samples and accept, image after image; print the count."""
    import napari
    from qtpy.QtCore import QEventLoop
    from qtpy.QtWidgets import QApplication

    from napari_latentfm.annotation.layer import annotation_of
    from napari_latentfm.results.session import session_of
    from napari_latentfm.review.panel import ReviewPanel
    from napari_latentfm.worklist.panel import QueuePanel

    viewer = napari.Viewer(show=True)
    panel, review = QueuePanel(viewer), ReviewPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Queue")
    viewer.window.add_dock_widget(review, name="Review")
    panel.form.model.choose(model)
    panel.form.n_samples.setValue(2)
    panel.form.folder.setText(str(folder))
    panel.form.skip.setChecked(False)
    loop, session = QEventLoop(), session_of(viewer)

    def wait(signal: Any, act: Any) -> None:
        heard: list[object] = []

        def hear(value: object) -> None:
            heard.append(value)
            loop.quit()

        signal.connect(hear)
        act()
        if not heard:
            loop.exec()
        signal.disconnect(hear)

    def stroke() -> None:
        """Paint with the brush, and draw samples that follow."""
        review.strokes.paint_background()
        layer = viewer.layers.selection.active
        with layer.block_history():
            layer.paint((20, 20), layer.selected_label)

    panel.settled.connect(stop_if_failed)
    wait(panel.shown, panel.open_folder)
    for change in range(changes):
        axis = viewer.dims.ndim - 3
        if axis >= 0:
            viewer.dims.set_current_step(axis, change % 2)
        if change % 20 == 0:
            wait(review.strokes.finished, stroke)
        layer = annotation_of(session)
        layer.mode = "paint"
        with layer.block_history():
            layer.paint((30, 30), 1)
        QApplication.processEvents()
        while session.renewing:  # samples that follow a stroke: Accept waits for them
            QApplication.processEvents()
        last = panel.current == panel.form.names(panel.work)[-1]
        # Beyond the last one there is nothing to accept into.
        wait(panel.shown, lambda end=last: panel.open(first(panel)) if end else panel.accept())
        assert np.count_nonzero([x.name.endswith("annotation") for x in viewer.layers]) <= 1
    sys.stdout.write(f"{changes} changes\n")
    sys.stdout.flush()
    viewer.close()


def stop_if_failed(ending: str) -> None:
    """End the process where an image could not be opened."""
    if ending == "failed":
        sys.exit("an image could not be opened")


def first(panel: Any) -> str:
    """Return the first image of the list."""
    return str(panel.form.names(panel.work)[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
