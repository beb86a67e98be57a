"""JSON sidecar of a result: provenance and list of files."""

from __future__ import annotations

import datetime
import platform
from typing import Annotated, Any, Literal

from pydantic import Field

from latentfm_core.config import NUMBER_FORMATS, Fraction, SamplingConfig, Settings, SolverName
from latentfm_core.images.large import LargeImage
from latentfm_core.output.paths import printable
from latentfm_core.types import ImageInput, SamplingRecord, is_out_of_domain
from latentfm_core.versions import package_version

DomainScore = Annotated[float, Field(ge=0, allow_inf_nan=False)]

PACKAGES = ("napari-latentfm", "torch", "numpy")


class StackFacts(Settings):
    """Axes and planes of a stack's result.

    Attributes
    ----------
    axes, shape
        Letters and lengths of the axes of every map.
    plane
        Letters of the two axes of the planes that were segmented one by one.
    depth
        Distance of the planes along Z in the unit of the pixel size, None when unknown.
    blank
        Planes, counted in row-major order over the other axes, that are constant
        and were left empty.
    expected_dice, domain_score
        Of each plane in that order, as in `Sidecar`.
    """

    axes: str
    shape: tuple[int, ...]
    plane: str
    depth: float | None = None
    blank: tuple[int, ...] = ()
    expected_dice: tuple[Fraction | None, ...] = ()
    domain_score: tuple[DomainScore | None, ...] = ()


class FollowingFacts(Settings):
    """Planes of a stack through which one object was followed, counted as in `StackFacts`.

    Attributes
    ----------
    start
        Plane on which the object was prompted.
    found
        Planes that contain it.
    missed
        Planes on which it was searched and not found.
    """

    start: Annotated[int, Field(ge=0)]
    found: tuple[int, ...]
    missed: tuple[int, ...] = ()


class MemberFacts(Settings):
    """Id of a model of an ensemble, and SHA-256 of its weights file."""

    id: str
    sha256: str


class TilingFacts(Settings):
    """Tiling of a large image.

    Attributes
    ----------
    image_shape
        ``(H, W)`` of the image; the maps have `scale` times as many pixels along a side.
    scale, overlap
        As in `latentfm_core.config.TilingConfig`.
    tile, tiles
        Side of a tile in pixels of the maps, and number of sampled tiles.
    """

    image_shape: tuple[int, int]
    scale: float
    overlap: float
    tile: int
    tiles: int


