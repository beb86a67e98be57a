"""``latentfm-predict``: plausible masks of images, and where they disagree, as files."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from latentfm_core.cli.common import (
    add_reading_arguments,
    add_sampling_arguments,
    load_segmenter,
    progress_bar,
    reading_from,
    run_cli,
    say,
)
from latentfm_core.cli.inputs import BadFiles, check_all, find_images
from latentfm_core.config import SamplingConfig
from latentfm_core.data.images import read_image
from latentfm_core.errors import ImageError, OutputError
from latentfm_core.inference.device import resolve_precision
from latentfm_core.inference.segmenter import Progress, Segmenter
from latentfm_core.output.names import output_names, prepare_folder, printable, refuse_existing
from latentfm_core.output.result import (
    DEFAULT_KINDS,
    PNG_WHITE,
    Format,
    Kind,
    ResultPlan,
    is_finished,
    write_result,
)
from latentfm_core.output.sidecar import Sidecar, now, versions
from latentfm_core.types import ImageInput, SampleSet

# Under ``python -m`` the name of this module is "__main__", which nobody listens to.
logger = logging.getLogger("latentfm_core.cli.predict")

FORMATS: dict[str, tuple[Format, ...]] = {
    "tiff": ("tiff",),
    "png": ("png",),
    "both": ("tiff", "png"),
}

DESCRIPTION = """\
Draw plausible masks of one or many images with a LatentFM model, and write for each image:
  NAME_mean_mask    1 where the mean probability reaches the threshold (0 and 255)
  NAME_samples      the sample masks: one stack (TIFF), or a folder of files (PNG)
  NAME_variance     variance of the samples, 0 to 0.25
  NAME_confidence   0 to 1: the chance that the mean mask agrees with an expert, if the model
                    is calibrated; else, or with --confidence raw, 1 - 4 variance, which is 1
                    where every sample agrees
  NAME.json         model, seeds, settings, versions and files; written last, so that a
                    result with it is complete
TIFF files keep the numbers (float32) and the pixel size of the image. PNG files have 8 bits:
white is 0.25 for the variance and 1 for the confidence and the probability."""


@dataclass(frozen=True)
class Job:
    """One image and where its result goes."""

    image: Path
    plan: ResultPlan


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``latentfm-predict``."""
    parser = argparse.ArgumentParser(
        prog="latentfm-predict",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="IMAGE_OR_FOLDER",
        help="images, or folders whose images are all taken (not those of subfolders)",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--format", choices=tuple(FORMATS), default="both", help="file formats (default: both)"
    )
    parser.add_argument(
        "--outputs",
        type=_kinds,
        default=DEFAULT_KINDS,
        metavar="KIND,KIND,...",
        help=f"maps to write, of {', '.join(get_args(Kind))} (default: all but the last)",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--overwrite", action="store_true", help="replace results (default: stop if one exists)"
    )
    existing.add_argument(
        "--skip-done",
        action="store_true",
        help="leave images alone whose results are complete, to go on after an interruption",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="go on without images that cannot be read or used and list them at the end "
        "(exit code 0 if any image is left); without it they stop the command before it "
        "has written anything",
    )
    add_sampling_arguments(parser)
    add_reading_arguments(parser)
    return parser


def _kinds(text: str) -> tuple[Kind, ...]:
    asked = {item.strip() for item in text.split(",")}
    unknown = asked - set(get_args(Kind))
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no such output: {', '.join(sorted(unknown)) or 'nothing'}; "
            f"choose from {', '.join(get_args(Kind))}"
        )
    return tuple(kind for kind in get_args(Kind) if kind in asked)


def find_inputs(args: argparse.Namespace) -> list[Path]:
    """Return the images that the arguments name.

    Raises
    ------
    LatentFMError
        If there are none, or the results would lie among them.
    """
    if any(source.is_dir() and source.resolve() == args.out.resolve() for source in args.images):
        raise OutputError(
            f"The results would lie among the images of {args.out}, and be taken for images by "
            "the next run. Choose another --out."
        )
    return find_images(args.images, reading_from(args))


