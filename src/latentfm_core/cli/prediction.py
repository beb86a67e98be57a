"""The loop of ``latentfm-predict``: check, share, segment and report."""

from __future__ import annotations

import logging
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from tqdm import tqdm

from latentfm_core.bars import progress_bar
from latentfm_core.cli.common import print_line
from latentfm_core.cli.first_look import first_look
from latentfm_core.cli.inputs import BadFiles, check_all, digest_of, reject_all, with_possible_names
from latentfm_core.config import ReadingConfig, SamplingConfig
from latentfm_core.errors import ImageError, OutputError
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.names import counted, is_there, name_some, shown
from latentfm_core.output.paths import prepare_folder, reject_existing
from latentfm_core.output.result import has_changed, read_sidecar
from latentfm_core.prediction.claims import Claims, Plan, alone, shared
from latentfm_core.torchrun import Launch

# Messages belong to the command, whose logger has a handler.
logger = logging.getLogger("latentfm_core.cli.predict")

Show = Callable[[int, int, str], None]
"""Receives the steps of a job that are done, their number, and a note."""


class Job(Plan, Protocol):
    """One image, or one object in it, and the destination of its result."""

    @property
    def image(self) -> Path:
        """The file of the image."""
        ...

    @property
    def sidecar(self) -> Path:
        """The JSON file of the result."""
        ...


JobT = TypeVar("JobT", bound=Job)


@dataclass(frozen=True)
class Mode(ABC, Generic[JobT]):
    """A way to predict: images and objects in them, stacks, or tiled images."""

    segmenter: Segmenter
    settings: SamplingConfig
    limits: ReadingConfig
    out: Path
    unit: str = field(default="images", kw_only=True)
    parts: ClassVar[int] = 1
    """Steps of the progress bar for each result."""

    @abstractmethod
    def plan(self, images: Sequence[Path]) -> list[JobT]:
        """Return the jobs for all images.

        Raises
        ------
        OutputError
            If two results would have the same name, or one would replace its image.
        """

    @abstractmethod
    def check(self, image: Path, jobs: Sequence[JobT]) -> None:
        """Read just enough of an image to check it and its jobs."""

    @abstractmethod
    def is_finished(self, job: JobT) -> bool:
        """Return whether a result is complete.

        Raises
        ------
        OutputError
            If it is from another model or other settings.
        """

    def foreign(self, job: JobT) -> list[Path]:
        """Return what is named like a result but is not one, and must not be replaced."""
        there = is_there(job.sidecar) and read_sidecar(job.sidecar) is None
        return [job.sidecar] if there else []

    @abstractmethod
    def worker(self, jobs: Sequence[JobT]) -> Callable[[JobT, Show], None]:
        """Return a function that segments one of these jobs and writes its result."""


@dataclass(frozen=True)
class RunOptions:
    """Options of the loop."""

    launch: Launch
    overwrite: bool = False
    skip_done: bool = False
    skip_bad: bool = False
    quiet: bool = False


def predict(mode: Mode[JobT], images: Sequence[Path], options: RunOptions) -> None:
    """Segment all images, and print how many are done.

    Raises
    ------
    LatentFMError
        If results exist, images cannot be used, or nothing can be written.
    """
    out, launch = mode.out, options.launch
    jobs, unnamed = with_possible_names(
        mode.plan(images), lambda job: job.image, lambda job: job.paths()
    )
    _reject_foreign(jobs, mode, images, options)
    if not options.skip_bad:
        reject_all([str(error) for error in unnamed.values()], len(images))
    claims, there = Claims(out), out.is_dir()
    if not there and not options.skip_bad:
        _check(jobs, mode, options)
    prepare_folder(out)
    with claims.whole_folder(launch):
        # Under the lock, because another command may just have finished there.
        left = _remaining(jobs, mode, claims, options)
        if there and not options.skip_bad:
            _check(left, mode, options)
        bad = BadFiles(len(left) + len(unnamed))
        for name, error in unnamed.items():
            bad.skip(name, error)
        _segment_all(left, mode, claims, options, bad)
    # A process does not know what the others did; together they did everything.
    total = len(jobs) + len(unnamed)
    done = bad.total if launch.size == 1 else total
    if launch.first:
        print_line(f"{done - len(bad.reasons)} of {total} {mode.unit} segmented into {shown(out)}")
        look = first_look((job.name, job.sidecar) for job in jobs)
        if look is not None:
            print_line(look)
        bad.report()


def _reject_foreign(
    jobs: Sequence[JobT], mode: Mode[JobT], images: Sequence[Path], options: RunOptions
) -> None:
    """Reject results that would replace an image, or with ``--overwrite`` another kind of file."""
    below = os.path.join(os.path.realpath(mode.out), "")
    inputs = {real for real in map(os.path.realpath, images) if real.startswith(below)}
    for job in jobs if inputs else ():
        for path in job.paths():
            if os.path.realpath(path) in inputs:
                raise OutputError(
                    f"The result of {shown(job.image)} would replace the image {shown(path)}. "
                    "Choose another --out."
                )
    foreign = [path for job in jobs for path in mode.foreign(job)] if options.overwrite else []
    if foreign:
        which = counted(
            len(foreign),
            "file or folder that is not a result",
            "files or folders that are not results",
        )
        raise OutputError(
            f"{which} would be replaced: "
            f"{name_some(path.name for path in foreign)}. Choose another --out, or move them away."
        )