class Sidecar(Settings):
    """Provenance of one result, without any folder of the user's machine.

    Attributes
    ----------
    image
        File name of the image, without its folder.
    image_digest
        Digest of the image file (`latentfm_core.files.digest.content_digest`); empty in files of
        earlier versions, and of images that are not files.
    maps_digest
        Digest of the maps in the order of `files`; empty in files of earlier versions, and of
        Zarr folders.
    shape
        ``(H, W)`` of the image and of every map; of a stack, of each plane; of an image that was
        segmented in tiles, of the maps.
    spacing, unit
        Pixel size ``(row, column)``, None when unknown.
    channel
        The channel that was segmented, counted from 1; None for colours or a single channel.
    model_id, model_sha256
        Name of the model and SHA-256 of its weights file; of an ensemble, of the digests of its
        members.
    members
        The models of an ensemble; sample n is from member n modulo their number. Empty for a
        single model.
    seeds
        Seed of each sample, in the order of the samples.
    steps, solver, nfe
        ODE solver steps, its name, and evaluations of the velocity network per sample.
    noise_scale
        Standard deviation of the noise from which the samples start.
    refine
        Whether each sample was drawn a second time in the extent that it found.
    distilled
        Whether the distilled network for few Euler steps drew the samples.
    threshold
        Lowest mean probability of a pixel in the mean mask.
    confidence
        Whether expected Dice and the maps of confidence and mean probability are calibrated.
    calibration_sha256
        Digest of the calibration that applies; empty for raw results, and in files of earlier
        versions.
    expected_dice
        Expected quality of the mean mask (`latentfm_core.types.Summary`), None if unknown.
    domain_score
        How unlike the training images the image is, up to 1 for images such as these; of a stack
        the largest of its planes. None if unknown.
    domain_sha256
        Digest of the model's training domains; empty without, None in files of earlier versions.
    out_of_domain
        Whether the score is above 1, so that neither confidence nor mask is reliable.
        None if unknown.
    precision, device
        The values used, after ``auto`` was resolved.
    seconds
        From the pixels in memory to the finished maps.
    created
        Date and time, UTC, ISO 8601.
    versions
        Of Python and of the packages that affect the numbers.
    files
        Paths relative to this file, by kind of map.
    png_white
        Value that is white (255) in a PNG, for maps that are not masks; black is 0.
    stack
        Of a stack its axes, else None.
    following
        Of an object that was followed through a stack its planes, else None. `prompt` and
        `window` are those of the plane `start`.
    tiling
        Of an image that was segmented in tiles how it was cut, else None.
    prompt
        The prompted object: ``box`` ``[top, left, bottom, right]``, ``positive`` and
        ``negative`` points ``[row, column]`` in pixels, and numbers of pixels and
        digests of strokes and rough mask. Empty without a prompt.
    prompt_source
        What the file of prompts says about the object: ``label``, ``group_id`` and ``shapes`` of
        LabelMe, ``annotation_id``, ``category_id`` and ``category`` of COCO, ``entry`` of a list,
        ``number`` in a label image; positions count from 0. Empty without such a file, and in
        files of earlier versions.
    window
        ``(top, left, height, width)`` of the part of the image that the network saw, in pixels;
        None for the whole image.
    """

    schema_version: Literal[1] = 1
    image: str
    image_digest: str = ""
    maps_digest: str = ""
    shape: tuple[int, int]
    spacing: tuple[float, float] | None
    unit: str
    channel: int | None = None
    model_id: str
    model_sha256: str
    members: tuple[MemberFacts, ...] = ()
    n_samples: Annotated[int, Field(ge=1)]
    seeds: tuple[int, ...]
    steps: int
    solver: SolverName
    nfe: int
    noise_scale: float = 1.0
    refine: bool = False
    distilled: bool = False
    threshold: float | None
    confidence: Literal["raw", "calibrated"] = "raw"
    calibration_sha256: str = ""
    expected_dice: Fraction | None = None
    domain_score: DomainScore | None = None
    domain_sha256: str | None = None
    out_of_domain: bool | None = None
    precision: str
    device: str
    seconds: float
    created: str
    versions: dict[str, str]
    files: dict[str, tuple[str, ...]]
    png_white: dict[str, float] = {}
    stack: StackFacts | None = None
    following: FollowingFacts | None = None
    tiling: TilingFacts | None = None
    prompt: dict[str, Any] = {}
    prompt_source: dict[str, Any] = {}
    window: tuple[int, int, int, int] | None = None

    @classmethod
    def of(
        cls, record: SamplingRecord, source: ImageInput | LargeImage, /, **facts: Any
    ) -> Sidecar:
        """Return the provenance of a result.

        Parameters
        ----------
        source
            The image, for its name and pixel size.
        facts
            The other attributes: shape, device, seconds, files, ...
        """
        settings = SamplingConfig.model_validate(record.settings)
        score = facts.get("domain_score")
        return cls.model_validate(
            {
                "image": printable(source.name),
                "spacing": source.spacing,
                "unit": source.unit,
                **record.provenance(),
                "n_samples": len(record.seeds),
                **facts_of(settings),
                "calibration_sha256": record.calibration if settings.calibrated else "",
                "out_of_domain": None if score is None else is_out_of_domain(score),
                "created": now(),
                "versions": versions(),
                **facts,
                "seconds": round(facts["seconds"], 4),
            }
        )

    def precision_note(self, settings: SamplingConfig) -> str:
        """Return a sentence for an error message if resolved `settings` have another precision."""
        wanted = NUMBER_FORMATS.get(settings.precision, self.precision)
        if self.precision == wanted:
            return ""
        return f" It was computed in {self.precision}; this run would use {wanted} (--precision)."


def facts_of(settings: SamplingConfig) -> dict[str, Any]:
    """Return the attributes of a sidecar that resolved settings determine."""
    number_format = NUMBER_FORMATS.get(settings.precision)
    return {
        "steps": settings.ode_steps,
        "solver": settings.solver,
        "noise_scale": settings.noise_scale or 1.0,
        "refine": bool(settings.refine),
        "distilled": settings.distilled,
        "threshold": settings.threshold,
        "confidence": "calibrated" if settings.calibrated else "raw",
        **({"precision": number_format} if number_format else {}),
    }


def now() -> str:
    """Return date and time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions of Python and of `PACKAGES`."""
    return {"python": platform.python_version()} | {
        name: package_version(name) for name in PACKAGES
    }
