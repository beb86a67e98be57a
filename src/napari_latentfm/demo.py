"""``python -m napari_latentfm.demo``: sample the bundled image in a napari window."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latentfm_core.files.atomic import atomic_path

if TYPE_CHECKING:
    import napari

    from napari_latentfm.dock.panel import LatentFMPanel

logger = logging.getLogger(__name__)

PLUGIN = "napari-latentfm"
PANEL = "LatentFM"
SAMPLE = "dermoscopy_demo"
VIRTUAL_DISPLAY = "LATENTFM_VIRTUAL_DISPLAY"
WINDOW_SIZE = (1280, 720)
PAINT_MS = 500
"""Time for the canvas to be drawn before a screenshot is taken."""


def open_demo() -> tuple[napari.Viewer, LatentFMPanel]:
    """Open napari with the sample image and the dock, as the menus would."""
    import napari

    viewer = napari.Viewer(show=True)
    viewer.window.resize(*WINDOW_SIZE)
    viewer.open_sample(PLUGIN, SAMPLE)
    _, entry = viewer.window.add_plugin_dock_widget(PLUGIN, PANEL)
    return viewer, entry.panel


def screenshot_when_done(viewer: napari.Viewer, panel: LatentFMPanel, path: Path) -> None:
    """Save a screenshot of the window after the run, then close it."""
    from qtpy.QtCore import QTimer

    def take() -> None:
        from skimage.io import imsave

        pixels = viewer.window.screenshot(canvas_only=False, flash=False)
        with atomic_path(path) as temporary:
            imsave(temporary, pixels[..., :3], check_contrast=False)
        viewer.close()

    # The layers are added before `finished`, but painted only when the event loop runs again.
    panel.sampling.finished.connect(lambda: QTimer.singleShot(PAINT_MS, take))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m napari_latentfm.demo", description=__doc__)
    parser.add_argument("--screenshot", type=Path, help="write a PNG of the window, then quit")
    parser.add_argument(
        "--screenshot-without-display",
        type=Path,
        metavar="PATH",
        help="like --screenshot, but only if the window is not visible",
    )
    args = parser.parse_args(argv)
    path: Path | None = args.screenshot
    if path is None and os.environ.get(VIRTUAL_DISPLAY):
        path = args.screenshot_without_display
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    import napari

    viewer, panel = open_demo()
    if path is not None:
        screenshot_when_done(viewer, panel, path)
    panel.sampling.run()
    napari.run()
    if panel.sampling.last_error is not None:
        logger.error("error: %s", panel.sampling.last_error)
        return 2
    if path is not None:
        print(path.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
