"""Write all files of one image's result atomically."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import SamplingConfig
from latentfm_core.errors import OutputError
from latentfm_core.files.atomic import atomic_path
from latentfm_core.files.untrusted import decoded_text, read_bounded
from latentfm_core.images.axes import to_axes
from latentfm_core.output.images import grey_levels, write_png, write_tiff
from latentfm_core.output.sidecar import Sidecar, StackFacts
from latentfm_core.types import ImageInput, Mask, SampleSet, Summary

Kind = Literal["mean_mask", "samples", "variance", "confidence", "probability"]
Format = Literal["tiff", "png"]

DEFAULT_KINDS: tuple[Kind, ...] = ("mean_mask", "samples", "variance", "confidence")

MAX_SIDECAR_BYTES = 4_000_000

PNG_WHITE: dict[str, float] = {"variance": 0.25, "confidence": 1.0, "probability": 1.0}
"""Value of a map that is white in its PNG: its largest possible value."""

_SUFFIX = {"tiff": ".tif", "png": ".png"}


@dataclass(frozen=True)
class ResultPlan:
    """Location and contents of the result of one image.

    Attributes
    ----------
    n_samples
        N; the samples are one stack as TIFF, and N files in a folder as PNG.
    channel
        Channel of the image that is segmented, counted from 1, or None.
    """

    folder: Path
    name: str
    kinds: tuple[Kind, ...]
    formats: tuple[Format, ...]
    n_samples: int
    channel: int | None = None

    @property
    def sidecar(self) -> Path:
        """The JSON file; it is written last, so that a result with it is complete."""
        return self.folder / f"{self.name}.json"

    def files(self, kind: Kind, form: Format) -> list[Path]:
        """Return the files of one kind and format, whether planned or not."""
        if kind == "samples" and form == "png":
            folder = self.folder / f"{self.name}_samples"
            return [folder / f"sample_{index:03d}.png" for index in range(self.n_samples)]
        return [self.folder / f"{self.name}_{kind}{_SUFFIX[form]}"]

    def by_kind(self) -> dict[str, tuple[str, ...]]:
        """Return the planned files as paths relative to the folder."""
        return {
            kind: tuple(
                path.relative_to(self.folder).as_posix()
                for form in self.formats
                for path in self.files(kind, form)
            )
            for kind in self.kinds
        }

    def paths(self) -> list[Path]:
        """Return all planned files, the JSON file last."""
        listed = [self.folder / path for paths in self.by_kind().values() for path in paths]
        return [*listed, self.sidecar]


def write_result(
    plan: ResultPlan, source: ImageInput, samples: SampleSet, summary: Summary, sidecar: Sidecar
) -> None:
    """Write all files of a result, or none; of a stack if the sidecar describes one.

    Every file is first written in full under another name. Then an older JSON file is
    removed, the files are renamed, and the new JSON file is renamed last. Files of an
    older result that this one does not have are removed.

    Raises
    ------
    OutputError
        If a file cannot be written; the older result is then kept. Also if the
        folder of the samples is a symbolic link.
    """
    _refuse_link(plan)
    older = _older_files(plan)
    try:
        with contextlib.ExitStack() as stack:
            # Contexts end in reverse order: the first one entered is renamed last.
            temporary = stack.enter_context(atomic_path(plan.sidecar))
            temporary.write_text(sidecar.model_dump_json(indent=2) + "\n", encoding="utf-8")
            for kind in plan.kinds:
                for form in plan.formats:
                    _write_kind(stack, plan, kind, form, source, samples, summary, sidecar.stack)
            plan.sidecar.unlink(missing_ok=True)
    except BaseException:
        _remove_if_empty(plan)
        raise
    for path in older - set(plan.paths()):
        path.unlink(missing_ok=True)
    _remove_if_empty(plan)


def _refuse_link(plan: ResultPlan) -> None:
    """Reject a sample folder that links outside the chosen folder."""
    folder = plan.folder / f"{plan.name}_samples"
    if folder.is_symlink():
        raise OutputError(
            f"{folder} is a link, and samples would be written to its target. Remove it, or "
            "choose another --out."
        )


def _write_kind(
    stack: contextlib.ExitStack,
    plan: ResultPlan,
    kind: Kind,
    form: Format,
    source: ImageInput,
    samples: SampleSet,
    summary: Summary,
    facts: StackFacts | None,
) -> None:
    files = [stack.enter_context(atomic_path(path)) for path in plan.files(kind, form)]
    values = _values(kind, summary)
    if form == "tiff":
        names = [f"sample {n}, seed {seed}" for n, seed in enumerate(samples.seeds)]
        channels = names if kind == "samples" else None
        if facts is None:
            write_tiff(files[0], values, source, channels)
        else:
            values = _in_file_order(values, facts)
            write_tiff(files[0], values, source, channels, facts.axes, facts.depth)
        return
    white = PNG_WHITE.get(kind)
    planes = values if kind == "samples" else [values]
    for file, plane in zip(files, planes, strict=True):
        write_png(file, plane if white is None else grey_levels(plane, white))


def _values(kind: Kind, summary: Summary) -> NDArray[Any]:
    """Return a map as it is stored: masks as uint8, the others as float32.

    Masks of one class are 0 and 255; those of several keep their labels.
    """
    if kind == "mean_mask":
        return _stored(summary.mean_mask)
    if kind == "samples":
        return _stored(summary.sample_masks)
    if kind == "variance":
        return summary.variance
    if kind == "confidence":
        return summary.confidence
    p = summary.mean_probability
    # With several classes: that of the mean mask's class, one map like all others.
    return p if p.ndim == summary.mean_mask.ndim else p.max(axis=0)


def _in_file_order(values: NDArray[Any], facts: StackFacts) -> NDArray[Any]:
    plane = sorted(facts.axes.index(letter) for letter in facts.plane)
    along = [axis for axis in range(len(facts.axes)) if axis not in plane]
    return np.ascontiguousarray(to_axes(values, facts.shape, along, plane))


def _stored(mask: Mask) -> NDArray[np.uint8]:
    return mask.astype(np.uint8) * np.uint8(255 if mask.dtype == np.bool_ else 1)


def read_sidecar(path: Path) -> Sidecar | None:
    """Return a result's JSON file, or None if it is missing or of another kind."""
    try:
        return Sidecar.model_validate_json(decoded_text(read_bounded(path, MAX_SIDECAR_BYTES)))
    except (OSError, ValueError):
        return None


