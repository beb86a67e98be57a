"""Input files of a command, and the handling of unusable ones."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from latentfm_core.bars import progress_bar
from latentfm_core.config import READING, ReadingConfig
from latentfm_core.datasets.folds import FILE as FOLDS
from latentfm_core.errors import DatasetError, ImageError, OutputError
from latentfm_core.files.digest import content_digest
from latentfm_core.images.open_large import is_zarr
from latentfm_core.images.read import list_images, log_subfolders
from latentfm_core.model_io.file_names import ENSEMBLE
from latentfm_core.names import counted, is_there, shown
from latentfm_core.once import Hints
from latentfm_core.output.paths import name_problem
from latentfm_core.output.result import read_sidecar

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


def find_images(sources: Sequence[Path], limits: ReadingConfig = READING) -> list[Path]:
    """Return the images that `sources` (files and folders) name, each once.

    Raises
    ------
    ImageError
        If a source does not exist.
    DatasetError
        If a folder contains no image, or links out of it that `limits` do not allow.
    """
    found: dict[Path, Path] = {}
    for source in sources:
        if not is_there(source) and not source.is_symlink():
            raise ImageError(f"{shown(source)}: no such file or folder. Check the path.")
        if is_zarr(source):
            raise ImageError(f"{shown(source)} is a Zarr image. Add --tiled.")
        for path in list_images(source, limits) if source.is_dir() else [source]:
            first = found.setdefault(Path(os.path.realpath(path)), path)
            if first is not path:
                logger.warning(
                    "%s is the same file as %s and is processed once", shown(path), shown(first)
                )
        if source.is_dir():
            log_subfolders(source)
    return list(found.values())


def reject_among(sources: Sequence[Path], out: Path) -> None:
    """Raise `OutputError` if an output folder is also a folder of images or masks."""
    if any(source.is_dir() and source.resolve() == out.resolve() for source in sources):
        raise OutputError(
            f"{shown(out)} contains images or masks of this run, and the next run would mistake "
            "the results for images or masks. Choose another --out."
        )


def reject_models(out: Path) -> None:
    """Reject an output folder that contains a model, an ensemble or a training run.

    Raises
    ------
    OutputError
        If it does; the message names a file of it.
    """
    cards = [out / name for name in (FOLDS, ENSEMBLE)]
    held = [path for path in cards if path.is_file() and read_sidecar(path) is None]
    # Only models and their training have weights.
    held += sorted([*out.glob("*.safetensors"), *out.glob("*/checkpoint.safetensors")])
    if held:
        raise OutputError(
            f"{shown(out)} has a model or a training run ({held[0].relative_to(out)}), and its "
            "files could be replaced. Choose another --out."
        )


def digest_of(image: Path) -> str:
    """Return the digest of an image, which its sidecar keeps; empty if it cannot be read."""
    try:
        return content_digest(image)
    except OSError:
        return ""


@dataclass
class BadFiles:
    """Inputs that were skipped as unusable with ``--skip-bad``."""

    total: int
    reasons: dict[str, str] = field(default_factory=dict)
    hints: Hints = field(default_factory=Hints)

    def skip(self, name: str, error: ImageError) -> None:
        """Record one."""
        self.reasons[name] = str(error)
        logger.warning("skipped: %s", self.hints.once(str(error)))

    def check_any_left(self) -> None:
        """Raise a `DatasetError` that lists all inputs if every one is bad."""
        if self.total and len(self.reasons) == self.total:
            listed = Hints().listed(self.reasons.values())
            raise DatasetError(
                f"None of the {self.total} inputs can be used:\n  {listed}\n"
                "Fix them, or choose other files."
            )

    def report(self) -> None:
        """List all of them in the log."""
        if self.reasons:
            count = f"{len(self.reasons)} of {self.total}"
            listed = self.hints.listed(self.reasons.values())
            logger.warning("%s inputs were skipped:\n  %s", count, listed)


def with_possible_names(
    jobs: Sequence[Item], image: Callable[[Item], Path], files: Callable[[Item], Iterable[Path]]
) -> tuple[list[Item], dict[str, ImageError]]:
    """Return the jobs with valid file names, and the problems of the others by image."""
    possible: list[Item] = []
    problems: dict[str, ImageError] = {}
    for job in jobs:
        problem = name_problem(image(job), files(job))
        if problem:
            problems[str(image(job))] = ImageError(problem)
        else:
            possible.append(job)
    return possible, problems


def reject_all(problems: Sequence[str], total: int) -> None:
    """Raise a `DatasetError` that lists the problems of inputs, if there are any."""
    if problems:
        listed = Hints().listed(problems)
        raise DatasetError(
            f"{len(problems)} of {counted(total, 'input')} cannot be used; nothing was done:\n  "
            f"{listed}\nFix or remove them, or skip them with --skip-bad."
        )


def check_all(items: Sequence[Item], read: Callable[[Item], object], quiet: bool) -> None:
    """Read every item once, so that a bad one stops the command before any work.

    Raises
    ------
    DatasetError
        If one or more cannot be used; the message lists all of them.
    """
    problems = []
    with progress_bar(len(items), "checking files", "file", quiet or len(items) < 2) as bar:
        for item in items:
            try:
                read(item)
            except ImageError as error:
                problems.append(str(error))
            bar.update()
    reject_all(problems, len(items))
