"""Victim that exports a model."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from latentfm_core.cli.export import main
from latentfm_core.export.parts import RECIPE
from latentfm_core.model_io.folder import file_sha256
from robustness.crash.fixtures import write_model
from robustness.crash.process import Progress
from robustness.crash.rounds import Victim


def _work(folder: Path, reached: Progress) -> int:
    common = ["--model", str(folder / "model"), "--samples", "2", "--overwrite", "--quiet"]
    out = ["--format", "onnx", "--out", str(folder / "parts")]
    return main([*common, *out]) or main(
        [*common, "--format", "bioimageio", "--out", str(folder / "model.zip")]
    )


def _look(folder: Path, reached: int) -> list[str]:
    """Check that files with their final name are complete."""
    found = []
    parts, package = folder / "parts", folder / "model.zip"
    if parts.exists():
        if not (parts / RECIPE).is_file():
            return [f"{parts.name} has no {RECIPE}"]
        files = json.loads((parts / RECIPE).read_text("utf-8"))["files"]
        found += [name for name, sha256 in files.items() if file_sha256(parts / name) != sha256]
    if package.exists():
        with zipfile.ZipFile(package) as archive:
            broken = archive.testzip()
        found += [] if broken is None else [f"{broken} in {package.name}"]
    return found


def _compare(folder: Path, whole: Path) -> list[str]:
    names = sorted(path.name for path in (whole / "parts").iterdir())
    ours = sorted(path.name for path in (folder / "parts").iterdir())
    if ours != names:
        return [f"files {ours} instead of {names}"]
    return [
        f"another content: {name}"
        for name in names
        if file_sha256(folder / "parts" / name) != file_sha256(whole / "parts" / name)
    ]


MODEL_EXPORT = Victim(write_model, _work, _look, _compare, share=1)
