"""Segment an image of any size to a Zarr folder. Shared by command line, panel and Python."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentfm_core.config import SamplingConfig, TilingConfig
from latentfm_core.errors import OutputError
from latentfm_core.files.atomic import atomic_folder, write_text
from latentfm_core.files.disk_errors import check_still_there
from latentfm_core.images.large import LargeImage, PixelField, as_large
from latentfm_core.inference.batches import Progress
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.inference.training_distance import domain_digest
from latentfm_core.names import shown
from latentfm_core.output.maps import MapGrid, MapStore, is_foreign
from latentfm_core.output.sidecar import Sidecar, TilingFacts
from latentfm_core.progress import finish
from latentfm_core.types import ImageLike, Summary, TiledDraw

SHRINKING = "Making smaller copies."


@dataclass(frozen=True)
class LargeResult:
    """A finished result.

    Attributes
    ----------
    folder
        The Zarr folder; its groups are ``mean_probability``, ``mean_mask``, ``variance``,
        ``confidence`` and ``sample_masks``, with several classes ``class_confidence`` too.
    drawn
        The sampling record.
    """

    folder: Path
    drawn: TiledDraw


def large_steps(
    segmenter: Segmenter,
    image: LargeImage | ImageLike,
    folder: Path,
    settings: SamplingConfig | None = None,
    tiling: TilingConfig | None = None,
    *,
    overwrite: bool = False,
    outdated: Sequence[Path] = (),
) -> Generator[Progress, None, LargeResult]:
    """Segment an image of any size tile by tile and write the maps as they are finished.

    Yields after each ODE step and each write. Closing the generator cancels the job:
    then, as after an error, no part of the result is left.

    Parameters
    ----------
    segmenter
        The model.
    image
        The image, as `open_large` opens it, or one in memory.
    folder
        Folder for the maps; new, or with `overwrite` that of an earlier result. It appears
        when it is complete.
    outdated
        Files that describe the previous result; removed when this one replaces it.
    settings, tiling
        None takes the settings of the model's card, and the default tiling.

    Raises
    ------
    ImageError, ResourceError
        As `Segmenter.sample_tiles`.
    OutputError
        If the folder exists (with `overwrite`: and is not an earlier result) or cannot be written.
    """
    if overwrite and is_foreign(folder):
        raise OutputError(
            f"{shown(folder)} is not a result, and everything in it would be lost. Choose another "
            "folder: a new one, or that of an earlier result."
        )
    image = as_large(image)
    settings = resolved_for_tiles(segmenter, settings)
    tiling = tiling or TilingConfig()
    grid = _grid(segmenter, image, settings, tiling)
    with atomic_folder(folder, overwrite=overwrite, outdated=outdated) as temporary:
        store = MapStore(temporary, grid)

        def put(top: int, left: int, summary: Summary) -> None:
            check_still_there(temporary)  # zarr would create it again, without earlier data
            store.put(top, left, summary)

        drawn = yield from segmenter.sample_tiles(image, settings, tiling, put)
        for _ in store.shrink():
            yield Progress(1, 1, SHRINKING)
        store.describe(facts(drawn, tiling))
    return LargeResult(folder, drawn)


def segment_large(
    segmenter: Segmenter,
    image: LargeImage | ImageLike,
    folder: str | Path,
    settings: SamplingConfig | None = None,
    tiling: TilingConfig | None = None,
    *,
    overwrite: bool = False,
    outdated: Sequence[Path] = (),
    on_step: Callable[[Progress], None] | None = None,
) -> LargeResult:
    """Run `large_steps`; `on_step` is called after each step and may raise to cancel.

    Parameters
    ----------
    segmenter, image, folder, settings, tiling, overwrite, outdated
        As for `large_steps`.
    on_step
        Receives the progress.

    Raises
    ------
    ImageError, ResourceError, OutputError
        As for `large_steps`.
    """
    steps = large_steps(
        segmenter, image, Path(folder), settings, tiling, overwrite=overwrite, outdated=outdated
    )
    return finish(steps, on_step)


def resolved_for_tiles(segmenter: Segmenter, settings: SamplingConfig | None) -> SamplingConfig:
    """Return `Segmenter.resolved`, without the second pass, which tiles do not have."""
    # Turned off first: the usual threshold depends on it.
    chosen = (settings or segmenter.usual()).model_copy(update={"refine": False})
    return segmenter.resolved(chosen)


def write_sidecar(
    path: Path,
    image: LargeImage,
    result: LargeResult,
    segmenter: Segmenter,
    tiling: TilingConfig,
    seconds: float,
    channel: int | None = None,
    image_digest: str = "",
) -> None:
    """Write the JSON file of a result.

    Parameters
    ----------
    path
        The JSON file.
    image, result, segmenter, tiling
        The input, the result, the model, and the tiling.
    seconds
        From the open file to the finished maps.
    channel
        Channel of the image that was segmented, counted from 1, or None.
    image_digest
        Digest of its file (`latentfm_core.files.digest.content_digest`), if it is one.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    drawn = result.drawn
    cut = TilingFacts(
        image_shape=image.shape,
        scale=drawn.scale,
        overlap=tiling.overlap,
        tile=drawn.tile,
        tiles=drawn.tiles,
    )
    sidecar = Sidecar.of(
        drawn.record,
        image,
        image_digest=image_digest,
        channel=channel,
        shape=drawn.shape,
        device=segmenter.device_label,
        seconds=seconds,
        files={"maps": (result.folder.name,)},
        domain_score=drawn.domain_score,
        domain_sha256=domain_digest(segmenter),
        tiling=cut,
    )
    check_still_there(path.parent)
    write_text(path, sidecar.model_dump_json(indent=2) + "\n")


def facts(drawn: TiledDraw, tiling: TilingConfig) -> dict[str, Any]:
    """Return the provenance of a result as JSON values."""
    cut = {"tiling": tiling.model_dump(mode="json"), "tile": drawn.tile, "tiles": drawn.tiles}
    return {**drawn.record.to_json(), **cut}


def _grid(
    segmenter: Segmenter, image: LargeImage, settings: SamplingConfig, tiling: TilingConfig
) -> MapGrid:
    shape = PixelField(image, tiling.scale).shape
    size = image.spacing or (1.0, 1.0)
    ratios = [whole / part for whole, part in zip(image.shape, shape, strict=True)]
    return MapGrid(
        shape=shape,
        samples=settings.n_samples,
        channels=segmenter.card.config.model.mask_channels,
        pixel=(size[0] * ratios[0], size[1] * ratios[1]),
        unit=image.unit,
        origin=(size[0] * (ratios[0] - 1) / 2, size[1] * (ratios[1] - 1) / 2),
    )
