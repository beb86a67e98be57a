"""``latentfm-predict --stack``: all planes of one TIFF file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from latentfm_core.config import READING, ReadingConfig, SamplingConfig
from latentfm_core.images.tiff_stack import TiffStack
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.inference.stack import StackProgress, stack_steps
from latentfm_core.output.sidecar import StackFacts
from latentfm_core.progress import finish
from latentfm_core.types import ImageInput, SampleSet, Summary


@dataclass(frozen=True)
class Segmented:
    """Result of one image or stack, ready to be written.

    Attributes
    ----------
    image
        The image, or one plane of the stack; provides pixel size and unit.
    samples
        Its samples, or those of the stack's first plane.
    summary
        The maps; for a stack, with a plane axis.
    seconds
        From the pixels in memory to the finished maps.
    stack
        Axes of the stack, if it is one.
    """

    image: ImageInput
    samples: SampleSet
    summary: Summary
    seconds: float
    stack: StackFacts | None = None


def _show(bar: tqdm[Any], step: StackProgress) -> None:
    bar.set_postfix_str(f"plane {step.plane}/{step.planes}", refresh=False)
    bar.update(0)


def check_stack(path: Path, plane: str, limits: ReadingConfig = READING) -> None:
    """Open a stack and read its first plane.

    Raises
    ------
    ImageError
        If the stack cannot be used.
    """
    with TiffStack(path, plane, limits) as stack:
        stack.read(0)


def segment_stack_file(
    path: Path,
    plane: str,
    segmenter: Segmenter,
    settings: SamplingConfig,
    bar: tqdm[Any],
    limits: ReadingConfig = READING,
) -> Segmented:
    """Segment all planes of a file, one at a time, and show the progress in `bar`.

    Raises
    ------
    ImageError
        If the file, or one of its planes, cannot be used or is larger than `limits` allow.
    ResourceError
        If there is not enough memory.
    """
    start = time.perf_counter()
    with TiffStack(path, plane, limits) as stack:
        steps = stack_steps(segmenter, len(stack), stack.read, settings, keep_probabilities=False)
        result = finish(steps, partial(_show, bar))
        first = stack.read(0)
        letters = "".join(stack.axes[axis] for axis in stack.plane)
        facts = StackFacts(
            axes=stack.axes,
            shape=stack.shape,
            plane=letters,
            depth=stack.depth,
            blank=result.blank,
            expected_dice=result.expected_dice,
            domain_score=result.domain_score,
        )
    seconds = time.perf_counter() - start
    return Segmented(first, result.first, result.summary, seconds, facts)
