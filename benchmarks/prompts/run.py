"""All methods on all images of a part, and the figures of the part."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.prompts.answers import Method
from benchmarks.prompts.bootstrap import interval
from benchmarks.prompts.cases import PromptCase, Selection, read_cases
from benchmarks.prompts.classical import EllipseInBox, GrabCut, RandomWalker
from benchmarks.prompts.measure import Figures, measure
from benchmarks.prompts.model import LatentFMMethod
from benchmarks.prompts.settings import DataSettings, MeasureSettings
from benchmarks.prompts.unet import UNetMethod
from latentfm_core.bars import is_quiet
from latentfm_core.errors import ConfigError, DatasetError

logger = logging.getLogger(__name__)

ROWS = ("model", "unet", "ellipse", "random_walker", "grabcut")
"""Names of the methods on the command line."""


def make_method(row: str, model: str, unet: Path | None, settings: MeasureSettings) -> Method:
    """Return a method by its name in `ROWS`.

    Raises
    ------
    ConfigError, ModelFolderError, ResourceError
        If the model, the trained U-Net or a library is missing.
    """
    if row == "model":
        return LatentFMMethod(model, settings)
    if row == "unet":
        if unet is None:
            raise ConfigError("The row unet needs --unet FOLDER, written by train-unet.")
        return UNetMethod(unet, settings)
    classical: dict[str, Callable[[], Method]] = {
        "ellipse": EllipseInBox,
        "random_walker": RandomWalker,
        "grabcut": GrabCut,
    }
    return classical[row]()


@dataclass(frozen=True)
class ImageFigures:
    """Figures of one image.

    Attributes
    ----------
    name, group
        Of the image.
    runs
        Figures for each seed.
    """

    name: str
    group: str
    runs: tuple[Figures, ...]

    def mean(self, figure: str) -> float:
        """Return a figure as the mean over the seeds."""
        return statistics.fmean(run[figure] for run in self.runs)


def run_row(
    method: Method, selection: Selection, data: DataSettings, settings: MeasureSettings
) -> list[ImageFigures]:
    """Measure a method on all images.

    Raises
    ------
    DatasetError
        If no image has an object.
    """
    seeds = settings.seeds if method.stochastic else settings.seeds[:1]
    found: list[ImageFigures] = []
    with tqdm(
        total=len(selection.pairs),
        desc=method.label,
        unit="image",
        mininterval=5.0,
        disable=is_quiet(logger),
    ) as bar:
        for case in read_cases(selection, data):
            runs = tuple(_seeded(method, case, settings, seed) for seed in seeds)
            found.append(ImageFigures(case.image.name, case.group, runs))
            bar.update()
    if not found:
        raise DatasetError(f"No image of {data.name} has an object to point at.")
    return found


def _seeded(method: Method, case: PromptCase, settings: MeasureSettings, seed: int) -> Figures:
    method.reseed(seed)
    return measure(method, case, settings)


def summarise_row(images: Sequence[ImageFigures]) -> dict[str, dict[str, Any]]:
    """Return mean, confidence interval and spread over seeds of every figure.

    Returns
    -------
    dict
        For each figure ``mean``, ``interval`` (low and high, or None), ``seed_sd`` (standard
        deviation over the seeds of the mean over the images, n - 1; None with one seed).
    """
    groups = [image.group for image in images]
    summary = {}
    for figure in images[0].runs[0]:
        values = [image.mean(figure) for image in images]
        by_seed = [
            statistics.fmean(image.runs[i][figure] for image in images)
            for i in range(len(images[0].runs))
        ]
        summary[figure] = {
            "mean": float(np.mean(values)),
            "interval": interval(values, groups),
            "seed_sd": statistics.stdev(by_seed) if len(by_seed) > 1 else None,
        }
    return summary