def plan_jobs(images: Sequence[Path], args: argparse.Namespace, n_samples: int) -> list[Job]:
    """Return a job for each image.

    Raises
    ------
    OutputError
        If two results would have the same name.
    """
    formats = FORMATS[args.format]
    return [
        Job(image, ResultPlan(args.out, name, args.outputs, formats, n_samples))
        for image, name in zip(images, output_names(images), strict=True)
    ]


def predict(args: argparse.Namespace) -> None:
    """Run the command."""
    images = find_inputs(args)  # a wrong path is told before seconds go into the model
    segmenter, settings = load_segmenter(args)
    jobs = plan_jobs(images, args, settings.n_samples)
    if args.skip_done:
        jobs = _unfinished(jobs, settings, segmenter.card.weights_sha256)
    if not args.overwrite:
        refuse_existing([path for job in jobs for path in job.plan.paths()])
    if not args.skip_bad:
        limits = reading_from(args)
        check_all([job.image for job in jobs], lambda path: read_image(path, limits), args.quiet)
    prepare_folder(args.out)
    bad = BadFiles(len(jobs))
    run_jobs(jobs, segmenter, settings, bad, args)
    bad.check_any_left()
    say(f"{len(jobs) - len(bad.reasons)} of {len(images)} images segmented into {args.out}")
    bad.report()


def _unfinished(jobs: Sequence[Job], settings: SamplingConfig, model_sha256: str) -> list[Job]:
    left = [job for job in jobs if not is_finished(job.plan, settings, model_sha256)]
    logger.info("%d of %d images are done already", len(jobs) - len(left), len(jobs))
    return left


def run_jobs(
    jobs: Sequence[Job],
    segmenter: Segmenter,
    settings: SamplingConfig,
    bad: BadFiles,
    args: argparse.Namespace,
) -> None:
    """Segment image after image; a bad one is skipped or raised as the arguments say."""
    limits = reading_from(args)
    with progress_bar(len(jobs), "segmenting", "image", args.quiet) as bar:

        def show(step: Progress) -> None:
            bar.set_postfix_str(f"ODE step {step.done}/{step.total}", refresh=False)
            bar.update(0)

        for job in jobs:
            try:
                image = read_image(job.image, limits)
                start = time.perf_counter()
                samples = segmenter.sample(image, settings, show)
                summary = segmenter.summarise(samples)
                seconds = time.perf_counter() - start
            except ImageError as error:
                if not args.skip_bad:
                    raise
                bad.skip(str(job.image), error)
            else:
                sidecar = describe_result(job, image, samples, segmenter, seconds)
                write_result(job.plan, image, samples, summary, sidecar)
            bar.update()


def describe_result(
    job: Job, image: ImageInput, samples: SampleSet, segmenter: Segmenter, seconds: float
) -> Sidecar:
    """Return the provenance of a result."""
    settings = SamplingConfig.model_validate(samples.settings)
    dtype = resolve_precision(settings.precision, segmenter.device)
    return Sidecar(
        image=printable(job.image.name),
        shape=samples.geometry.shape,
        spacing=image.spacing,
        unit=image.unit,
        model_id=samples.model_id,
        model_sha256=samples.model_hash,
        n_samples=len(samples),
        seeds=samples.seeds,
        steps=settings.steps,
        solver=settings.solver,
        nfe=samples.nfe,
        threshold=settings.threshold,
        confidence="calibrated" if settings.calibrated else "raw",
        precision=str(dtype).removeprefix("torch."),
        device=segmenter.device_label,
        seconds=round(seconds, 4),
        created=now(),
        versions=versions(),
        files=job.plan.by_kind(),
        png_white={
            kind: PNG_WHITE[kind]
            for kind in job.plan.kinds
            if kind in PNG_WHITE and "png" in job.plan.formats
        },
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``latentfm-predict``; return the exit code."""
    return run_cli(
        predict,
        build_parser(),
        argv,
        memory_hint="Lower --batch-size or --samples, or crop the image",
    )


if __name__ == "__main__":
    sys.exit(main())
