"""Provenance of an annotation: collected from its record, and restored from a file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from latentfm_core.annotation.export import label_counts
from latentfm_core.annotation.formats import SECONDS, Space
from latentfm_core.annotation.labelled import label_name
from latentfm_core.annotation.provenance import (
    AnnotationSidecar,
    LabelInfo,
    correction,
    file_name,
    now,
    versions,
)
from napari_latentfm.annotation.layer import label_colours
from napari_latentfm.layers.annotation_record import Origin, PlaneIndex, Proposal, record_of
from napari_latentfm.layers.file_steps import steps_of
from napari_latentfm.layers.planes import index_slices

if TYPE_CHECKING:
    from napari_latentfm.results.session import Reviewed

_AXES = {
    "T": {"t", "time", "frame", "timepoint"},
    "Z": {"z", "depth", "plane", "slice"},
    "C": {"c", "channel"},
}
_DEFAULT_AXES = "CTZYX"


@dataclass(frozen=True)
class Facts:
    """A snapshot of an annotation's record, which any thread may read."""

    origin: Origin
    proposals: dict[PlaneIndex, Proposal]
    carried: dict[PlaneIndex, int]
    strokes: int
    seconds: float
    resolved: tuple[dict[str, Any], ...]
    names: dict[int, str] = field(default_factory=dict)


def remember(layer: Labels, reviewed: Reviewed) -> Origin:
    """Record the result that an annotation is made from."""
    samples, image = reviewed.result.samples, reviewed.layer
    older = record_of(layer).origin
    strokes = {} if older is None else dict(older.strokes)
    corrections = {} if older is None else dict(older.corrections)
    index = reviewed.plane.index
    if samples.strokes is not None and strokes.get(index) is not samples.strokes:
        strokes[index] = samples.strokes
        corrections.pop(index, None)
    path = image.source.path
    origin = Origin(
        file_name(str(path)) if path else file_name(image.name),
        ref(image),
        space_of(layer.ndim, *steps_of(layer, source=image), layer.axis_labels),
        samples.model_id,
        samples.model_hash,
        samples.seeds[0],
        dict(samples.settings),
        samples.classes,
        strokes,
        corrections,
        _colours(samples.classes, samples.colours, older),
    )
    record_of(layer).origin = origin
    _apply_colours(layer, older, origin.colours)
    return origin


def facts_of(layer: Labels) -> Facts | None:
    """Return a snapshot of an annotation's record; None if it was never under review."""
    record = record_of(layer)
    if record.origin is None:
        return None
    proposals = dict(record.proposals)
    carried = {
        index: edited
        for index, (proposal, edited) in record.carried.items()
        if proposals.get(index) is proposal
    }
    return Facts(
        record.origin,
        proposals,
        carried,
        record.strokes,
        record.seconds,
        record.resolved,
        dict(record.names),
    )


def carry(layer: Labels, sidecar: AnnotationSidecar) -> None:
    """Restore the provenance of an annotation whose labels were just restored.

    Files do not contain the proposals themselves. The number of edited pixels continues from that
    of the file, counted against the labels as restored.
    """
    record = record_of(layer)
    record.strokes, record.seconds = sidecar.strokes, sidecar.seconds
    record.names.update(sidecar.class_names)
    record.restored, record.resolved = sidecar.created, sidecar.resolved_regions
    for each in (record.proposals, record.taken, record.undone):
        each.clear()
    record.carried, record.recalled = {}, {info.index: info for info in sidecar.corrections}
    for info in sidecar.proposals:
        if len(info.index) != layer.ndim:
            continue
        proposal = Proposal(np.array(layer.data[index_slices(info.index)], np.uint8), info)
        record.proposals[info.index] = proposal
        record.carried[info.index] = (proposal, info.edited_pixels)
    if record.origin is not None:
        record.origin.corrections.update({info.index: info for info in sidecar.corrections})
        if not record.origin.colours and record.origin.classes == sidecar.classes:
            before = record.origin
            record.origin = replace(before, colours=sidecar.class_colours)
            _apply_colours(layer, before, sidecar.class_colours)


def edited_by_plane(facts: Facts, labels: NDArray[Any]) -> dict[PlaneIndex, int]:
    """Return how many pixels of each plane differ from its proposal."""
    return {
        index: int(np.count_nonzero(labels[index_slices(index)] != proposal.labels))
        + facts.carried.get(index, 0)
        for index, proposal in facts.proposals.items()
    }


def sidecar_of(facts: Facts, labels: NDArray[Any], signature: str = "") -> AnnotationSidecar:
    """Return the provenance of `labels`; it counts pixels, so call it in a worker thread."""
    origin = facts.origin
    edited = edited_by_plane(facts, labels)
    for index, strokes in origin.strokes.items():
        if index not in origin.corrections:
            origin.corrections[index] = correction(index, strokes)
    return AnnotationSidecar(
        image=origin.image,
        image_signature=signature,
        shape=labels.shape,
        axes=origin.space.axes,
        spacing=origin.space.spacing,
        units=origin.space.units,
        model_id=origin.model_id,
        model_sha256=origin.model_sha256,
        seed=origin.seed,
        sampling=origin.sampling,
        classes=origin.classes,
        class_colours=origin.colours,
        class_names=facts.names,
        labels=tuple(
            LabelInfo(
                value=value, name=label_name(origin.classes, value, facts.names), pixels=count
            )
            for value, count in label_counts(labels).items()
        ),
        proposals=tuple(
            proposal.info.model_copy(update={"edited_pixels": edited[index]})
            for index, proposal in facts.proposals.items()
        ),
        strokes=facts.strokes,
        corrections=tuple(dict(origin.corrections).values()),
        edited_pixels=sum(edited.values()) if edited else None,
        seconds=round(facts.seconds, 1),
        resolved_regions=facts.resolved,
        created=now(),
        versions=versions(),
    )


def space_of(ndim: int, scale: Any, units: Any, axis_labels: Any) -> Space:
    """Return axes, steps and units of a layer for its file.

    T, Z and C follow from axis labels and units of time; otherwise the axes before Y and X are
    Z, then T, then C. With pixel units and step 1 the size of a pixel is unknown.
    """
    names = tuple(str(unit) for unit in units) if units is not None else ("pixel",) * ndim
    steps = tuple(abs(float(step)) for step in np.asarray(scale, float))
    known = any(name != "pixel" for name in names) or any(step != 1 for step in steps)
    default_axes = _DEFAULT_AXES[-ndim:].rjust(ndim, "Q")
    known_axes = "".join(
        _axis_letter(str(label), name) or default
        for label, name, default in zip(
            axis_labels or ("",) * ndim, names, default_axes, strict=True
        )
    )
    axes = known_axes[:-2] + "YX"
    if len(set(axes)) < ndim:
        axes = default_axes
    return Space(axes, steps if known and all(steps) else None, names if known else ())


def _axis_letter(label: str, unit: str) -> str:
    for letter, words in _AXES.items():
        if label.lower() in words:
            return letter
    return "T" if unit in SECONDS else ""


def _colours(
    classes: tuple[str, ...], colours: tuple[str, ...], older: Origin | None
) -> tuple[str, ...]:
    """Return a model's own colours, or those of an earlier model with the same classes."""
    if colours or older is None or older.classes != classes:
        return colours
    return older.colours


def _apply_colours(layer: Labels, older: Origin | None, colours: tuple[str, ...]) -> None:
    """Give a layer the colours of another model; colours set by the user are kept."""
    if colours != (older.colours if older else ()):
        layer.colormap = label_colours(colours)
