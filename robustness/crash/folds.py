"""Compare a killed and resumed cross-validation with an undisturbed one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from latentfm_core.cli.train import main
from latentfm_core.datasets.folds import FILE, read_folds
from latentfm_core.model_io.folder import read_card
from latentfm_core.training.fold_checks import begun_fold
from latentfm_core.training.fold_table import CSV, JSON
from robustness.crash.process import Progress
from robustness.crash.rounds import Victim
from robustness.crash.training import compare_runs, look_at_run, prepare_run

FOLDS = 2


def _work(folder: Path, reached: Progress) -> int:
    out = folder / "out"
    words = ["--config", str(folder / "config.toml"), "--folds", str(FOLDS)]
    if begun_fold(out) is not None:
        words = ["--resume"]
    return main(["--out", str(out), *words])


def _look(folder: Path, reached: int) -> list[str]:
    """Read the folds and their runs; once the table is there, the ensemble as well."""
    out = folder / "out"
    found = [text for fold in range(FOLDS) for text in look_at_run(out / f"fold_{fold}")]
    readers: dict[str, Callable[[Path], object]] = {FILE: read_folds, CSV: _read_ensemble}
    for name, read in readers.items():
        if (out / name).exists():
            try:
                read(out / name)
            except Exception as error:
                found.append(f"{name} cannot be read: {error!r}")
    return found


def _read_ensemble(table: Path) -> None:
    if len(read_card(table.parent).members) != FOLDS:
        raise ValueError("the table is there, and a fold is not")


def _compare(folder: Path, whole: Path) -> list[str]:
    found = []
    for fold in range(FOLDS):
        name = f"fold_{fold}"
        found += compare_runs(folder / "out" / name, whole / "out" / name)
    # The JSON holds hashes of the weights files, which do not depend on the run's times.
    for name in (FILE, CSV, JSON):
        ours, theirs = ((each / "out" / name).read_text() for each in (folder, whole))
        if ours != theirs:
            found.append(f"{name} differs")
    return found


CROSS_VALIDATE = Victim(prepare_run, _work, _look, _compare, most=8, share=3)
