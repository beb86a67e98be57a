"""What ``latentfm-predict`` does with its arguments."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from latentfm_core.cli.common import progress_bar, say
from latentfm_core.cli.first_look import first_look
from latentfm_core.cli.inputs import (
    BadFiles,
    check_all,
    find_images,
    refuse_all,
    refuse_among,
    with_possible_names,
)
from latentfm_core.cli.model import load_segmenter
from latentfm_core.cli.options import (
    reading_from,
)
from latentfm_core.cli.predict import FORMATS
from latentfm_core.cli.prompts import (
    ObjectDraws,
    PromptedImage,
    prompted_images,
)
from latentfm_core.cli.stacks import Segmented, check_stack, segment_stack_file
from latentfm_core.cli.tiled import check_arguments, predict_tiled
from latentfm_core.config import SamplingConfig
from latentfm_core.errors import ConfigError, ImageError, OutputError
from latentfm_core.files.disk_errors import check_still_there
from latentfm_core.images.read import read_image
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.device import own_device
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.output.paths import output_names, prepare_folder, printable, refuse_existing
from latentfm_core.output.result import (
    PNG_WHITE,
    ResultPlan,
    is_finished,
    write_result,
)
from latentfm_core.output.sidecar import Sidecar
from latentfm_core.prediction.claims import Claims, alone, shared
from latentfm_core.prompts import group_of
from latentfm_core.torchrun import Launch, read_launch

# Under ``python -m`` this module is named "__main__", whose logger has no handler.
logger = logging.getLogger("latentfm_core.cli.predict")


@dataclass(frozen=True)
class Job:
    """One image, or one object in it, and the destination of its result."""

    item: PromptedImage
    plan: ResultPlan

    @property
    def image(self) -> Path:
        """The file of the image."""
        return self.item.image


def find_inputs(args: argparse.Namespace) -> list[Path]:
    """Return the images given by the arguments.

    Raises
    ------
    LatentFMError
        If there are none, or ``--out`` is one of the image folders.
    """
    refuse_among(args.images, args.out)
    return find_images(args.images, reading_from(args))


def plan_jobs(images: Sequence[Path], args: argparse.Namespace, n_samples: int) -> list[Job]:
    """Return a job for each image.

    Raises
    ------
    OutputError
        If two results would have the same name.
    """
    formats = ("tiff",) if args.stack else FORMATS[args.format]
    names = dict(zip(images, output_names(images), strict=True))
    return [
        Job(
            item,
            ResultPlan(args.out, names[item.image] + item.suffix, args.outputs, formats, n_samples),
        )
        for item in prompted_images(images, args, reading_from(args))
    ]


def run(args: argparse.Namespace, command: str) -> None:
    """Run the command."""
    check_arguments(args)
    if (args.stack or args.tiled) and (args.box is not None or args.prompts is not None):
        raise ConfigError("--box and --prompts cannot be used with --stack or --tiled.")
    if args.tiled:
        predict_tiled(args)
        return
    if args.stack and args.format == "png":
        raise OutputError("A stack is written as TIFF. Remove --format png.")
    launch = read_launch()
    if launch.size > 1:
        _join(args, launch)
    images = find_inputs(args)  # a wrong path fails before the model is loaded
    segmenter, settings = load_segmenter(args, group=None)
    jobs, unnamed = with_possible_names(
        plan_jobs(images, args, settings.n_samples),
        lambda job: job.image,
        lambda job: job.plan.paths(),
    )
    if not args.skip_bad:
        refuse_all([str(error) for error in unnamed.values()], len(images))
    claims, there = Claims(args.out), args.out.is_dir()
    if not there and not args.skip_bad:
        check_all(_files(jobs), _check(args), args.quiet)
    prepare_folder(args.out)
    with claims.whole_folder(launch):
        # Under the lock, because another command may just have finished there.
        left = _check_jobs(jobs, segmenter, settings, claims, args, launch, check_files=there)
        bad = BadFiles(len(left) + len(unnamed))
        for name, error in unnamed.items():
            bad.skip(name, error)
        _predict_all(left, segmenter, settings, claims, args, launch, bad)
    # A process does not know what the others did; together they did everything.
    total = len(jobs) + len(unnamed)
    done = bad.total if launch.size == 1 else total
    if launch.first:
        what = "objects" if args.prompts is not None else "images"
        say(f"{done - len(bad.reasons)} of {total} {what} segmented into {args.out}")
        look = first_look(job.plan for job in jobs)
        if look is not None:
            say(look)
        bad.report()


def _check_jobs(
    jobs: Sequence[Job],
    segmenter: Segmenter,
    settings: SamplingConfig,
    claims: Claims,
    args: argparse.Namespace,
    launch: Launch,
    check_files: bool = True,
) -> list[Job]:
    """Return the remaining jobs; refuse existing results and bad images."""
    left = list(jobs)
    if args.skip_done:
        left = _unfinished(jobs, _finished_with(segmenter, settings, args), claims)
    if not args.overwrite and launch.size == 1:
        whole = left
        if args.skip_done:  # unfinished results of a killed run may be replaced
            whole = [job for job in left if not claims.begun(job.plan)]
        refuse_existing([path for job in whole for path in job.plan.paths()], "--skip-done")
    if check_files and not args.skip_bad:
        check_all(_files(left), _check(args), args.quiet)
    return left


def _predict_all(
    left: Sequence[Job],
    segmenter: Segmenter,
    settings: SamplingConfig,
    claims: Claims,
    args: argparse.Namespace,
    launch: Launch,
    bad: BadFiles,
) -> None:
    with progress_bar(len(left), "segmenting", "image", args.quiet) as bar:
        if launch.size == 1:
            with closing(alone(left, lambda job: job.plan, claims, args.overwrite)) as mine:
                run_jobs(mine, left, segmenter, settings, bad, args, bar)
        else:
            finished = _finished_with(segmenter, settings, args)
            shares = _shared(left, launch, finished, claims, bar)
            run_jobs(shares, left, segmenter, settings, bad, args, bar)
    if launch.size > 1:
        claims.remove()
    bad.check_any_left()


def _files(jobs: Iterable[Job]) -> list[Path]:
    """Return the files of the jobs, each once even if it has several objects."""
    return list(dict.fromkeys(job.image for job in jobs))


def _finished_with(
    segmenter: Segmenter, settings: SamplingConfig, args: argparse.Namespace
) -> Callable[[Job], bool]:
    return partial(
        _finished,
        settings=settings,
        segmenter=segmenter,
        plane=args.plane if args.stack else None,
    )


def _join(args: argparse.Namespace, launch: Launch) -> None:
    """Adapt the arguments for one of several processes.

    Raises
    ------
    ConfigError
        With ``--overwrite``: a process could not tell new results from older ones.
    """
    if args.overwrite:
        raise ConfigError(
            "--overwrite cannot be used with torchrun. Choose another --out, or remove the old "
            "results."
        )
    args.skip_done = True
    args.device = own_device(args.device or "auto", launch.local_rank)
    if not launch.first:
        args.quiet = True
        logging.getLogger("latentfm_core").setLevel(logging.ERROR)


def _check(args: argparse.Namespace) -> Callable[[Path], object]:
    """Return a function that reads just enough of an input to check it."""
    limits = reading_from(args)
    if args.stack:
        return partial(check_stack, plane=args.plane, limits=limits)
    return partial(read_image, limits=limits)


def _finished(job: Job, settings: SamplingConfig, segmenter: Segmenter, plane: str | None) -> bool:
    prompt = job.item.prompt
    return is_finished(
        job.plan,
        segmenter.resolved(settings, group_of(prompt)),
        segmenter.card.weights_sha256,
        plane,
        None if prompt is None else prompt.to_json(),
    )


def _unfinished(jobs: Sequence[Job], finished: Callable[[Job], bool], claims: Claims) -> list[Job]:
    left = [job for job in jobs if not finished(job)]
    claims.forget([job.plan for job in jobs if job not in left])
    logger.info("%d of %d images are already done", len(jobs) - len(left), len(jobs))
    return left


def _shared(
    jobs: Sequence[Job],
    launch: Launch,
    finished: Callable[[Job], bool],
    claims: Claims,
    bar: tqdm[Any],
) -> Iterable[Job]:
    # Each process starts at another image, so that they rarely collide.
    first = len(jobs) * launch.rank // launch.size
    order = [*jobs[first:], *jobs[:first]]
    return shared(order, lambda job: job.plan, finished, claims, bar.update)


def run_jobs(
    jobs: Iterable[Job],
    planned: Sequence[Job],
    segmenter: Segmenter,
    settings: SamplingConfig,
    bad: BadFiles,
    args: argparse.Namespace,
    bar: tqdm[Any],
) -> None:
    """Segment image after image; a bad one is skipped with ``--skip-bad``, else raised."""
    limits = reading_from(args)
    draws = ObjectDraws(segmenter, settings, [job.item for job in planned], limits)

    def show(step: Progress) -> None:
        bar.set_postfix_str(f"ODE step {step.done}/{step.total}", refresh=False)
        bar.update(0)

    for job in jobs:
        try:
            if args.stack:
                done = segment_stack_file(job.image, args.plane, segmenter, settings, bar, limits)
            else:
                done = _segment(job.item, draws, show)
        except ImageError as error:
            if not args.skip_bad:
                raise
            bad.skip(str(job.image), error)
        else:
            sidecar = describe_result(job, done, segmenter)
            check_still_there(job.plan.folder)
            write_result(job.plan, done.image, done.samples, done.summary, sidecar)
        bar.update()


def _segment(
    item: PromptedImage, draws: ObjectDraws, show: Callable[[Progress], None]
) -> Segmented:
    start = time.perf_counter()
    image, samples = draws.get(item, show)
    summary = draws.segmenter.summarise(samples)
    return Segmented(image, samples, summary, time.perf_counter() - start)


def describe_result(job: Job, done: Segmented, segmenter: Segmenter) -> Sidecar:
    """Return the provenance of a result."""
    white: dict[str, float] = {
        kind: PNG_WHITE[kind]
        for kind in job.plan.kinds
        if kind in PNG_WHITE and "png" in job.plan.formats
    }
    samples = done.samples
    return Sidecar.of(
        samples.record,
        done.image,
        image=printable(job.image.name),
        shape=samples.geometry.shape,
        window=samples.geometry.window,
        device=segmenter.device_label,
        seconds=done.seconds,
        files=job.plan.by_kind(),
        png_white=white,
        expected_dice=done.summary.expected_dice,
        domain_score=_domain_score(done),
        stack=done.stack,
    )


def _domain_score(done: Segmented) -> float | None:
    """Return the domain score of an image, of a stack the largest of its planes."""
    if done.stack is None:
        return done.summary.domain_score
    return max((score for score in done.stack.domain_score if score is not None), default=None)