def is_finished(
    plan: ResultPlan,
    settings: SamplingConfig,
    model_sha256: str,
    calibration_sha256: str = "",
    *,
    plane: str | None = None,
    prompt: Mapping[str, Any] | None = None,
    start: int | None = None,
    domain_sha256: str | None = None,
) -> bool:
    """Return whether the result that `plan` describes is complete.

    Parameters
    ----------
    settings
        As `Segmenter.resolved` returns them.
    calibration_sha256
        Digest of the calibration for the prompt, "" without one.
    plane
        Letters of the axes of the planes, if it is a result of a stack.
    start
        Plane from which its object was followed through a stack.
    domain_sha256
        Digest of the model's training domains; None accepts any.

    Raises
    ------
    OutputError
        If there is a result of this name from another model, other settings or with other
        files: continuing would mix two kinds in one folder.
    """
    older = read_sidecar(plan.sidecar)
    if older is None:
        return False
    same = (
        older.was_drawn_with(settings, model_sha256, calibration_sha256, prompt)
        and older.files == plan.by_kind()
        and older.channel == plan.channel
        and (domain_sha256 is None or older.domain_sha256 in (None, domain_sha256))
        and (None if older.stack is None else older.stack.plane) == plane
        and (None if older.following is None else older.following.start) == start
    )
    if not same:
        raise OutputError(
            f"{plan.sidecar} describes a result from another model, calibration or training "
            "domain, another prompt, other settings or other formats."
            f"{older.precision_note(settings)} Choose another --out, or replace it with "
            "--overwrite."
        )
    return all(path.is_file() for path in plan.paths())


def _older_files(plan: ResultPlan) -> set[Path]:
    """Return the files of an older result of this name.

    Only names that this package creates count, so that an edited JSON file cannot make it
    remove anything else.
    """
    older = read_sidecar(plan.sidecar)
    if older is None:
        return set()
    listed = {path for paths in older.files.values() for path in paths}
    name = re.escape(plan.name)
    kinds = "|".join(get_args(Kind))
    our_name = re.compile(rf"{name}_({kinds})\.(tif|png)|{name}_samples/sample_\d+\.png")
    return {plan.folder / path for path in listed if our_name.fullmatch(path)}


def _remove_if_empty(plan: ResultPlan) -> None:
    with contextlib.suppress(OSError):
        (plan.folder / f"{plan.name}_samples").rmdir()
