"""Victims that predict a folder and are resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from PIL import Image

from latentfm_core.cli.predict import main
from latentfm_core.files.temporary import PREFIX
from latentfm_core.output.result import read_sidecar
from robustness.crash.fixtures import write_images, write_model
from robustness.crash.process import Progress
from robustness.crash.rounds import Victim

OLD, NEW = "1", "2"
"""Seeds of an older result and of its replacement."""
COUNT = 3
UNEQUAL = ("created", "seconds", "maps_digest")
"""Facts of a result that differ between runs: each OME-TIFF has its own UUID."""


def _prepare(folder: Path) -> None:
    write_images(folder, COUNT, (80, 96))
    write_model(folder)


def _prepare_older(tiled: bool) -> Any:
    def prepare(folder: Path) -> None:
        _prepare(folder)
        if predict(folder, OLD, tiled, "--overwrite"):
            raise RuntimeError("the older results were not made")

    return prepare


def predict(folder: Path, seed: str, tiled: bool, going_on: str) -> int:
    """Segment the images of a folder; return the exit code."""
    words = [folder / "images", "--model", folder / "model", "--out", folder / "out"]
    words += ["--samples", "2", "--steps", "2", "--seed", seed, "--device", "cpu", going_on]
    words += ["--tiled", "--overlap", "0.25"] if tiled else []
    return main([str(word) for word in words])


def _work(tiled: bool, going_on: str) -> Any:
    def work(folder: Path, reached: Progress) -> int:
        return predict(folder, NEW, tiled, going_on)

    return work


def look(folder: Path, reached: int) -> list[str]:
    """Read every file under a final name; one with a JSON file is complete and of its seed."""
    found = []
    for path in sorted((folder / "out").rglob("*")):
        if _is_under_way(path, folder) or path.is_dir():
            continue
        try:
            if path.suffix == ".json" and path.parent == folder / "out":
                found += _check_result(path)
            elif path.suffix in (".tif", ".png"):
                _pixels(path)
        except Exception as error:
            found.append(f"{path.name} cannot be read: {error!r}")
    for path in (folder / "out").glob("[!.]*.zarr"):
        if "latentfm" not in zarr.open_group(str(path), mode="r").attrs:
            found.append(f"{path.name} exists before it is finished")
    return found


def _is_under_way(path: Path, folder: Path) -> bool:
    return any(part.startswith(PREFIX) for part in path.relative_to(folder).parts)


def _check_result(path: Path) -> list[str]:
    sidecar = read_sidecar(path)
    if sidecar is None:
        return [f"{path.name} is not the JSON file of a result"]
    files = [path.parent / name for names in sidecar.files.values() for name in names]
    missing = [each.name for each in files if not each.exists()]
    if missing:
        return [f"{path.name} lists {missing}, which do not exist"]
    for each in files:
        if each.suffix == ".zarr":
            facts: Any = zarr.open_group(str(each), mode="r").attrs["latentfm"]
            if tuple(facts["seeds"]) != sidecar.seeds:
                return [f"{path.name} has other seeds than its maps"]
        elif each.name.endswith("_samples.tif"):
            with tifffile.TiffFile(each) as tiff:
                if f"seed {sidecar.seeds[0]}" not in (
                    tiff.ome_metadata or str(tiff.pages.first.tags)
                ):
                    return [f"{path.name} has other seeds than its samples"]
    return []


def _pixels(path: Path) -> np.ndarray:
    if path.suffix == ".tif":
        return tifffile.imread(path)
    with Image.open(path) as image:
        return np.asarray(image)


def compare(folder: Path, whole: Path) -> list[str]:
    """Compare every file with that of an undisturbed prediction."""
    ours, theirs = _contents(folder / "out"), _contents(whole / "out")
    found = [f"missing: {name}" for name in theirs.keys() - ours.keys()]
    found += [f"unexpected: {name}" for name in ours.keys() - theirs.keys()]
    both = sorted(ours.keys() & theirs.keys())
    return found + [f"different content: {name}" for name in both if ours[name] != theirs[name]]


def _contents(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_dir() or name.startswith("."):
            continue
        # Every OME-TIFF has a new identifier.
        tiff = path.suffix == ".tif"
        found[name] = _pixels(path).tobytes() if tiff else path.read_bytes()
        if path.suffix == ".json" or path.name == ".zattrs":
            found[name] = _timeless(json.loads(path.read_text()))
    return found


def _timeless(values: Any) -> Any:
    if isinstance(values, dict):
        kept = {key: _timeless(each) for key, each in values.items() if key not in UNEQUAL}
        return kept
    return [_timeless(each) for each in values] if isinstance(values, list) else values


PREDICT = Victim(_prepare, _work(False, "--skip-done"), look, compare, share=4)
PREDICT_AGAIN = Victim(_prepare_older(False), _work(False, "--overwrite"), look, compare, share=2)
TILED = Victim(_prepare, _work(True, "--skip-done"), look, compare, share=4)
TILED_AGAIN = Victim(_prepare_older(True), _work(True, "--overwrite"), look, compare, share=2)
