"""Longest time in which the window is frozen while a large image is segmented and reviewed.

    scripts/with_display.sh .venv/bin/python benchmarks/gui_latency.py --megapixels 12 24 50

A timer of 5 ms beats in the GUI thread of a real window; the longest time between two beats is
the longest time in which the window answered nothing. Each image is measured in a process of
its own. Prints JSON lines: for each image and each phase the longest gap, the most processor time
of the GUI thread between two beats (which does not depend on what else the machine does), and the
duration, in seconds. ``--blame SECONDS`` also prints where the GUI thread was in longer gaps.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

BEAT_MS = 5
QUIET = 0.5
"""Seconds without a long gap after which a phase has settled."""
GIVE_UP = 400.0
"""Seconds after which a phase is ended."""


class Heartbeat:
    """Beats in the GUI thread and remembers the longest gap of each phase."""

    def __init__(self, blame: float | None) -> None:
        from qtpy.QtCore import QTimer

        self._last, self._spent = time.perf_counter(), time.thread_time()
        self.longest, self.busiest = 0.0, 0.0
        self._blame = blame
        self._main = threading.get_ident()
        self._timer = QTimer()
        self._timer.setInterval(BEAT_MS)
        self._timer.timeout.connect(self._beat)
        self._timer.start()
        self.stop = threading.Event()
        if blame is not None:
            threading.Thread(target=self._watch, daemon=True).start()

    def _beat(self) -> None:
        now, spent = time.perf_counter(), time.thread_time()
        self.longest = max(self.longest, now - self._last)
        self.busiest = max(self.busiest, spent - self._spent)
        self._last, self._spent = now, spent

    def begin(self) -> None:
        """Forget gaps of before."""
        self._last, self._spent = time.perf_counter(), time.thread_time()
        self.longest, self.busiest = 0.0, 0.0

    def _watch(self) -> None:
        blamed = 0.0
        while not self.stop.wait(0.02):
            last = self._last
            if self._blame is not None and last != blamed:
                if time.perf_counter() - last < self._blame:
                    continue
                blamed = last
                frame = sys._current_frames().get(self._main)
                stack = traceback.format_stack(frame)[-7:] if frame is not None else []
                sys.stderr.write("--- long gap\n" + "".join(stack))


class Window:
    """A viewer with the panels, driven phase by phase."""

    def __init__(self, blame: float | None) -> None:
        import napari
        from qtpy.QtCore import QTimer

        from napari_latentfm.demo import PLUGIN

        self._until: Callable[[], bool] = bool
        self._loop: Any = None
        self._timer = QTimer()
        self._timer.setInterval(20)
        self._timer.timeout.connect(self._look)

        self.viewer = napari.Viewer(show=True)
        _, self.sampling = self.viewer.window.add_plugin_dock_widget(PLUGIN, "Sample segmentation")
        _, self.review = self.viewer.window.add_plugin_dock_widget(PLUGIN, "Review samples")
        self.heart = Heartbeat(blame)
        self.found: dict[str, dict[str, float]] = {}

    def phase(self, name: str, act: Callable[[], object], ready: Callable[[], bool]) -> None:
        """Do something, wait until it is done and drawn, and note gap and duration."""
        from qtpy.QtWidgets import QApplication

        QApplication.processEvents()
        self.heart.begin()
        start = time.perf_counter()
        act()
        self._pump(lambda: ready() or time.perf_counter() - start > GIVE_UP)
        end = time.perf_counter()
        self._pump(lambda: time.perf_counter() - end > QUIET)
        self.found[name] = {
            "longest_gap": round(self.heart.longest, 3),
            "gui_busy": round(self.heart.busiest, 3),
            "seconds": round(end - start, 3),
        }

    def _pump(self, until: Callable[[], bool]) -> None:
        from qtpy.QtCore import QEventLoop

        # Loop and timer end here: a cycle that is collected in another thread would stop it there.
        self._until, self._loop = until, QEventLoop()
        self._timer.start()
        self._loop.exec()
        self._timer.stop()

    def _look(self) -> None:
        if self._until():
            self._loop.quit()


def picture(megapixels: float) -> Any:
    """Return a photograph of 3:2 with one lesion, ``(H, W, 3)`` uint8."""
    import numpy as np
    from PIL import Image

    from napari_latentfm.sample_data import dermoscopy_demo

    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    small = dermoscopy_demo()[0][0]
    large = Image.fromarray(small).resize((round(1.5 * height), height), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(large)


def measure(megapixels: float, samples: int, blame: float | None) -> dict[str, Any]:
    """Go through one image and return gaps and durations."""
    from napari.layers import Image

    pixels = picture(megapixels)
    window = Window(blame)
    viewer, sampling, review = window.viewer, window.sampling, window.review
    ended: list[str] = []
    sampling.finished.connect(ended.append)
    layer = Image(pixels, rgb=True, name="photograph")
    window.phase("open (napari alone)", lambda: viewer.add_layer(layer), lambda: True)
    sampling.form.n_samples.value = samples

    def reviewed() -> bool:
        idle = not review.hypotheses._errands or bool(review.hypotheses.hypotheses)
        return bool(ended) and idle and "Looking" not in review.doubt.status.text()

    window.phase("run", sampling.run, lambda: bool(ended))
    if ended != ["done"]:
        raise SystemExit(f"the run ended as {ended}: {sampling.last_error}")
    window.phase("hypotheses and doubt", lambda: None, reviewed)
    axis = next(i for i, name in enumerate(viewer.dims.axis_labels) if name == "sample")
    for step in range(3):
        move = partial(viewer.dims.set_current_step, axis, 1 + step)
        window.phase(f"sample slider {step}", move, lambda: True)
    window.phase("show a hypothesis", review.hypotheses.next, lambda: True)
    window.phase("hide it", review.hypotheses.end_preview, lambda: True)
    window.phase("visit a region", review.doubt.next, lambda: True)
    window.phase("whole image again", viewer.reset_view, lambda: True)
    saver = review.annotation.autosaver
    kept: list[str] = []
    saver.kept.connect(kept.append)
    window.phase("take the mean mask", review.annotation.take_mean_mask, lambda: bool(kept))
    window.phase("undo", review.annotation.undo, lambda: True)
    window.phase("redo", review.annotation.redo, lambda: True)
    window.phase("take a brush", review.strokes.paint_lesion, lambda: True)
    done: list[str] = []
    review.strokes.finished.connect(done.append)
    window.phase("stroke", lambda: stroke(viewer, pixels.shape), lambda: bool(done))
    ended.clear()
    window.phase("run again", sampling.run, lambda: bool(ended))
    window.heart.stop.set()
    worst = max(window.found, key=lambda name: window.found[name]["longest_gap"])
    busiest = max(window.found, key=lambda name: window.found[name]["gui_busy"])
    report = {
        "megapixels": megapixels,
        "shape": list(pixels.shape),
        "samples": samples,
        "longest_gap": window.found[worst]["longest_gap"],
        "longest_gap_in": worst,
        "gui_busy": window.found[busiest]["gui_busy"],
        "gui_busy_in": busiest,
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "phases": window.found,
    }
    viewer.close()
    return report


def stroke(viewer: Any, shape: tuple[int, ...]) -> None:
    """Paint a short stroke beside the middle, as the brush does."""
    layer = viewer.layers.selection.active
    row, column = shape[0] // 2, shape[1] // 4
    with layer.block_history():
        for step in range(5):
            layer.paint((row, column + step * layer.brush_size), layer.selected_label)


def main() -> None:
    """Measure each image in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megapixels", type=float, nargs="+", default=[12, 24, 50])
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--blame", type=float)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        report = measure(args.megapixels[0], args.samples, args.blame)
        phases = report.pop("phases")
        sys.stdout.write(json.dumps(report) + "\n")
        for name, figures in phases.items():
            sys.stdout.write(json.dumps({"phase": name, **figures}) + "\n")
        return
    blame = [] if args.blame is None else ["--blame", str(args.blame)]
    for size in args.megapixels:
        options = ["--megapixels", str(size), "--samples", str(args.samples), *blame]
        subprocess.run([sys.executable, __file__, "--here", *options], check=True)


if __name__ == "__main__":
    main()
