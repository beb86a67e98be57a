"""Seconds from pressing Run to layers on screen, in a real window.

    scripts/with_display.sh .venv/bin/python benchmarks/panel_latency.py

Prints one JSON object. ``fresh``: the first run of a process, from importing napari, and from
pressing Run (including the import of PyTorch and loading the model). ``warm``: further runs
with other seeds. "On screen" means that the layers are in the viewer and the canvas was drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from typing import Any

START = time.perf_counter()


def timed_run(viewer: Any, panel: Any, seed: int) -> float:
    """Press Run, wait for the layers and for the canvas; return the seconds."""
    from qtpy.QtCore import QEventLoop
    from qtpy.QtWidgets import QApplication

    loop = QEventLoop()
    panel.form.seed.value = seed

    def quit_loop(_ending: str) -> None:
        loop.quit()

    panel.finished.connect(quit_loop)
    start = time.perf_counter()
    panel.run()
    loop.exec()
    QApplication.processEvents()
    viewer.window.screenshot(canvas_only=True, flash=False)
    seconds = time.perf_counter() - start
    panel.finished.disconnect(quit_loop)
    if panel.last_error is not None:
        raise SystemExit(panel.last_error)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--side", type=int, default=256, help="side of the image in pixels")
    args = parser.parse_args()
    # The window would remember its settings for the user's next one.
    os.environ["NAPARI_LATENTFM_HOME"] = tempfile.mkdtemp()

    import napari
    import numpy as np
    from skimage.transform import resize

    from napari_latentfm.demo import PLUGIN
    from napari_latentfm.sample_data import dermoscopy_demo

    viewer = napari.Viewer(show=True)
    pixels = dermoscopy_demo()[0][0]
    shape = (args.side, args.side, 3)
    image = np.rint(255 * resize(pixels, shape, anti_aliasing=True)).astype(np.uint8)
    viewer.add_image(image, rgb=True)
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Sample segmentation")
    panel.form.n_samples.value = args.samples
    panel.form.steps.value = args.steps
    first = timed_run(viewer, panel, 0)
    since_start = time.perf_counter() - START
    warm = [timed_run(viewer, panel, seed) for seed in range(1, args.runs + 1)]
    report = {
        "samples": args.samples,
        "steps": args.steps,
        "side": args.side,
        "device": panel.form.device_label.value,
        "fresh_seconds_from_process_start": round(since_start, 3),
        "fresh_seconds_from_run": round(first, 3),
        "warm_seconds_median": round(statistics.median(warm), 3),
        "warm_seconds_min_max": [round(min(warm), 3), round(max(warm), 3)],
    }
    print(json.dumps(report, indent=2))
    viewer.close()


if __name__ == "__main__":
    main()
