"""``latentfm-predict --tiled``: images of any size, tile by tile, as Zarr folders."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from latentfm_core.cli.inputs import digest_of, find_images
from latentfm_core.cli.prediction import Mode, Show
from latentfm_core.config import ReadingConfig, TilingConfig
from latentfm_core.images.open_large import is_zarr, open_large
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.training_distance import domain_digest
from latentfm_core.output.maps import is_foreign
from latentfm_core.output.paths import output_names
from latentfm_core.output.result import is_described
from latentfm_core.prediction.large import resolved_for_tiles, segment_large, write_sidecar


@dataclass(frozen=True)
class LargeJob:
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


@dataclass(frozen=True)
class TiledMode(Mode[LargeJob]):
    """Prediction of images of any size in tiles."""

    tiling: TilingConfig
    parts: ClassVar[int] = 1000

    def plan(self, images: Sequence[Path]) -> list[LargeJob]:
        """Return the jobs for all images."""
        return [
            LargeJob(image, self.out / f"{name}.zarr", self.out / f"{name}.json")
            for image, name in zip(images, output_names(images), strict=True)
        ]

    def check(self, image: Path, jobs: Sequence[LargeJob]) -> None:
        """Open an image to check it."""
        with open_large(image, self.limits):
            pass

    def is_finished(self, job: LargeJob) -> bool:
        """Return whether a result is complete."""
        card = self.segmenter.card
        described = is_described(
            job.sidecar,
            resolved_for_tiles(self.segmenter, self.settings),
            channel=self.limits.channel,
            tiling={"scale": self.tiling.scale, "overlap": self.tiling.overlap},
            model_sha256=card.weights_sha256,
            calibration_sha256=card.calibration_digest("none"),
            domain_sha256=domain_digest(self.segmenter),
        )
        return described and is_zarr(job.maps)

    def foreign(self, job: LargeJob) -> list[Path]:
        """Return what is named like a result but is not one, and must not be replaced."""
        return [*super().foreign(job), *([job.maps] if is_foreign(job.maps) else [])]

    def worker(self, jobs: Sequence[LargeJob]) -> Callable[[LargeJob, Show], None]:
        """Return a function that segments one of these images and writes its result."""
        return lambda job, show: _segment(job, self, show)


def find_large_images(sources: Sequence[Path], limits: ReadingConfig) -> list[Path]:
    """Return the images that `sources` (files, Zarr folders and folders of images) name.

    Raises `ImageError` or `DatasetError` as `latentfm_core.cli.inputs.find_images` does.
    """
    zarrs = [source for source in sources if is_zarr(source)]
    others = [source for source in sources if not is_zarr(source)]
    return [*zarrs, *(find_images(others, limits) if others else [])]


def _segment(job: LargeJob, mode: TiledMode, show: Show) -> None:
    def show_step(step: Progress) -> None:
        show(step.done, step.total, step.note)

    start = time.perf_counter()
    digest = digest_of(job.image)
    with open_large(job.image, mode.limits) as image:
        # Existing results were refused before, unless they are to be replaced.
        result = segment_large(
            mode.segmenter,
            image,
            job.maps,
            mode.settings,
            mode.tiling,
            overwrite=True,
            outdated=(job.sidecar,),
            on_step=show_step,
        )
        seconds = time.perf_counter() - start
        named = replace(image, name=job.image.name)
        facts = mode.segmenter, mode.tiling, seconds, mode.limits.channel, digest
        write_sidecar(job.sidecar, named, result, *facts)