def _reject_changed(done: Sequence[Job], options: RunOptions) -> None:
    """Reject results whose maps were changed, or that were made from other images."""
    by_image: dict[Path, list[Job]] = {}
    for job in done:
        by_image.setdefault(job.image, []).append(job)
    quiet = options.quiet or len(by_image) < 2
    changed, edited = [], list[Path]()
    with progress_bar(len(by_image), "comparing files", "image", quiet) as bar:
        for image, jobs in by_image.items():
            digest = digest_of(image)
            if any(_is_other(job, digest) for job in jobs):
                changed.append(image.name)
            edited += [path for job in jobs if has_changed(job.paths()) for path in job.paths()]
            bar.update()
    reject_existing(edited, incomplete=True, replaceable=options.launch.size == 1)
    if changed:
        advice = "Replace all results with --overwrite, or choose another --out."
        raise OutputError(
            f"{counted(len(changed), 'image was', 'images were')} replaced or changed after the "
            f"results were made: {name_some(changed)}. "
            f"{advice if options.launch.size == 1 else 'Choose another --out.'}"
        )


def _is_other(job: Job, digest: str) -> bool:
    """Return whether the image of a result is another one, by content or else by date."""
    sidecar = read_sidecar(job.sidecar)
    if sidecar is not None and sidecar.image_digest and digest:
        return sidecar.image_digest != digest
    return _modified(job.image) > max(_modified(path) for path in job.paths())


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return -math.inf


def _check(jobs: Iterable[JobT], mode: Mode[JobT], options: RunOptions) -> None:
    """Check the files of the jobs, each once even if it has several objects."""
    by_image: dict[Path, list[JobT]] = {}
    for job in jobs:
        by_image.setdefault(job.image, []).append(job)
    check_all(list(by_image), lambda image: mode.check(image, by_image[image]), options.quiet)


def _remaining(
    jobs: Sequence[JobT], mode: Mode[JobT], claims: Claims, options: RunOptions
) -> list[JobT]:
    """Return the jobs to do; refuse existing results that are not to be replaced."""
    left = list(jobs)
    if options.skip_done:
        done = [job for job in jobs if mode.is_finished(job)]
        finished = set(map(id, done))
        left = [job for job in jobs if id(job) not in finished]
        _reject_changed(done, options)
        claims.forget(done)
        logger.info("%d of %s already done", len(done), counted(len(jobs), "image"))
    if not options.overwrite and options.launch.first:
        # Unfinished results of a killed run may be replaced. Files are looked up before their
        # mark: another process of the same launcher may begin or finish a result meanwhile.
        there = [job for job in left if any(map(is_there, job.paths()))]
        new = [
            job
            for job in there
            if not (options.skip_done and (claims.begun(job) or mode.is_finished(job)))
        ]
        files = [path for job in new for path in job.paths()]
        if options.skip_done:
            reject_existing(files, incomplete=True, replaceable=options.launch.size == 1)
        reject_existing(files, "--skip-done")
    return left


def _segment_all(
    left: Sequence[JobT], mode: Mode[JobT], claims: Claims, options: RunOptions, bad: BadFiles
) -> None:
    launch = options.launch
    segment = mode.worker(left)
    with progress_bar(mode.parts * len(left), "segmenting", "image", options.quiet) as bar:
        if mode.parts > 1:
            bar.unit = "part"
        if launch.size == 1:
            with closing(alone(left, claims, options.overwrite)) as mine:
                _segment_jobs(mine, mode.parts, segment, options, bad, bar)
        else:
            # Each process starts at another image, so that they rarely collide.
            first = len(left) * launch.rank // launch.size
            order = [*left[first:], *left[:first]]

            def passed() -> None:
                bar.update(mode.parts)

            mine_of_all = shared(order, mode.is_finished, claims, passed)
            _segment_jobs(mine_of_all, mode.parts, segment, options, bad, bar)
    if launch.size > 1:
        claims.remove()
    bad.check_any_left()


def _segment_jobs(
    jobs: Iterable[JobT],
    parts: int,
    segment: Callable[[JobT, Show], None],
    options: RunOptions,
    bad: BadFiles,
    bar: tqdm[Any],
) -> None:
    """Segment image after image; a bad one is skipped with ``--skip-bad``, else raised."""
    for job in jobs:
        begin = bar.n

        def show(done: int, total: int, note: str, begin: float = begin) -> None:
            bar.set_postfix_str(note, refresh=False)
            # The last part is the written result.
            bar.update(begin + (parts - 1) * done // total - bar.n)

        try:
            segment(job, show)
        except ImageError as error:
            if not options.skip_bad:
                raise
            bad.skip(str(job.sidecar), error)
        bar.update(begin + parts - bar.n)
