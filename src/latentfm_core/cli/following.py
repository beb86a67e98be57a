"""``latentfm-predict --stack --follow``: one object through the planes of a TIFF file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latentfm_core.cli.images import ImageJob, Segmented
from latentfm_core.cli.prediction import Show
from latentfm_core.cli.prompts import PromptedImage
from latentfm_core.cli.stacks import StackMode, stack_facts
from latentfm_core.errors import ImageError
from latentfm_core.images.tiff_stack import TiffStack
from latentfm_core.inference.following import FollowProgress, follow_steps
from latentfm_core.output.sidecar import FollowingFacts
from latentfm_core.progress import finish


@dataclass(frozen=True)
class FollowMode(StackMode):
    """Prediction of prompted objects in all planes of TIFF files."""

    start: int = field(kw_only=True)

    def check(self, image: Path, jobs: Sequence[ImageJob]) -> None:
        """Open a stack, read all of it, and check the prompts."""
        with TiffStack(image, self.plane, self.limits) as stack:
            self._check_axes(stack)
            shape = stack.read(self.start).pixels.shape
            stack.check()
        for job in jobs:
            job.item.check(shape)

    def segment(self, item: PromptedImage, show: Show) -> Segmented:
        """Follow an object through a file."""
        try:
            return self._follow(item, show)
        except ImageError as error:
            named = str(error).startswith(str(item.image))
            raise error if named else ImageError(f"{item.image}: {error}") from None

    def _follow(self, item: PromptedImage, show: Show) -> Segmented:
        def show_step(step: FollowProgress) -> None:
            where = f"plane {step.plane} ({step.number} of {step.planes})"
            show(step.number - 1, step.planes, where)

        begin = time.perf_counter()
        with TiffStack(item.image, self.plane, self.limits) as stack:
            self._check_axes(stack)
            steps = follow_steps(
                self.segmenter,
                len(stack),
                stack.read,
                self.start,
                self.settings,
                item.prompt,
                keep_probabilities=False,
            )
            followed = finish(steps, show_step)
            first, facts = stack.read(self.start), stack_facts(stack, followed.stack)
        return Segmented(
            first,
            followed.first,
            followed.stack.summary,
            time.perf_counter() - begin,
            facts,
            FollowingFacts(start=self.start, found=followed.found, missed=followed.missed),
        )

    def _check_axes(self, stack: TiffStack) -> None:
        if len(stack.along) != 1:
            across = ", ".join(stack.axes[axis] for axis in stack.along)
            raise ImageError(
                f"{stack.path}: planes along several axes ({across}). An object is followed along "
                "one axis; save a part of the stack."
            )
        if self.start >= len(stack):
            raise ImageError(
                f"{stack.path}: there is no plane {self.start}. Choose one from 0 to "
                f"{len(stack) - 1} with --follow."
            )
