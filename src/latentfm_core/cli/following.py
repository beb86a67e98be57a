"""``latentfm-predict --stack --follow``: one object through the planes of a TIFF file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentfm_core.cli.images import ImageJob, Segmented, write
from latentfm_core.cli.prediction import Mode, Show
from latentfm_core.cli.prompts import PromptedImage
from latentfm_core.cli.stacks import stack_facts
from latentfm_core.errors import ImageError
from latentfm_core.images.tiff_stack import TiffStack
from latentfm_core.inference.following import FollowProgress, follow_steps
from latentfm_core.output.paths import output_names
from latentfm_core.output.result import Kind, ResultPlan, is_finished
from latentfm_core.output.sidecar import FollowingFacts
from latentfm_core.progress import finish
from latentfm_core.prompts import Prompt, group_of


@dataclass(frozen=True)
class FollowMode(Mode[ImageJob]):
    """Prediction of prompted objects in all planes of TIFF files.

    Attributes
    ----------
    kinds
        Maps of the results.
    plane
        Letters of the two axes that form a plane.
    start
        Number of the plane of the prompts.
    prompted
        Returns all objects of some files.
    """

    kinds: tuple[Kind, ...]
    plane: str
    start: int
    prompted: Callable[[Sequence[Path]], list[PromptedImage]]

    def plan(self, images: Sequence[Path]) -> list[ImageJob]:
        """Return a job for each object."""
        names = dict(zip(images, output_names(images), strict=True))
        count = self.settings.n_samples
        return [
            ImageJob(
                item,
                ResultPlan(self.out, names[item.image] + item.suffix, self.kinds, ("tiff",), count),
            )
            for item in self.prompted(images)
        ]

    def check(self, image: Path) -> None:
        """Open a stack and read the plane of the prompts."""
        with TiffStack(image, self.plane, self.limits) as stack:
            self._check_axes(stack)
            stack.read(self.start)

    def is_finished(self, job: ImageJob) -> bool:
        """Return whether a result is complete."""
        prompt = _prompt_of(job)
        settings = self.segmenter.resolved(self.settings, group_of(prompt))
        sha256 = self.segmenter.card.weights_sha256
        return is_finished(
            job.result, settings, sha256, self.plane, prompt.to_json(), start=self.start
        )

    def worker(self, jobs: Sequence[ImageJob]) -> Callable[[ImageJob, Show], None]:
        """Return a function that follows one of these objects and writes its result."""

        def work(job: ImageJob, show: Show) -> None:
            try:
                done = self._segment(job.image, _prompt_of(job), show)
            except ImageError as error:
                named = str(error).startswith(str(job.image))
                raise error if named else ImageError(f"{job.image}: {error}") from None
            write(job.result, job.image, done, self.segmenter)

        return work

    def _segment(self, path: Path, prompt: Prompt, show: Show) -> Segmented:
        def show_step(step: FollowProgress) -> None:
            show(step.number - 1, step.planes, f"plane {step.plane}")

        begin = time.perf_counter()
        with TiffStack(path, self.plane, self.limits) as stack:
            self._check_axes(stack)
            steps = follow_steps(
                self.segmenter,
                len(stack),
                stack.read,
                self.start,
                self.settings,
                prompt,
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


def _prompt_of(job: ImageJob) -> Prompt:
    """Return the prompt of a job; without one it matches nothing."""
    return Prompt() if job.item.prompt is None else job.item.prompt
