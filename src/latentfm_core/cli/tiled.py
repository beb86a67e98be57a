"""``latentfm-predict --tiled``: images of any size, tile by tile, as Zarr folders."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from latentfm_core.cli.common import progress_bar, say
from latentfm_core.cli.inputs import (
    BadFiles,
    check_all,
    find_images,
    refuse_all,
    with_possible_names,
)
from latentfm_core.cli.model import load_segmenter
from latentfm_core.cli.options import reading_from
from latentfm_core.config import ReadingConfig, SamplingConfig, TilingConfig, tiling_settings
from latentfm_core.errors import ConfigError, ImageError, OutputError
from latentfm_core.images.open_large import is_zarr, open_large
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.output.paths import output_names, prepare_folder, refuse_existing
from latentfm_core.output.result import DEFAULT_KINDS, read_sidecar
from latentfm_core.prediction.claims import Claims, alone
from latentfm_core.prediction.large import segment_large, write_sidecar
from latentfm_core.torchrun import read_launch

BAR = 1000
"""Units of the progress bar for each image."""


@dataclass(frozen=True)
class TiledJob:
    """One image and the destination of its result."""

    image: Path
    maps: Path
    sidecar: Path

    @property
    def name(self) -> str:
        """Stem of its file names."""
        return self.sidecar.stem

    def paths(self) -> list[Path]:
        """Return its Zarr folder and its JSON file; the JSON is written last."""
        return [self.maps, self.sidecar]


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse options that contradict each other.

    Raises
    ------
    ConfigError
        The message names them.
    """
    if not args.tiled:
        if args.scale is not None or args.overlap is not None:
            raise ConfigError("--scale and --overlap belong to --tiled. Add it, or remove them.")
        return
    if args.stack:
        raise ConfigError("--tiled takes 2D images, --stack takes stacks. Choose one of them.")
    if args.format != "both" or args.outputs != DEFAULT_KINDS:
        raise ConfigError("--tiled writes all maps as Zarr. Remove --format and --outputs.")
    if read_launch().size > 1:
        raise ConfigError("--tiled runs as one process. Start it without torchrun.")


def predict_tiled(args: argparse.Namespace) -> None:
    """Run the command."""
    tiling, limits = _tiling(args), reading_from(args)
    jobs, unnamed = with_possible_names(
        _plan(_find(args.images, limits), args.out), lambda job: job.image, TiledJob.paths
    )
    if not args.skip_bad:
        refuse_all([str(error) for error in unnamed.values()], len(jobs) + len(unnamed))
    segmenter, settings = load_segmenter(args)
    claims, there = Claims(args.out), args.out.is_dir()
    if not there and not args.skip_bad:
        check_all([job.image for job in jobs], partial(_check, limits=limits), args.quiet)
    prepare_folder(args.out)
    with claims.whole_folder(read_launch()):
        # Under the lock, because another command may just have finished there.
        left = _check_jobs(jobs, segmenter, settings, tiling, claims, args, check_files=there)
        bad = BadFiles(len(left) + len(unnamed))
        for name, error in unnamed.items():
            bad.skip(name, error)
        _predict_all(left, segmenter, settings, tiling, claims, args, bad)
    done, total = bad.total - len(bad.reasons), len(jobs) + len(unnamed)
    say(f"{done} of {total} images segmented into {args.out}")
    bad.report()


def _check_jobs(
    jobs: Sequence[TiledJob],
    segmenter: Segmenter,
    settings: SamplingConfig,
    tiling: TilingConfig,
    claims: Claims,
    args: argparse.Namespace,
    check_files: bool = True,
) -> list[TiledJob]:
    """Return the remaining jobs; refuse existing results and bad images."""
    left = list(jobs)
    if args.skip_done:
        sha256 = segmenter.card.weights_sha256
        left = [job for job in jobs if not _is_finished(job, settings, tiling, sha256)]
        claims.forget([job for job in jobs if job not in left])
    if not args.overwrite:
        whole = left
        if args.skip_done:  # unfinished results of a killed run may be replaced
            whole = [job for job in left if not claims.begun(job)]
        refuse_existing([path for job in whole for path in job.paths()], "--skip-done")
    if check_files and not args.skip_bad:
        check = partial(_check, limits=reading_from(args))
        check_all([job.image for job in left], check, args.quiet)
    return left


def _predict_all(
    left: Sequence[TiledJob],
    segmenter: Segmenter,
    settings: SamplingConfig,
    tiling: TilingConfig,
    claims: Claims,
    args: argparse.Namespace,
    bad: BadFiles,
) -> None:
    limits = reading_from(args)
    with (
        progress_bar(BAR * len(left), "segmenting", "part", args.quiet) as bar,
        closing(alone(left, lambda job: job, claims, args.overwrite)) as mine,
    ):
        for number, job in enumerate(mine):

            def show(step: Progress, begin: int = BAR * number) -> None:
                bar.set_postfix_str(step.note, refresh=False)
                bar.update(begin + BAR * step.done // step.total - bar.n)

            try:
                _segment(job, segmenter, settings, tiling, limits, show)
            except ImageError as error:
                if not args.skip_bad:
                    raise
                bad.skip(str(job.image), error)
    bad.check_any_left()


def _tiling(args: argparse.Namespace) -> TilingConfig:
    given = {"scale": args.scale, "overlap": args.overlap}
    return tiling_settings(**{key: value for key, value in given.items() if value is not None})


def _find(sources: Sequence[Path], limits: ReadingConfig) -> list[Path]:
    found = [source for source in sources if is_zarr(source)]
    others = [source for source in sources if not is_zarr(source)]
    return [*found, *(find_images(others, limits) if others else [])]


def _plan(images: Sequence[Path], out: Path) -> list[TiledJob]:
    jobs = []
    for image, name in zip(images, output_names(images), strict=True):
        job = TiledJob(image, out / f"{name}.zarr", out / f"{name}.json")
        if job.maps.resolve() == image.resolve():
            raise OutputError(f"The result would replace the image {image}. Choose another --out.")
        jobs.append(job)
    return jobs


def _check(path: Path, limits: ReadingConfig) -> None:
    with open_large(path, limits):
        pass


def _segment(
    job: TiledJob,
    segmenter: Segmenter,
    settings: SamplingConfig,
    tiling: TilingConfig,
    limits: ReadingConfig,
    show: Callable[[Progress], None],
) -> None:
    start = time.perf_counter()
    with open_large(job.image, limits) as image:
        # Existing results were refused before, unless they are to be replaced.
        result = segment_large(
            segmenter,
            image,
            job.maps,
            settings,
            tiling,
            overwrite=True,
            outdated=(job.sidecar,),
            on_step=show,
        )
        seconds = time.perf_counter() - start
        named = replace(image, name=job.image.name)
        write_sidecar(job.sidecar, named, result, segmenter, tiling, seconds)


def _is_finished(
    job: TiledJob, settings: SamplingConfig, tiling: TilingConfig, model_sha256: str
) -> bool:
    older = read_sidecar(job.sidecar)
    if older is None:
        return False
    same = (
        older.was_drawn_with(settings, model_sha256)
        and older.tiling is not None
        and (older.tiling.scale, older.tiling.overlap) == (tiling.scale, tiling.overlap)
    )
    if not same:
        raise OutputError(
            f"{job.sidecar} was produced with another model or other settings."
            f"{older.precision_note(settings)} Choose another --out, or replace it with "
            "--overwrite."
        )
    return is_zarr(job.maps)
