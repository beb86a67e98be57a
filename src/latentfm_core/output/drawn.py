"""Provenance of samples of an image, a stack or a tiled image."""

from __future__ import annotations

from collections.abc import Mapping

from latentfm_core.config import NUMBER_FORMATS, SamplingConfig
from latentfm_core.images.large import LargeImage
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.output.paths import printable
from latentfm_core.output.sidecar import Sidecar, StackFacts, TilingFacts, now, versions
from latentfm_core.prompts import recorded_group
from latentfm_core.types import ImageInput, SampleSet, TiledDraw, is_out_of_domain


def sidecar_of(
    name: str,
    image: ImageInput | LargeImage,
    shape: tuple[int, int],
    drawn: SampleSet | TiledDraw,
    segmenter: Segmenter,
    seconds: float,
    files: Mapping[str, tuple[str, ...]],
    *,
    expected_dice: float | None = None,
    domain_score: float | None = None,
    png_white: Mapping[str, float] | None = None,
    stack: StackFacts | None = None,
    tiling: TilingFacts | None = None,
) -> Sidecar:
    """Return the provenance of a result.

    Parameters
    ----------
    name
        File name of the image.
    image
        Source of the pixel size.
    shape
        ``(H, W)`` of the maps.
    drawn
        Source of model, seeds and settings.
    segmenter
        The segmenter that drew the samples.
    seconds
        From the pixels in memory to the finished maps.
    files, expected_dice, domain_score, png_white, stack, tiling
        As in `Sidecar`.
    """
    prompt = drawn.prompt if isinstance(drawn, SampleSet) else {}
    settings = segmenter.resolved(
        SamplingConfig.model_validate(drawn.settings), recorded_group(prompt)
    )
    return Sidecar(
        image=printable(name),
        shape=shape,
        spacing=image.spacing,
        unit=image.unit,
        model_id=drawn.model_id,
        model_sha256=drawn.model_hash,
        n_samples=len(drawn.seeds),
        seeds=drawn.seeds,
        steps=settings.steps,
        solver=settings.solver,
        nfe=drawn.nfe,
        noise_scale=settings.noise_scale or 1.0,
        threshold=settings.threshold,
        confidence="calibrated" if settings.calibrated else "raw",
        expected_dice=expected_dice,
        domain_score=domain_score,
        out_of_domain=None if domain_score is None else is_out_of_domain(domain_score),
        precision=NUMBER_FORMATS[settings.precision],
        device=segmenter.device_label,
        seconds=round(seconds, 4),
        created=now(),
        versions=versions(),
        files=dict(files),
        png_white=dict(png_white or {}),
        stack=stack,
        tiling=tiling,
        prompt=prompt,
        window=drawn.geometry.window if isinstance(drawn, SampleSet) else None,
    )
