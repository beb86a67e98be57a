"""``latentfm-predict``: images, and objects in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from latentfm_core.cli.inputs import digest_of
from latentfm_core.cli.object_draws import ObjectDraws
from latentfm_core.cli.prediction import Mode, Show
from latentfm_core.cli.prompts import PromptedImage
from latentfm_core.files.disk_errors import check_still_there
from latentfm_core.images.read import read_image
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.inference.training_distance import domain_digest
from latentfm_core.output.kinds import Format, Kind
from latentfm_core.output.paths import output_names, printable
from latentfm_core.output.result import (
    PNG_WHITE,
    ResultPlan,
    is_finished,
    write_result,
)
from latentfm_core.output.sidecar import FollowingFacts, Sidecar, StackFacts
from latentfm_core.prompts import group_of
from latentfm_core.types import ImageInput, SampleSet, Summary


@dataclass(frozen=True)
class ImageJob:
    """One image, or one object in it, and the destination of its result."""

    item: PromptedImage
    result: ResultPlan

    @property
    def image(self) -> Path:
        """The file of the image."""
        return self.item.image

    @property
    def name(self) -> str:
        """Prefix of its file names."""
        return self.result.name

    @property
    def sidecar(self) -> Path:
        """The JSON file of the result."""
        return self.result.sidecar

    def paths(self) -> list[Path]:
        """Return its files, the JSON file last."""
        return self.result.paths()


@dataclass(frozen=True)
class Segmented:
    """Result of one image or stack, ready to be written.

    Attributes
    ----------
    image
        The image, or one plane of the stack; provides pixel size and unit.
    samples
        Its samples, or those of the stack's first plane; of a followed object, those of the
        plane on which it was prompted.
    summary
        The maps; for a stack, with a plane axis.
    seconds
        From the pixels in memory to the finished maps.
    stack
        Axes of the stack, if it is one.
    following
        Planes of an object that was followed through the stack.
    """

    image: ImageInput
    samples: SampleSet
    summary: Summary
    seconds: float
    stack: StackFacts | None = None
    following: FollowingFacts | None = None


@dataclass(frozen=True)
class ImageMode(Mode[ImageJob]):
    """Prediction of images, and of objects in them.

    Attributes
    ----------
    kinds, formats
        Maps and file formats of the results.
    items
        All images, or all objects in them.
    plane
        Of stacks, letters of the two axes that form a plane.
    start
        Number of the plane from which objects are followed through a stack.
    checked
        Whether all images have been read and their prompts checked.
    """

    kinds: tuple[Kind, ...]
    formats: tuple[Format, ...]
    items: Sequence[PromptedImage]
    plane: str | None = field(default=None, kw_only=True)
    start: int | None = field(default=None, kw_only=True)
    checked: bool = field(default=False, kw_only=True)

    def plan(self, images: Sequence[Path]) -> list[ImageJob]:
        """Return a job for each object."""
        names = dict(zip(images, output_names(images), strict=True))

        def job(item: PromptedImage) -> ImageJob:
            count, channel = self.settings.n_samples, self.limits.channel
            name = names[item.image] + item.suffix
            plan = ResultPlan(self.out, name, self.kinds, self.formats, count, channel)
            return ImageJob(item, plan)

        return [job(item) for item in self.items]

    def check(self, image: Path, jobs: Sequence[ImageJob]) -> None:
        """Read an image to check it, and the prompts of its objects."""
        if self.checked:
            return
        shape = read_image(image, self.limits).pixels.shape
        for job in jobs:
            job.item.check(shape)

    def is_finished(self, job: ImageJob) -> bool:
        """Return whether a result is complete."""
        prompt = job.item.prompt
        group, card = group_of(prompt), self.segmenter.card
        return is_finished(
            job.result,
            self.segmenter.resolved(self.settings, group),
            None if prompt is None else prompt.to_json(),
            prompt_source=job.item.source,
            stack=None if self.plane is None else {"plane": self.plane},
            following=None if self.start is None else {"start": self.start},
            model_sha256=card.weights_sha256,
            calibration_sha256=card.calibration_digest(group),
            domain_sha256=domain_digest(self.segmenter),
        )

    def worker(self, jobs: Sequence[ImageJob]) -> Callable[[ImageJob, Show], None]:
        """Return a function that segments one of these jobs and writes its result."""
        items = [job.item for job in jobs]
        draws = ObjectDraws(self.segmenter, self.settings, items, self.limits)

        return self._writer(lambda item, show: _segment(item, draws, show))

    def _writer(
        self, segment: Callable[[PromptedImage, Show], Segmented]
    ) -> Callable[[ImageJob, Show], None]:
        digest = lru_cache(maxsize=1)(digest_of)  # of all objects of an image

        def work(job: ImageJob, show: Show) -> None:
            # Before the image is read: a file that is replaced meanwhile is then noticed later.
            of_image = digest(job.image)
            write(job, segment(job.item, show), self.segmenter, of_image)

        return work


def _segment(item: PromptedImage, draws: ObjectDraws, show: Show) -> Segmented:
    def show_step(step: Progress) -> None:
        show(step.done, step.total, f"ODE step {step.done}/{step.total}")

    start = time.perf_counter()
    image, samples = draws.get(item, show_step)
    summary = draws.segmenter.summarise(samples)
    return Segmented(image, samples, summary, time.perf_counter() - start)


def write(job: ImageJob, done: Segmented, segmenter: Segmenter, image_digest: str) -> None:
    """Write the result of an image or stack.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    sidecar = describe_result(job, done, segmenter, image_digest)
    check_still_there(job.result.folder)
    write_result(job.result, done.image, done.samples, done.summary, sidecar)


def describe_result(
    job: ImageJob, done: Segmented, segmenter: Segmenter, image_digest: str
) -> Sidecar:
    """Return the provenance of the result of an image file."""
    plan = job.result
    png = {kind: PNG_WHITE[kind] for kind in plan.kinds if kind in PNG_WHITE}
    samples = done.samples
    return Sidecar.of(
        samples.record,
        done.image,
        image=printable(job.image.name),
        image_digest=image_digest,
        prompt_source=job.item.source,
        channel=plan.channel,
        shape=samples.geometry.shape,
        window=samples.geometry.window,
        device=segmenter.device_label,
        seconds=done.seconds,
        files=plan.by_kind(),
        png_white=png if "png" in plan.formats else {},
        expected_dice=done.summary.expected_dice,
        domain_score=_domain_score(done),
        domain_sha256=domain_digest(segmenter),
        stack=done.stack,
        following=done.following,
    )


def _domain_score(done: Segmented) -> float | None:
    """Return the domain score of an image, of a stack the largest of its planes."""
    if done.stack is None:
        return done.summary.domain_score
    return max((score for score in done.stack.domain_score if score is not None), default=None)
