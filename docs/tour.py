"""Perform the review workflow on a real image and write the pictures of the user guide.

From the project's root, where a screen (or ``xvfb-run -a``) is at hand:

    python docs/tour.py IMAGE MASK

IMAGE is a dermoscopy image, MASK the expert's outline of it, from which the strokes and the
region are taken that a clinician would draw. Pictures go to ``docs/images``; annotation and
autosave go to a temporary folder. ``python -m napari_latentfm.demo --screenshot`` writes
``window.png``.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "images"
SIZE = (1280, 720)
PATIENCE = 300.0

logger = logging.getLogger("tour")


class Tour:
    """One window, and what is done in it."""

    def __init__(self, image: Path, mask: Path) -> None:
        import napari
        from qtpy.QtWidgets import QApplication

        from latentfm_core.images.read import read_image, read_mask
        from napari_latentfm.dock.entries import open_dock
        from napari_latentfm.dock.welcome import Welcome

        self.expert = read_mask(mask)
        self.viewer: Any = napari.Viewer(show=True)
        self.app = QApplication.instance()
        self.layer = self.viewer.add_image(read_image(image).pixels, rgb=True, name=image.stem)
        self.dock = open_dock(self.viewer)
        self.sampling, self.review = self.dock.sampling, self.dock.review
        window = self.dock.window()
        window.setGeometry(0, 0, *SIZE)
        welcome = self.dock.findChild(Welcome)
        if welcome is not None:
            welcome.dismiss()
        self.settle()

    def only_section(self, title: str) -> None:
        """Unfold one section of the dock, and fold the others."""
        for name, section in self.dock.sections.items():
            section.set_opened(name == title)
        self.dock.annotate.show_section(title)
        self.settle()

    def settle(self, seconds: float = 0.5) -> None:
        """Let the window do what it has to."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.app.processEvents()
            time.sleep(0.01)

    def wait(self, done: Callable[[], bool], what: str) -> None:
        """Wait for something to happen."""
        end = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > end:
                raise SystemExit(f"error: {what} did not happen within {PATIENCE:.0f} s")
            self.settle(0.05)

    def picture(self, name: str) -> None:
        """Write what the window shows."""
        self.settle()
        self.viewer.screenshot(PICTURES / f"{name}.png", canvas_only=False, flash=False)
        logger.info("wrote %s.png", name)

    def dice(self, mask: np.ndarray) -> float:
        """Return the Dice of a mask with the expert's."""
        from latentfm_core.metrics.overlap import dice

        return dice(np.asarray(mask) > 0, self.expert)

    def sample(self) -> None:
        """Draw samples and compare the hypotheses."""
        endings: list[str] = []
        self.sampling.finished.connect(endings.append)
        self.sampling.form.n_samples.value = 16
        self.sampling.run()
        self.wait(lambda: bool(endings), "sampling")
        hypotheses, regions = self.review.hypotheses, self.review.regions
        self.wait(lambda: bool(hypotheses.hypotheses), "the search for hypotheses")
        self.wait(
            lambda: "Looking" not in regions.status.text(), "the search for uncertain regions"
        )
        logger.info("mean mask: Dice %.3f", self.dice(self.result("mean mask")))

    def compare(self) -> None:
        """Look at the hypotheses with the contours of agreement, and take one."""
        self.only_section("Compare")
        self.show_only("preview", "agreement")
        self.review.hypotheses.contours.shown.setChecked(True)
        self.settle()
        self.review.hypotheses.next()
        self.picture("review-compare")
        self.take_in_region()
        self.review.hypotheses.take_whole()

    def take_in_region(self) -> None:
        """Take a hypothesis inside the upper half of the lesion only."""
        rows = np.flatnonzero(self.expert.any(axis=1))
        middle, width = float(rows.mean()), self.expert.shape[1]
        self.review.annotation.draw_region()
        region = self.layer_named("region")
        region.add_polygons(np.array([[0, 0], [0, width], [middle, width], [middle, 0]], float))
        self.review.hypotheses.take_in_region()
        found = self.result("annotation")
        if not found.any() or found[round(middle) + 1 :].any():
            raise SystemExit("error: the region did not hold the hypothesis")
        self.review.annotation.clear_region()
        self.viewer.layers.remove(region)

    def uncertain(self) -> None:
        """Go to the uncertain region with the largest area at stake."""
        self.only_section("Uncertain regions")
        self.review.hypotheses.contours.shown.setChecked(False)
        self.review.hypotheses.end_preview()
        self.show_only("confidence", "mean mask")
        self.review.regions.next()
        self.picture("review-uncertain")
        self.review.regions.resolve()
        self.viewer.reset_view()

    def correct(self) -> None:
        """Stroke through the largest errors, as in benchmarks/correction."""
        sys.path.insert(0, str(ROOT))
        from benchmarks.correction.simulate import next_stroke

        self.only_section("Point")
        section = self.review.strokes
        endings: list[str] = []
        section.finished.connect(endings.append)
        said = np.zeros(self.expert.shape, np.uint8)
        for count in (1, 2, 3):
            mean = np.asarray(self.result("mean mask")) > 0
            more = next_stroke(mean, self.expert, said)
            if more is None:
                break
            section.paint_foreground()
            layer = self.layer_named("strokes")
            with layer.block_history():
                new = more != said
                layer.data_setitem(np.nonzero(new), more[new])
            said = more
            self.wait(lambda: len(endings) >= count, "the correction")  # noqa: B023
            if endings[-1] != "done":
                raise SystemExit(f"error: the correction ended as {endings[-1]}")
            logger.info("%d strokes: Dice %.3f", count, self.dice(self.result("mean mask")))
        self.show_only("mean mask", "strokes")
        self.picture("review-correct")

    def accept(self) -> np.ndarray:
        """Take the mean mask, undo, redo, and wait until it is kept; return the annotation."""
        self.only_section("Annotation")
        self.review.annotation.take_mean_mask()
        annotation = self.layer_named("annotation")
        taken = annotation.data.copy()
        annotation.undo()
        annotation.redo()
        if not np.array_equal(annotation.data, taken):
            raise SystemExit("error: redo did not bring the annotation back")
        self.wait(lambda: "Autosaved" in self.review.annotation.kept.text(), "the autosave")
        logger.info("annotation: Dice %.3f", self.dice(taken))
        return np.asarray(taken)

    def recover(self, wanted: np.ndarray) -> None:
        """Take up what another window left behind without exporting it; the strokes as well."""
        self.only_section("Annotation")
        endings: list[str] = []
        self.review.strokes.finished.connect(endings.append)
        bar = self.review.annotation.bar
        self.wait(lambda: not bar.isHidden(), "the offer to recover")
        self.show_only("mean mask")
        self.picture("review-recover")
        bar.recover.click()
        if not np.array_equal(self.result("annotation"), wanted):
            raise SystemExit("error: what was recovered is not what was kept")
        self.wait(lambda: bool(endings), "the correction by the recovered strokes")
        logger.info("recovered; mean mask: Dice %.3f", self.dice(self.result("mean mask")))

    def export(self, folder: Path) -> None:
        """Export the annotation, spoil it, and open the export again."""
        section = self.review.annotation
        endings: list[str] = []
        section.finished.connect(endings.append)
        section.files.ask_save = lambda _: folder / "annotation.tif"
        section.files.ask_open = section.files.ask_save
        section.export()
        self.wait(lambda: bool(endings), "the export")
        self.show_only("annotation")
        self.picture("review-accept")
        annotation = self.layer_named("annotation")
        wanted = annotation.data.copy()
        with annotation.block_history():
            annotation.data_setitem(np.nonzero(wanted), 0)
        section.open()
        self.wait(lambda: len(endings) == 2, "the opening of the export")
        if endings != ["done", "done"] or not np.array_equal(annotation.data, wanted):
            raise SystemExit(f"error: export and opening ended as {endings}")
        logger.info("exported %s", ", ".join(sorted(path.name for path in folder.iterdir())))

    def layer_named(self, end: str) -> Any:
        """Return the layer whose name ends so."""
        return next(layer for layer in self.viewer.layers if layer.name.endswith(f"· {end}"))

    def result(self, end: str) -> Any:
        """Return the data of that layer."""
        return self.layer_named(end).data

    def show_only(self, *ends: str) -> None:
        """Hide the other layers but the image."""
        for layer in self.viewer.layers:
            layer.visible = layer is self.layer or layer.name.endswith(tuple(ends))

    def close(self) -> None:
        """Close the window."""
        self.viewer.close()


def main() -> int:
    """Run the tour."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger().handlers[0].addFilter(lambda record: record.name == "tour")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("mask", type=Path)
    args = parser.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_LATENTFM_HOME"] = str(Path(folder) / "home")
        out = Path(folder) / "out"
        out.mkdir()
        tour = Tour(args.image, args.mask)
        tour.sample()
        tour.compare()
        tour.uncertain()
        tour.correct()
        kept = tour.accept()
        # It was never exported: for the next window this is as after a crash.
        tour.close()
        tour = Tour(args.image, args.mask)
        tour.sample()
        tour.recover(kept)
        tour.export(out)
        tour.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
