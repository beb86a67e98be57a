"""Seconds from a mark in the window to the resulting layers, with a warm model.

    scripts/with_display.sh .venv/bin/python benchmarks/prompt_latency.py

Prints one JSON object. ``box``: a new box, whose field is encoded. ``refine``: a further point
in the same field, with cached image features. ``click``: a single point, with a first
result on the whole image and a second one in the resulting field. Each with the seconds until
the layers exist, those until the canvas was drawn, the processor time of the process
until the layers (less affected by other load), and the number of image encodings.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Clock:
    """Waits for the result of a mark and records the time."""

    def __init__(self, viewer: Any, panel: Any) -> None:
        self._viewer, self._panel = viewer, panel
        self.seconds: dict[str, list[tuple[float, float, float, int]]] = {}

    def time(self, kind: str, mark: Callable[[], None]) -> None:
        """Draw a mark, and wait for its layers and for the canvas."""
        from qtpy.QtCore import QEventLoop
        from qtpy.QtWidgets import QApplication

        loop = QEventLoop()

        def quit_loop(_ending: str) -> None:
            loop.quit()

        before = encoded()
        self._panel.finished.connect(quit_loop)
        start, used = time.perf_counter(), time.process_time()
        mark()
        loop.exec()
        used = time.process_time() - used
        layers = time.perf_counter() - start
        QApplication.processEvents()
        self._viewer.window.screenshot(canvas_only=True, flash=False)
        canvas = time.perf_counter() - start
        self._panel.finished.disconnect(quit_loop)
        if self._panel.last_error is not None:
            raise SystemExit(self._panel.last_error)
        self.seconds.setdefault(kind, []).append((layers, canvas, used, encoded() - before))


_ENCODED = [0]


def encoded() -> int:
    """Return the number of images encoded so far."""
    return _ENCODED[0]


def count_encodings() -> None:
    """Start counting the images that the network encodes."""
    from latentfm_core.inference.network import Network

    usual = Network._encode_image

    def counting(self: Network, canvas: Any) -> Any:
        _ENCODED[0] += 1
        return usual(self, canvas)

    Network._encode_image = counting  # type: ignore[method-assign]


def discs(side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a grey image with a bright disc in the middle."""
    rows, columns = np.mgrid[:side, :side]
    inside = (rows - side / 2) ** 2 + (columns - side / 2) ** 2 < (side / 6) ** 2
    image = np.where(inside, 170, 70) + rng.normal(0, 12, (side, side))
    return np.clip(image, 0, 255).astype(np.uint8)


def box(side: int, shift: float) -> NDArray[np.float64]:
    """Return the corners of a box around the disc."""
    low, high = side / 2 - side / 5.5 + shift, side / 2 + side / 5.5 + shift
    return np.array([[low, low], [low, high], [high, high], [high, low]])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--samples", type=int, default=None, help="default: that of the model")
    parser.add_argument("--steps", type=int, default=None, help="default: that of the model")
    parser.add_argument("--side", type=int, default=384, help="side of the image in pixels")
    args = parser.parse_args()
    # The window would remember its settings for the user's next one.
    os.environ["NAPARI_LATENTFM_HOME"] = tempfile.mkdtemp()

    import napari

    from napari_latentfm.prompting.section import PromptSection
    from napari_latentfm.results.session import session_of
    from napari_latentfm.sampling.panel import SamplingPanel

    count_encodings()
    viewer = napari.Viewer(show=True)
    viewer.add_image(discs(args.side, np.random.default_rng(0)), name="disc")
    panel = SamplingPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Sampling")
    section = PromptSection(session_of(viewer), panel)
    viewer.window.add_dock_widget(section, name="Point")
    panel.form.model.choose("generalist")
    if args.samples is not None:
        panel.form.n_samples.value = args.samples
    if args.steps is not None:
        panel.form.steps.value = args.steps
    clock = Clock(viewer, panel)
    section.tools.draw_box()
    boxes: Any = viewer.layers["disc · prompt boxes"]

    def click(at: float) -> None:
        points: Any = viewer.layers["disc · prompt points"]
        points.add([[at, at]])

    clock.time("fresh", lambda: boxes.add(box(args.side, 0), shape_type="rectangle"))
    for run in range(args.runs):
        shift = 0.5 + run
        clock.time("box", lambda: boxes.add(box(args.side, shift), shape_type="rectangle"))  # noqa: B023
        section.tools.add_point()
        clock.time("refine", lambda: click(args.side / 2 + shift))  # noqa: B023
        section.tools.draw_box()
    for run in range(args.runs):
        section.tools.new_object()
        section.tools.add_point()
        at = args.side / 2 + run
        clock.time("click", lambda: click(at))  # noqa: B023
    report: dict[str, Any] = {
        "samples": panel.form.n_samples.value,
        "steps": panel.form.steps.value,
        "side": args.side,
        "device": panel.form.device_label.value,
    }
    for kind, rows in clock.seconds.items():
        layers, canvas, used, encodings = zip(*rows, strict=True)
        report[kind] = {
            "layers_seconds_median": round(statistics.median(layers), 3),
            "layers_seconds_min_max": [round(min(layers), 3), round(max(layers), 3)],
            "canvas_seconds_median": round(statistics.median(canvas), 3),
            "processor_seconds_median": round(statistics.median(used), 3),
            "images_encoded": statistics.mean(encodings),
        }
    print(json.dumps(report, indent=2))
    viewer.close()


if __name__ == "__main__":
    main()
