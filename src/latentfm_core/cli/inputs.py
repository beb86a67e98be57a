"""Which files a command works on, and which of them cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from latentfm_core.cli.common import progress_bar
from latentfm_core.config import READING, ReadingConfig
from latentfm_core.errors import DatasetError, ImageError
from latentfm_core.images.read import list_images

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


def find_images(sources: Sequence[Path], limits: ReadingConfig = READING) -> list[Path]:
    """Return the images that `sources` (files and folders) name, each once.

    Raises
    ------
    ImageError
        If a source does not exist.
    DatasetError
        If a folder holds no image, or links out of it that `limits` do not allow.
    """
    found: dict[Path, Path] = {}
    for source in sources:
        if not source.exists():
            raise ImageError(f"{source}: there is no such file or folder. Check the path.")
        for path in list_images(source, limits) if source.is_dir() else [source]:
            found.setdefault(path.resolve(), path)
    return list(found.values())


@dataclass
class BadFiles:
    """Inputs that turned out unusable while ``--skip-bad`` was on.

    Attributes
    ----------
    total
        Number of all inputs.
    reasons
        What is wrong, by the name of the input.
    """

    total: int
    reasons: dict[str, str] = field(default_factory=dict)

    def skip(self, name: str, error: ImageError) -> None:
        """Take note of one."""
        self.reasons[name] = str(error)
        logger.warning("left out: %s", error)

    def check_any_left(self) -> None:
        """Raise if every input is bad.

        Raises
        ------
        DatasetError
            The message lists them all.
        """
        if self.total and len(self.reasons) == self.total:
            raise DatasetError(
                f"None of the {self.total} inputs can be used:\n  {self._listed()}\n"
                "Mend them, or name others."
            )

    def report(self) -> None:
        """List them all in the log."""
        if self.reasons:
            count = f"{len(self.reasons)} of {self.total}"
            logger.warning("%s inputs were left out:\n  %s", count, self._listed())

    def _listed(self) -> str:
        return "\n  ".join(self.reasons.values())


def check_all(items: Sequence[Item], read: Callable[[Item], object], quiet: bool) -> None:
    """Read every item once, so that a bad one stops the command before it has begun.

    Raises
    ------
    DatasetError
        If one or more cannot be used; the message lists them all.
    """
    problems = []
    with progress_bar(len(items), "checking files", "file", quiet or len(items) < 2) as bar:
        for item in items:
            try:
                read(item)
            except ImageError as error:
                problems.append(str(error))
            bar.update()
    if problems:
        listed = "\n  ".join(problems)
        raise DatasetError(
            f"{len(problems)} of {len(items)} inputs cannot be used; nothing was done:\n  "
            f"{listed}\nMend or remove them, or go on without them: --skip-bad."
        )
