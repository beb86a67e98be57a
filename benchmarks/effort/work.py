"""Work through images with or without adaptation, and compare models on other images."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from imageio.v3 import imread, imwrite
from tqdm import tqdm

from benchmarks.effort.annotator import Effort, annotate, mean_mask
from benchmarks.effort.data import Selection
from latentfm_core.adaptation.record import AdaptationFolder
from latentfm_core.adaptation.session import AcceptedImage, AdaptationSession
from latentfm_core.bars import is_quiet
from latentfm_core.files.atomic import write_text
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.metrics.overlap import dice
from latentfm_core.prompts.annotator import first_prompt

logger = logging.getLogger(__name__)

Result = dict[str, Any]


class ResultFile:
    """The result of a run, written after each image so that the run can be resumed."""

    def __init__(self, path: Path, settings: Result) -> None:
        self._path = path
        self.values: Result = {"settings": settings, "plain": [], "adapted": [], "others": {}}
        if path.is_file():
            found = json.loads(path.read_text("utf-8"))
            if found["settings"] != settings:
                raise SystemExit(f"{path} is of a run with other settings; choose another --out.")
            self.values = found

    def write(self) -> None:
        """Write the file atomically."""
        write_text(self._path, json.dumps(self.values, indent=1) + "\n")

    def efforts(self, arm: str) -> list[Effort]:
        """Return the work so far, with arm ``"plain"`` or ``"adapted"``."""
        return [Effort(**each) for each in self.values[arm]]


def work_plain(model: str, selection: Selection, result: ResultFile) -> None:
    """Work through the images of the other arm with the original model alone."""
    segmenter = Segmenter.load(model, "cpu")
    names = [effort.name for effort in result.efforts("adapted")][len(result.values["plain"]) :]
    for name in tqdm(names, desc="plain", mininterval=5.0, disable=is_quiet(logger)):
        effort, _ = annotate(segmenter, *selection.read(name), 0)
        result.values["plain"].append(effort.to_json())
        result.write()


def work_adapted(
    session: AdaptationSession,
    folder: Path,
    selection: Selection,
    names: Iterable[str],
    result: ResultFile,
    at: Sequence[int],
    compare: Callable[[int], None],
    expert_masks: bool = False,
) -> None:
    """Work through the images, and adapt the model after each; it has all its time for that.

    Parameters
    ----------
    folder
        For the adapted model and the accepted masks.
    names
        Images to work through, in order, without those that `result` contains.
    at
        Numbers of accepted images after which `compare` is called.
    expert_masks
        Whether the expert's masks are accepted, whatever the answers are.
    """
    adaptation = AdaptationFolder(folder)
    done = result.efforts("adapted")
    if done and session.load(adaptation):
        for effort in done:
            mask = imread(_mask(folder, effort.name)) > 0
            _exhaust(session.restore(_accepted(selection, effort.name, mask)))
    for count, name in enumerate(names, start=len(done) + 1):
        image, target = selection.read(name)
        used = session.comparison.used
        segmenter = session.adapted if used else session.present
        learned = len(session.record.images) if used else 0
        effort, mask = annotate(segmenter, image, target, learned)
        mask = target if expert_masks else mask
        _mask(folder, name).parent.mkdir(parents=True, exist_ok=True)
        imwrite(_mask(folder, name), mask.astype(np.uint8) * 255)
        _exhaust(session.accept(_accepted(selection, name, mask)))
        _exhaust(session.train())
        with adaptation.writing():
            comparison = session.save(adaptation)
        result.values["adapted"].append(effort.to_json())
        result.values["seconds"] = session.record.seconds
        figures = comparison.figures() if comparison.n_tests else ""
        logger.info("%d: %d clicks, used %s, %s", count, effort.clicks, comparison.used, figures)
        if count in at:
            compare(count)
        result.write()


def work_afterwards(
    session: AdaptationSession, names: Sequence[str], selection: Selection
) -> Result:
    """Return the work on other images with both models, whichever is in use."""
    found: Result = {"plain": [], "adapted": []}
    for name in tqdm(names, desc="clicks afterwards", mininterval=5.0, disable=is_quiet(logger)):
        image, target = selection.read(name)
        learned = len(session.record.images)
        found["plain"].append(annotate(session.present, image, target, 0)[0].to_json())
        found["adapted"].append(annotate(session.adapted, image, target, learned)[0].to_json())
    return found


def dice_without_prompt(
    segmenter: Segmenter, selection: Selection, what: str
) -> tuple[list[float], list[float]]:
    """Return the Dice on the other images, without a prompt and with the box of the mask."""
    none, box = [], []
    for name in tqdm(selection.others, desc=what, mininterval=5.0, disable=is_quiet(logger)):
        image, target = selection.read(name)
        none.append(dice(mean_mask(segmenter, image), target))
        box.append(dice(mean_mask(segmenter, image, first_prompt(target, "box")), target))
    return none, box


def _accepted(selection: Selection, name: str, mask: Any) -> AcceptedImage:
    return AcceptedImage(selection.read(name)[0], np.asarray(mask, np.uint8), f"{name}.png")


def _mask(folder: Path, name: str) -> Path:
    return folder / "masks" / f"{name}.png"


def _exhaust(steps: Iterator[object]) -> None:
    for _ in steps:
        pass
