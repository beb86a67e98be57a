"""A scripted clinician annotates a folder of images with mouse and keyboard, in a real window.

    python -m benchmarks.clinician --data ../shared/data --out runs/clinician

The images of `images.txt` are copied into a folder, which the clinician opens in the dock and
works through. A mean mask with a Dice of at least 0.85 with the expert's mask is accepted as it is
(an easy image); otherwise the clinician draws a box around the largest object first. Mouse and key
events go to what is visible at a place on the screen; the state of the program is only read. Each
screen size has its own virtual display (`xvfb-run`) and process.

Writes `SIZE/*.png`, a screenshot of each stage, `SIZE.json`, and `table.md`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

logger = logging.getLogger("clinician")
LIST = Path(__file__).with_name("images.txt")
SIZES = ("1024x768", "1280x720", "1920x1080")
LOOK = 2.0


def copy_images(data: Path, folder: Path) -> dict[str, Path]:
    """Copy the images of the list, and return the expert's mask of each by its name."""
    experts = {}
    folder.mkdir()
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            image = data / line
            shutil.copyfile(image, folder / image.name)
            experts[image.name] = image.parent.parent / "masks" / f"{image.stem}.png"
    return experts


def work_here(data: Path, out: Path, size: str, look: float) -> dict[str, Any]:
    """Let the clinician work in this process, on this screen."""
    # napari's own settings keep the places of docks on the screen before.
    os.environ["NAPARI_CONFIG"] = str(out / f"{size}.napari.yaml")
    Path(os.environ["NAPARI_CONFIG"]).unlink(missing_ok=True)
    import napari

    from benchmarks.clinician.hands import Hands
    from benchmarks.clinician.work import Clinician

    pictures = out / size
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["NAPARI_LATENTFM_HOME"] = str(Path(scratch) / "home")
        folder = Path(scratch) / "images"
        experts = copy_images(data, folder)
        viewer: Any = napari.Viewer(show=True)
        width, height = map(int, size.split("x"))
        window: Any = viewer.window._qt_window
        window.setGeometry(0, 0, width, height)
        window.activateWindow()
        clinician = Clinician(viewer, Hands(pictures), folder, experts, look)
        costs = clinician.work()
        shown = [window.width(), window.height()]
        viewer.close()
    return {"size": size, "window": shown, "look": look, "images": [asdict(c) for c in costs]}


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return medians of each screen size as Markdown."""
    lines = [
        "| window | images | keys | clicks | drags | outline, s | all layers, s | "
        "GUI thread, s | answer to a box, s | Dice before | after |",
        f"|{' --- |' * 11}",
    ]
    for result in results:
        for kind in (True, False):
            images = [each for each in result["images"] if each["easy"] is kind]
            if images:
                lines.append(_row(result["size"], kind, images))
    return "\n".join(lines) + "\n"


def _row(size: str, easy: bool, images: list[dict[str, Any]]) -> str:
    def middle(key: str, those: list[dict[str, Any]] = images) -> str:
        values = [each[key] for each in those if each[key] is not None]
        return f"{statistics.median(values):.2f}".rstrip("0").rstrip(".") if values else ""

    # The samples of the first image cannot be drawn ahead.
    following = [each for each in images if each["ready"]]
    cells = [
        size,
        f"{len(images)} {'easy' if easy else 'hard'}",
        middle("keys"),
        middle("clicks"),
        middle("drags"),
        middle("outline_seconds", following),
        middle("open_seconds", following),
        middle("gui_seconds", following),
        middle("answer_seconds"),
        middle("dice_before"),
        middle("dice_after"),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run each screen size in its own display."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.clinician", description=str(__doc__).split("\n")[0]
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/clinician"))
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="WIDTHxHEIGHT")
    parser.add_argument("--look", type=float, default=LOOK, help="seconds at each image")
    parser.add_argument("--here", metavar="WIDTHxHEIGHT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.here:
        result = work_here(args.data, args.out, args.here, args.look)
        (args.out / f"{args.here}.json").write_text(json.dumps(result, indent=1) + "\n")
        return
    for size in args.sizes:
        screen = ["xvfb-run", "--auto-servernum", f"--server-args=-screen 0 {size}x24"]
        again = [sys.executable, "-m", "benchmarks.clinician", "--here", size]
        options = ["--data", str(args.data), "--out", str(args.out), "--look", str(args.look)]
        subprocess.run([*screen, *again, *options], check=True)
    results = [json.loads((args.out / f"{size}.json").read_text()) for size in args.sizes]
    (args.out / "table.md").write_text(table(results))
    sys.stdout.write(table(results))


if __name__ == "__main__":
    main()
