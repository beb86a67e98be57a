"""Check a long session in one napari window for growth and leaks.

    scripts/with_display.sh .venv/bin/python -m benchmarks.long_use work \
        --images ../shared/data/isic2018/images --count 200
    scripts/with_display.sh .venv/bin/python -m benchmarks.long_use cancel \
        --images ../shared/data/isic2018/images --count 1000

``work`` processes a folder: each image is sampled, accepted, corrected by hand (every fourth
by strokes that update the samples) and saved. ``cancel`` cancels runs at random moments and checks
after each that the viewer is unchanged. Both print one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from napari_latentfm.review.panel import ReviewPanel
    from napari_latentfm.sampling.panel import SamplingPanel
    from napari_latentfm.worklist.panel import QueuePanel

PATIENCE = 120.0
"""Timeout of a wait in seconds."""
CENSUS_EVERY = 20
STROKES_EVERY = 4
ALIVE: WeakSet[Any] = WeakSet()
"""Layers that `watch` has seen and that still exist."""

Wait = Callable[[Callable[[], bool]], None]


@dataclass(frozen=True)
class Census:
    """Resources in use between two images.

    Attributes
    ----------
    images
        Number of processed images.
    megabytes
        Resident memory.
    threads, layers, callbacks, widgets
        Python's threads; layers of the viewer; functions connected to its events; Qt widgets.
    kept_layers
        Layer objects that are still alive.
    """

    images: int
    megabytes: float
    threads: int
    layers: int
    callbacks: int
    widgets: int
    kept_layers: int


def wait_for(condition: Callable[[], bool]) -> None:
    """Run the Qt event loop until the condition holds."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + PATIENCE
    while not condition():
        QApplication.processEvents()
        time.sleep(0.001)
        if time.monotonic() > end:
            raise SystemExit("timeout while waiting for the window")


def settle() -> None:
    """Finish deferred work and free unreferenced objects."""
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QApplication

    for _ in range(5):
        QApplication.processEvents()
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        gc.collect()


def watch(viewer: Any) -> None:
    """Remember the layers of a viewer, without keeping them."""
    ALIVE.update(viewer.layers)
    viewer.layers.events.inserted.connect(_remember)


def _remember(event: Any) -> None:
    ALIVE.add(event.value)


def census(viewer: Any, images: int) -> Census:
    """Count."""
    from qtpy.QtWidgets import QApplication

    settle()
    models = (viewer.layers, viewer.layers.selection, viewer.dims, viewer.cursor)
    emitters = [e for model in models for e in model.events.emitters.values()]
    return Census(
        images=images,
        megabytes=round(_resident(), 1),
        threads=_own_threads(),
        layers=len(viewer.layers),
        callbacks=sum(len(emitter.callbacks) for emitter in emitters),
        widgets=len(QApplication.allWidgets()),
        kept_layers=len(ALIVE),
    )


def _own_threads() -> int:
    """Count the threads that Python started.

    Qt's pool starts its threads by the load of the machine, up to one per core, and keeps them;
    Python shows each as a dummy once it has run Python code.
    """
    return sum(not thread.name.startswith("Dummy-") for thread in threading.enumerate())


