"""``latentfm-predict --stack``: all planes of TIFF files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latentfm_core.cli.images import ImageJob, ImageMode, Segmented
from latentfm_core.cli.prediction import Show
from latentfm_core.cli.prompts import PromptedImage
from latentfm_core.images.tiff_stack import TiffStack
from latentfm_core.inference.stack import StackProgress, StackResult, stack_steps
from latentfm_core.output.sidecar import StackFacts
from latentfm_core.progress import finish


@dataclass(frozen=True)
class StackMode(ImageMode):
    """Prediction of all planes of TIFF files."""

    plane: str = field(kw_only=True)

    def check(self, image: Path, jobs: Sequence[ImageJob]) -> None:
        """Open a stack and read all of it."""
        with TiffStack(image, self.plane, self.limits) as stack:
            stack.check()

    def worker(self, jobs: Sequence[ImageJob]) -> Callable[[ImageJob, Show], None]:
        """Return a function that segments one of these files and writes its result."""
        return self._writer(self.segment)

    def segment(self, item: PromptedImage, show: Show) -> Segmented:
        """Segment a file."""

        def show_step(step: StackProgress) -> None:
            show(step.done, step.total, f"plane {step.plane} ({step.plane + 1} of {step.planes})")

        start = time.perf_counter()
        with TiffStack(item.image, self.plane, self.limits) as stack:
            count, read = len(stack), stack.read
            steps = stack_steps(
                self.segmenter, count, read, self.settings, keep_probabilities=False
            )
            result = finish(steps, show_step)
            first = stack.read(0)
            facts = stack_facts(stack, result)
        seconds = time.perf_counter() - start
        return Segmented(first, result.first, result.summary, seconds, facts)


def stack_facts(stack: TiffStack, result: StackResult) -> StackFacts:
    """Return axes and planes of a result, for its JSON file."""
    return StackFacts(
        axes=stack.axes,
        shape=stack.shape,
        plane="".join(stack.axes[axis] for axis in stack.plane),
        depth=stack.depth,
        blank=result.blank,
        expected_dice=result.expected_dice,
        domain_score=result.domain_score,
    )
