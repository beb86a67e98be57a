"""What is known of an annotation, collected for its provenance; and put back from there."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from latentfm_core.annotation.export import export_annotation, label_counts
from latentfm_core.annotation.fingerprint import image_signature
from latentfm_core.annotation.formats import SECONDS, Space
from latentfm_core.annotation.interchange import ENDINGS, ending_of
from latentfm_core.annotation.labelled import LabelledImage, class_names
from latentfm_core.annotation.provenance import (
    AnnotationSidecar,
    CorrectionInfo,
    LabelInfo,
    ProposalInfo,
    correction,
    file_name,
    now,
    versions,
)
from latentfm_core.errors import ImageError
from latentfm_core.files.disk_errors import check_still_there
from latentfm_core.images.decode import orient
from latentfm_core.images.orientation import orientation_to_apply
from napari_latentfm.layers.annotation_record import PlaneIndex, Proposal, record_of
from napari_latentfm.layers.planes import index_slices
from napari_latentfm.layers.pyramid import level_zero
from napari_latentfm.reading import reading_limits

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentfm.results.session import Reviewed

_AXES = {
    "T": {"t", "time", "frame", "timepoint"},
    "Z": {"z", "depth", "plane", "slice"},
    "C": {"c", "channel"},
}
_USUAL_AXES = "CTZYX"


@dataclass(frozen=True)
class Origin:
    """Where an annotation comes from, without the arrays of a result.

    Attributes
    ----------
    image
        File name of the image, or the name of its layer.
    layer
        The image layer, as a weak reference.
    space
        Axes, steps and units of the annotation.
    model_id, model_sha256, seed, sampling, classes
        Of the last result of the image.
    strokes
        ``(H, W)`` uint8 that samples were made to agree with, by plane.
    corrections
        What was made of `strokes` so far.
    """

    image: str
    layer: ReferenceType[Image]
    space: Space
    model_id: str
    model_sha256: str
    seed: int
    sampling: dict[str, Any]
    classes: tuple[str, ...]
    strokes: dict[PlaneIndex, NDArray[np.uint8]] = field(default_factory=dict)
    corrections: dict[PlaneIndex, CorrectionInfo] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """A snapshot of all that is known of an annotation but its pixels; safe for any thread."""

    origin: Origin
    proposals: dict[PlaneIndex, Proposal]
    carried: dict[PlaneIndex, int]
    strokes: int
    seconds: float
    resolved: tuple[dict[str, Any], ...]
    names: dict[int, str] = field(default_factory=dict)


_ORIGINS: WeakKeyDictionary[Labels, Origin] = WeakKeyDictionary()
_RESOLVED: WeakKeyDictionary[Labels, tuple[dict[str, Any], ...]] = WeakKeyDictionary()
_CARRIED: WeakKeyDictionary[Labels, dict[PlaneIndex, tuple[Proposal, int]]] = WeakKeyDictionary()
_RESTORED: WeakKeyDictionary[Labels, str] = WeakKeyDictionary()
_SIGNATURES: WeakKeyDictionary[Image, tuple[ReferenceType[Any], str]] = WeakKeyDictionary()


def signature_of(layer: Image) -> str:
    """Return the signature of an image layer's pixels; kept until the layer has other data.

    It reads the image, so call it in a worker thread.
    """
    data = level_zero(layer)
    known = _SIGNATURES.get(layer)
    if known is not None and known[0]() is data:
        return known[1]
    found = image_signature(data)
    # Some lazy arrays have no weak references; theirs is computed each time.
    with contextlib.suppress(TypeError):
        _SIGNATURES[layer] = (ref(data), found)
    return found


def remember(layer: Labels, reviewed: Reviewed) -> Origin:
    """Note of an annotation which result it is made from."""
    samples, image = reviewed.result.samples, reviewed.layer
    older = _ORIGINS.get(layer)
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
        space_of(layer.ndim, layer.scale, layer.units, layer.axis_labels),
        samples.model_id,
        samples.model_hash,
        samples.seeds[0],
        dict(samples.settings),
        samples.classes,
        strokes,
        corrections,
    )
    _ORIGINS[layer] = origin
    return origin


def note_resolved(layer: Labels, regions: Sequence[Mapping[str, Any]]) -> None:
    """Note which regions of doubt were gone through, as JSON values."""
    _RESOLVED[layer] = tuple(dict(region) for region in regions)


def annotation_with(data: Any) -> Labels | None:
    """Return the annotation layer that holds this very array, if one does."""
    for layer in list(_ORIGINS):
        if layer.data is data and record_of(layer).layer_id == str(layer.unique_id):
            return layer
    return None


def facts_of(layer: Labels) -> Facts | None:
    """Return what is known of an annotation now; None if it was never under review."""
    origin = _ORIGINS.get(layer)
    if origin is None:
        return None
    record = record_of(layer)
    proposals = dict(record.proposals)
    carried = {
        index: edited
        for index, (proposal, edited) in _CARRIED.get(layer, {}).items()
        if proposals.get(index) is proposal
    }
    resolved = _RESOLVED.get(layer, ())
    return Facts(
        origin, proposals, carried, record.strokes, record.seconds, resolved, dict(record.names)
    )


def carry(layer: Labels, sidecar: AnnotationSidecar) -> None:
    """Put provenance back onto an annotation whose labels were just restored.

    The proposals themselves are not kept in files. What differs from them is counted on from
    the figure of the file, against the labels as restored.
    """
    record, carried = record_of(layer), {}
    record.strokes, record.seconds = sidecar.strokes, sidecar.seconds
    record.names.update(sidecar.class_names)
    record.proposals.clear()
    for info in sidecar.proposals:
        if len(info.index) != layer.ndim:
            continue
        proposal = Proposal(
            np.array(layer.data[index_slices(info.index)], np.uint8),
            info.origin,
            info.how,
            info.seed,
            info.model_id,
            info.model_sha256,
            dict(info.settings),
            info.domain_score,
        )
        record.proposals[info.index] = proposal
        carried[info.index] = (proposal, info.edited_pixels)
    _CARRIED[layer] = carried
    _RESTORED[layer] = sidecar.created
    _RESOLVED[layer] = sidecar.resolved_regions
    origin = _ORIGINS.get(layer)
    if origin is not None:
        origin.corrections.update({info.index: info for info in sidecar.corrections})


def restored_from(layer: Labels) -> str:
    """Return when the labels that an annotation began with were kept, "" if it began empty."""
    return _RESTORED.get(layer, "")


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
        class_names=facts.names,
        labels=tuple(
            LabelInfo(
                value=value, name=label_name(origin.classes, value, facts.names), pixels=count
            )
            for value, count in label_counts(labels).items()
        ),
        proposals=tuple(
            _proposal_info(index, proposal, edited[index])
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


def export_file(path: Path, facts: Facts, labels: NDArray[Any]) -> tuple[Path, Path]:
    """Write labels and provenance; for a worker thread.

    Raises
    ------
    ImageError
        If the image is gone.
    OutputError
        If the files cannot be written.
    """
    layer = facts.origin.layer()
    if layer is None:
        raise ImageError("The image of this annotation is closed. Open it and try again.")
    check_still_there(path.parent)
    turn = orientation_of(layer)
    sidecar = sidecar_of(facts, labels, signature_as_read(layer, turn))
    if turn != 1:
        labels, sidecar = orient(labels, turn), _turned(sidecar, turn)
    return export_annotation(path, labels, sidecar)


def export_interchange(path: Path, facts: Facts, labels: NDArray[Any]) -> None:
    """Write labels for other programs, as the ending of the file says; for a worker thread.

    Raises
    ------
    ImageError
        If the image is gone.
    OutputError
        If the file cannot be written, or the labels do not fit its format.
    """
    layer, ending, origin = facts.origin.layer(), ending_of(path), facts.origin
    if layer is None or ending is None:
        raise ImageError("The image of this annotation is closed. Open it and try again.")
    check_still_there(path.parent)
    turn, size = orientation_of(layer), origin.space.pixel_size()
    if turn != 1:
        labels = orient(labels, turn)
    if turn > 4 and size is not None:
        size = replace(size, row=size.column, column=size.row)
    file = Path(layer.source.path) if layer.source.path else None
    names = class_names(origin.classes) | facts.names
    ENDINGS[ending](path, LabelledImage(origin.image, labels, names, size, file))


def orientation_of(layer: Image) -> int:
    """Return the orientation that the commands apply to the file of a layer, and napari did not.

    It reads the file, so call it in a worker thread.
    """
    if layer.ndim != 2 or not layer.source.path:
        return 1
    return orientation_to_apply(Path(layer.source.path), level_zero(layer), reading_limits())


def signature_as_read(layer: Image, turn: int) -> str:
    """Return the signature of an image layer as the commands read its file."""
    if turn == 1:
        return signature_of(layer)
    return image_signature(np.ascontiguousarray(orient(np.asarray(level_zero(layer)), turn)))


def _turned(sidecar: AnnotationSidecar, turn: int) -> AnnotationSidecar:
    """Return the provenance of labels that were turned; what it says of planes stays as it is."""
    update: dict[str, Any] = {"orientation": turn}
    if turn > 4:
        update["shape"] = sidecar.shape[::-1]
        update["spacing"] = sidecar.spacing and sidecar.spacing[::-1]
        update["units"] = sidecar.units[::-1]
    return sidecar.model_copy(update=update)


def label_name(classes: Sequence[str], value: int, names: Mapping[int, str] | None = None) -> str:
    """Return the name of a label: the user's, the model's class, or "label 7" without either."""
    if names and names.get(value):
        return names[value]
    return classes[value - 1] if 1 <= value <= len(classes) else f"label {value}"


def space_of(ndim: int, scale: Any, units: Any, axis_labels: Any) -> Space:
    """Return axes, steps and units of a layer for its file.

    Axis labels and units of time tell T, Z and C; otherwise the axes before Y and X are Z,
    then T, then C. Without a unit and at step 1 nothing is known of the size of a pixel.
    """
    names = tuple(str(unit) for unit in units) if units is not None else ("pixel",) * ndim
    steps = tuple(abs(float(step)) for step in np.asarray(scale, float))
    known = any(name != "pixel" for name in names) or any(step != 1 for step in steps)
    usual = _USUAL_AXES[-ndim:].rjust(ndim, "Q")
    told = "".join(
        _letter(str(label), name) or default
        for label, name, default in zip(axis_labels or ("",) * ndim, names, usual, strict=True)
    )
    axes = told[:-2] + "YX"
    if len(set(axes)) < ndim:
        axes = usual
    return Space(axes, steps if known and all(steps) else None, names if known else ())


def _letter(label: str, unit: str) -> str:
    for letter, words in _AXES.items():
        if label.lower() in words:
            return letter
    return "T" if unit in SECONDS else ""


def _proposal_info(index: PlaneIndex, proposal: Proposal, edited: int) -> ProposalInfo:
    return ProposalInfo(
        index=index,
        origin=proposal.origin,
        how=proposal.how,
        seed=proposal.seed,
        model_id=proposal.model,
        model_sha256=proposal.model_sha256,
        settings=proposal.settings,
        domain_score=proposal.domain_score,
        edited_pixels=edited,
    )