def _resident() -> float:
    """Return the current resident memory, or its peak if unavailable."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def work_through(
    viewer: Any,
    queue: QueuePanel,
    review: ReviewPanel,
    count: int,
    wait: Wait = wait_for,
    every: int = CENSUS_EVERY,
) -> list[Census]:
    """Sample, accept, correct and save `count` images, counting resources at intervals."""
    found = []
    watch(viewer)
    queue.open_folder()
    for number in range(1, count + 1):
        wait(lambda: _is_reviewed(queue, review))
        if number % STROKES_EVERY == 0:
            _correct_by_strokes(review, wait)
        review.annotation.take_mean_mask()
        _paint_by_hand(review)
        if number % every == 0 or number == count:
            # The next image may still be read and sampled ahead.
            wait(lambda: not queue.sampler.busy)
            found.append(census(viewer, number))
        _complete(queue, wait)
    return found


def _complete(queue: QueuePanel, wait: Wait) -> None:
    name, work = queue.current, queue.work
    if name is None or work is None:
        raise SystemExit("there is no open image")
    queue.accept()
    # The accepted image stays until the next one is loaded.
    wait(lambda: work.item(name).state == "completed" and queue.current != name)


def _is_reviewed(queue: QueuePanel, review: ReviewPanel) -> bool:
    current = review.session.current
    return (
        current is not None
        and queue.current is not None
        and current.layer.name == Path(queue.current).stem
        and bool(review.hypotheses.hypotheses)
        and "Looking" not in review.regions.status.text()
    )


def _correct_by_strokes(review: ReviewPanel, wait: Wait) -> None:
    from napari_latentfm.review.stroke_layer import stroke_layer

    before = review.session.current
    review.strokes.paint_foreground()
    layer = stroke_layer(review.session)
    if layer is None:
        raise SystemExit("there is no layer for strokes")
    height, width = layer.data.shape[-2:]
    layer.paint((height // 2, width // 2), layer.selected_label)
    review.strokes.redraw()
    wait(lambda: not review.strokes.running and review.session.current is not before)


def _paint_by_hand(review: ReviewPanel) -> None:
    from napari_latentfm.annotation.layer import annotation_of

    layer = annotation_of(review.session)
    if layer is None:
        raise SystemExit("there is no annotation")
    height, width = layer.data.shape[-2:]
    for step in range(3):
        layer.paint((height // 2 + 5 * step, width // 3), 1)


def state_of(viewer: Any) -> object:
    """Return the viewer state that a cancelled run must not change."""
    from napari_latentfm.layers.edits import digest

    layers = [
        (layer.name, layer.unique_id, layer.visible, layer.mode, digest(layer.data))
        for layer in viewer.layers
    ]
    selected = sorted(layer.name for layer in viewer.layers.selection)
    return layers, selected, viewer.dims.point, viewer.dims.order


def _is_over(moment: float, endings: list[str]) -> bool:
    return time.monotonic() > moment or bool(endings)


def cancel_runs(
    viewer: Any, panel: SamplingPanel, count: int, seconds: float, wait: Wait = wait_for
) -> dict[str, int]:
    """Start `count` runs, cancel each within `seconds`, and count the outcomes.

    Returns
    -------
    dict
        ``cancelled``, ``done`` (they were faster), and ``changed``: cancelled runs after which
        the viewer had changed.
    """
    draw, ends = random.Random(0), {"cancelled": 0, "done": 0, "failed": 0, "changed": 0}
    endings: list[str] = []
    panel.finished.connect(endings.append)
    before = state_of(viewer)
    while ends["cancelled"] < count:
        endings.clear()
        panel.form.seed.value = sum(ends.values())
        panel.run()
        moment = time.monotonic() + draw.uniform(0, seconds)
        wait(partial(_is_over, moment, endings))
        panel.cancel()
        wait(lambda: bool(endings) and not panel.job.busy)
        ends[endings[0]] += 1
        after = state_of(viewer)
        ends["changed"] += endings[0] == "cancelled" and after != before
        before = after
    panel.finished.disconnect(endings.append)
    return ends


def _work(args: argparse.Namespace) -> dict[str, Any]:
    import napari

    from latentfm_core.images.read import list_images
    from napari_latentfm.review.panel import ReviewPanel
    from napari_latentfm.worklist.panel import QueuePanel

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "images"
        folder.mkdir()
        for file in list_images(args.images)[: args.count]:
            shutil.copy(file, folder)
        viewer = napari.Viewer(show=True)
        review, queue = ReviewPanel(viewer), QueuePanel(viewer)
        viewer.window.add_dock_widget(review, name="Review samples")
        viewer.window.add_dock_widget(queue, name="Work through a folder")
        queue.form.folder.setText(str(folder))
        queue.form.n_samples.setValue(args.samples)
        start = time.perf_counter()
        found = work_through(viewer, queue, review, args.count)
        seconds = time.perf_counter() - start
        saved = len(list((folder / "latentfm_annotations").glob("*.tif")))
    growth = found[-1].megabytes / found[0].megabytes - 1
    return {
        "saved": saved,
        "seconds": round(seconds),
        "memory_growth": round(growth, 4),
        "census": [asdict(each) for each in found],
    }


def _cancel(args: argparse.Namespace) -> dict[str, Any]:
    import napari

    from latentfm_core.images.read import list_images, read_image
    from napari_latentfm.sampling.panel import SamplingPanel

    viewer = napari.Viewer(show=True)
    watch(viewer)
    viewer.add_image(read_image(list_images(args.images)[0]).pixels, rgb=True, name="photo")
    panel = SamplingPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Sample segmentation")
    panel.form.n_samples.value = args.samples
    endings: list[str] = []
    panel.finished.connect(endings.append)
    panel.run()
    wait_for(lambda: bool(endings))
    endings.clear()
    start = time.perf_counter()
    panel.run()
    wait_for(lambda: bool(endings))
    seconds = time.perf_counter() - start
    panel.finished.disconnect(endings.append)
    first = census(viewer, 0)
    ends = cancel_runs(viewer, panel, args.count, 0.7 * seconds)
    last = census(viewer, args.count)
    return {
        **ends,
        "run_seconds": round(seconds, 2),
        "before": asdict(first),
        "after": asdict(last),
    }


def main() -> None:
    """Work or cancel, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("work", "cancel"))
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--count", type=int, default=200, help="images, or runs")
    parser.add_argument("--samples", type=int, default=4, help="N")
    args = parser.parse_args()
    # The window would remember its settings for the user's next one.
    os.environ["NAPARI_LATENTFM_HOME"] = tempfile.mkdtemp()
    print(json.dumps((_work if args.what == "work" else _cancel)(args), indent=2))


if __name__ == "__main__":
    main()
