"""Longest freeze of the window while a large image is segmented and reviewed.

    scripts/with_display.sh .venv/bin/python -m benchmarks.gui_latency --megapixels 12 24 50
    scripts/with_display.sh .venv/bin/python -m benchmarks.gui_latency --alone

A 5 ms timer ticks in the GUI thread of a real window; the time between two ticks is a stretch in
which the window did not respond. A second thread samples the GUI thread's stack every 10 ms, so
that each long stretch is reported with its stack, and with the share that had this plugin on
the stack. ``--alone`` measures the baseline of napari: it opens the same image, adds layers
of the same size, and paints on them, without this plugin. Each image is measured in its own
process.

Prints JSON lines. For each image and phase: the longest stretch by the clock, the most processor
time of the GUI thread in one stretch (independent of other load on the machine), and
the duration, in seconds; with ``--stacks SECONDS`` also the stacks of busier stretches.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gui_watch import Phase, Window

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def picture(megapixels: float, source: Path | None) -> NDArray[np.uint8]:
    """Return a photograph of 3:2 with one lesion, ``(H, W, 3)``, enlarged from a real one."""
    import numpy as np
    from PIL import Image

    from napari_latentfm.sample_data import dermoscopy_demo

    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    small = dermoscopy_demo()[0][0] if source is None else np.asarray(Image.open(source))
    large = Image.fromarray(small).resize((round(1.5 * height), height), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(large)


def review(window: Window, pixels: NDArray[np.uint8], samples: int) -> None:
    """Process one image in the dock, from opening to export."""
    from napari.layers import Image

    from napari_latentfm.demo import PANEL, PLUGIN

    viewer = window.viewer
    _, entry = viewer.window.add_plugin_dock_widget(PLUGIN, PANEL)
    sampling, panel = entry.panel.sampling, entry.panel.review
    layer = Image(pixels, rgb=True, name="photograph")
    window.phase("open the image (napari)", lambda: viewer.add_layer(layer))
    sampling.form.n_samples.value = samples
    ended: list[str] = []
    sampling.finished.connect(ended.append)
    window.phase("run", sampling.run, lambda: bool(ended))
    if ended != ["done"]:
        raise SystemExit(f"the run ended as {ended}: {sampling.last_error}")
    hypotheses, regions = panel.hypotheses, panel.regions
    window.phase(
        "hypotheses and uncertain regions",
        ready=lambda: bool(hypotheses.hypotheses) and "Looking" not in regions.status.text(),
    )
    axis = next(i for i, name in enumerate(viewer.dims.axis_labels) if name == "sample")
    for step in range(3):
        move = partial(viewer.dims.set_current_step, axis, 1 + step)
        window.phase(f"sample slider, step {step + 1}", move)
    window.phase("show a hypothesis", hypotheses.next)
    window.phase("show the next hypothesis", hypotheses.next)
    window.phase("hide it", hypotheses.end_preview)
    window.phase("visit an uncertain region", regions.next)
    window.phase("visit the next region", regions.next)
    window.phase("whole image again", viewer.reset_view)
    done: list[str] = []
    panel.strokes.finished.connect(done.append)
    window.phase("take the brush of strokes", panel.strokes.paint_foreground)
    window.phase("paint a stroke, samples follow", window.drag, lambda: bool(done))
    annotate(window, panel)
    ended.clear()
    window.phase("run again", sampling.run, lambda: bool(ended))


def annotate(window: Window, panel: Any) -> None:
    """Make an annotation, paint on it, undo, and export it."""
    section = panel.annotation
    kept: list[str] = []
    section.autosaver.kept.connect(kept.append)
    window.phase("take the mean mask, until kept", section.take_mean_mask, lambda: bool(kept))
    window.phase("take the brush of the annotation", section.paint)
    section.autosaver.layer.selected_label = 2
    kept.clear()
    window.phase("paint on the annotation, until kept", window.drag, lambda: bool(kept))
    window.phase("undo the stroke", section.undo)
    window.phase("undo the mean mask", section.undo)
    window.phase("redo the mean mask", section.redo)
    window.phase("choose a hypothesis", panel.hypotheses.next)
    window.phase("unite it with the annotation", panel.hypotheses.unite)
    exported: list[str] = []
    section.finished.connect(exported.append)
    with tempfile.TemporaryDirectory() as folder:
        section.files.ask_save = lambda _: Path(folder) / "annotation.tif"
        window.phase("export", section.export, lambda: bool(exported))
    if exported != ["done"]:
        raise SystemExit(f"the export ended as {exported}")


def alone(window: Window, pixels: NDArray[np.uint8], samples: int) -> None:
    """Do comparable work with napari alone: layers of the same size, a brush, undo."""
    import numpy as np
    from napari.layers import Image, Labels

    viewer, shape = window.viewer, pixels.shape[:2]
    image = Image(pixels, rgb=True, name="photograph")
    window.phase("open the image (napari)", lambda: viewer.add_layer(image))
    # Half of each side, like the lesion in the photograph.
    inside = tuple(slice(side // 4, 3 * side // 4) for side in shape)
    masks = np.zeros((samples, *shape), np.uint8)
    masks[:, inside[0], inside[1]] = 1
    confidence = np.zeros(shape, np.float32)

    def add(layer: Any) -> Callable[[], object]:
        return lambda: viewer.add_layer(layer())

    window.phase("add a map (float32)", add(lambda: Image(confidence)))
    window.phase("add labels", add(lambda: Labels(masks[0])))
    window.phase("add labels of all samples", add(lambda: Labels(masks)))
    window.phase("slider of the labels", lambda: viewer.dims.set_current_step(0, 1))
    window.phase("outlines of the labels", lambda: setattr(viewer.layers[-1], "contour", 2))
    window.phase("slider of the outlines", lambda: viewer.dims.set_current_step(0, 2))
    window.phase("remove them", lambda: viewer.layers.remove(viewer.layers[-1]))
    annotation = Labels(np.zeros(shape, np.uint8))
    window.phase("add an annotation", lambda: viewer.add_layer(annotation))
    annotation.brush_size = max(shape) // 48
    window.phase("take a brush", lambda: setattr(annotation, "mode", "paint"))
    window.phase("paint a stroke", window.drag)
    window.phase("undo it", annotation.undo)
    window.phase("redo it", annotation.redo)
    places = np.nonzero(masks[0])
    window.phase("write a mask", lambda: annotation.data_setitem(places, 1))
    window.phase("undo the mask", annotation.undo)


def measure(megapixels: float, args: argparse.Namespace) -> dict[str, Any]:
    """Process one image and return stretches and durations."""
    pixels = picture(megapixels, args.image)
    window = Window(partial(write, stacks=args.stacks))
    go = alone if args.alone else review
    go(window, pixels, args.samples)
    report = summary(window.phases)
    window.close()
    return {
        "megapixels": megapixels,
        "shape": list(pixels.shape),
        "samples": args.samples,
        "alone": args.alone,
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        **report,
    }


def summary(phases: list[Phase]) -> dict[str, Any]:
    """Return the worst of all phases."""
    longest = max(phases, key=lambda phase: phase.longest)
    busiest = max(phases, key=lambda phase: phase.busiest)
    return {
        "longest_stretch": round(longest.longest, 3),
        "longest_stretch_in": longest.name,
        "gui_busy": round(busiest.busiest, 3),
        "gui_busy_in": busiest.name,
    }


def write(phase: Phase, stacks: float | None) -> None:
    """Print a phase, and its stretches that were busier than `stacks` seconds, as JSON lines."""
    sys.stdout.write(json.dumps(phase.to_json()) + "\n")
    for stretch in phase.stretches:
        if stacks is not None and stretch.busy >= stacks:
            sys.stdout.write(json.dumps(stretch.to_json()) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure each image in its own process, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megapixels", type=float, nargs="+", default=[12, 24, 50])
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--image", type=Path, help="a photograph to enlarge, not the demo image")
    parser.add_argument("--alone", action="store_true", help="napari without this plugin")
    parser.add_argument("--stacks", type=float, metavar="SECONDS", help="of busier stretches")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        sys.stdout.write(json.dumps(measure(args.megapixels[0], args)) + "\n")
        return
    options = ["--samples", str(args.samples)]
    options += ["--alone"] if args.alone else []
    options += [] if args.image is None else ["--image", str(args.image)]
    options += [] if args.stacks is None else ["--stacks", str(args.stacks)]
    # An annotation saved earlier for the same image would be offered again.
    environment = {**os.environ, "NAPARI_LATENTFM_HOME": tempfile.mkdtemp()}
    for size in args.megapixels:
        command = [sys.executable, "-m", "benchmarks.gui_latency", "--here", *options]
        subprocess.run([*command, "--megapixels", str(size)], check=True, env=environment)


if __name__ == "__main__":
    main()
