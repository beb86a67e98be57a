"""Write all files of one image's result atomically."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from latentfm_core.config import SamplingConfig, Settings
from latentfm_core.errors import OutputError
from latentfm_core.files.atomic import atomic_path
from latentfm_core.files.digest import content_digest
from latentfm_core.files.untrusted import decoded_text, read_bounded
from latentfm_core.images.axes import to_axes
from latentfm_core.output.images import grey_levels, write_png, write_tiff
from latentfm_core.output.kinds import Format, Kind
from latentfm_core.output.sidecar import Sidecar, StackFacts, facts_of
from latentfm_core.types import ImageInput, Mask, SampleSet, Summary, is_recorded

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
    _reject_link(plan)
    older = _older_files(plan)
    try:
        with contextlib.ExitStack() as stack:
            # Contexts end in reverse order: the first one entered is renamed last.
            temporary = stack.enter_context(atomic_path(plan.sidecar))
            maps: list[Path] = []
            for kind in plan.kinds:
                for form in plan.formats:
                    options = kind, form, source, samples, summary, sidecar.stack
                    maps += _write_kind(stack, plan, *options)
            described = sidecar.model_copy(update={"maps_digest": _digest(maps)})
            temporary.write_text(described.model_dump_json(indent=2) + "\n", encoding="utf-8")
            plan.sidecar.unlink(missing_ok=True)
    except BaseException:
        _remove_if_empty(plan)
        raise
    for path in older - set(plan.paths()):
        path.unlink(missing_ok=True)
    _remove_if_empty(plan)


def _reject_link(plan: ResultPlan) -> None:
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
) -> list[Path]:
    """Write the files of a kind under temporary names, which are returned."""
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
        return files
    white = PNG_WHITE.get(kind)
    planes = values if kind == "samples" else [values]
    for file, plane in zip(files, planes, strict=True):
        write_png(file, plane if white is None else grey_levels(plane, white))
    return files


def _digest(maps: Iterable[Path]) -> str:
    return hashlib.sha256("".join(map(content_digest, maps)).encode()).hexdigest()


def has_changed(paths: Sequence[Path]) -> bool:
    """Return whether maps of a finished result are not those that were written.

    Parameters
    ----------
    paths
        The maps, and the JSON file as the last one; unknown in files of earlier versions.
    """
    sidecar = read_sidecar(paths[-1])
    if sidecar is None or not sidecar.maps_digest:
        return False
    try:
        return _digest(paths[:-1]) != sidecar.maps_digest
    except OSError:
        return True


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


_UNKNOWN: tuple[tuple[str, object], ...] = (
    ("calibration_sha256", ""),
    ("domain_sha256", None),
    ("prompt_source", {}),
)
"""What sidecars of earlier versions lack, which is not compared."""


def is_described(
    path: Path, settings: SamplingConfig, prompt: Mapping[str, Any] | None = None, **facts: Any
) -> bool:
    """Return whether there is the JSON file of a result.

    Parameters
    ----------
    settings
        As `Segmenter.resolved` returns them.
    prompt
        As `Prompt.to_json` returns it, None without one.
    facts
        Other attributes of its `Sidecar`; of `stack` and the like only some of theirs.

    Raises
    ------
    OutputError
        If it describes another result: continuing would mix two kinds in one folder.
    """
    older = read_sidecar(path)
    if older is None:
        return False
    wanted = {"n_samples": settings.n_samples, **facts_of(settings), **facts}
    found = ((name, getattr(older, name), value) for name, value in wanted.items())
    same = all(_agree(have, value) or (name, have) in _UNKNOWN for name, have, value in found)
    first = older.seeds[:1] == (settings.seed,)
    if not (same and first and is_recorded(older.prompt, prompt or {}, older.shape)):
        raise OutputError(
            f"{path} describes a result from another model, calibration or training domain, "
            "another prompt, other settings or other formats."
            f"{older.precision_note(settings)} Choose another --out, or replace it with "
            "--overwrite."
        )
    return True


def _agree(found: Any, wanted: Any) -> bool:
    if isinstance(found, Settings) and isinstance(wanted, Mapping):
        return all(getattr(found, name) == value for name, value in wanted.items())
    return bool(found == wanted)


def is_finished(
    plan: ResultPlan,
    settings: SamplingConfig,
    prompt: Mapping[str, Any] | None = None,
    **facts: Any,
) -> bool:
    """Return whether the result that `plan` describes is complete.

    Parameters and errors are those of `is_described`.
    """
    planned = {"files": plan.by_kind(), "channel": plan.channel}
    return is_described(plan.sidecar, settings, prompt, **planned, **facts) and all(
        path.is_file() for path in plan.paths()
    )


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
