"""Write masks into the annotation, each as one undo step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from latentfm_core.errors import ImageError
from napari_latentfm.annotation.changes import Change, change_of, paint
from napari_latentfm.annotation.layer import under_review, writable_annotation
from napari_latentfm.annotation.mean_mask import count_as_taken, mean_mask_on_screen
from napari_latentfm.annotation.merging import How
from napari_latentfm.annotation.proposals import kept_values, name_of, proposal_of, record_proposal
from napari_latentfm.annotation.undoing import undoable
from napari_latentfm.layers.annotation_record import MEAN_MASK, PlaneIndex, record_of
from napari_latentfm.layers.planes import Plane, index_slices

if TYPE_CHECKING:
    from latentfm_core.types import Bool, SampleSet
    from napari_latentfm.results.session import Reviewed, ReviewSession


@dataclass(frozen=True)
class PlaneObject:
    """An object on one plane.

    Attributes
    ----------
    label
        With which it is written into the annotation.
    mask
        ``(H, W)`` bool, the mean mask of `samples`.
    domain_score
        Domain score of the plane; None if unknown.
    """

    label: int
    plane: Plane
    mask: Bool
    samples: SampleSet
    domain_score: float | None = None


def write_mean_mask(session: ReviewSession, region: NDArray[Any] | None = None) -> int:
    """Write the mean mask under review as it is on screen; return and raise as `write_labels`.

    Pixels that were painted on its layer count as edited.
    """
    shown = mean_mask_on_screen(session)
    proposed = under_review(session).result.summary.mean_mask
    if shown is proposed:
        return write_labels(session, shown, region=region, origin=MEAN_MASK)
    count = write_labels(session, shown, "replace", region, None, MEAN_MASK, proposed)
    if region is None:
        count_as_taken(session)
    return count


def write_objects(session: ReviewSession, objects: Sequence[PlaneObject]) -> int:
    """Write objects, on one plane or several, as one undo step; return as `write_labels`.

    Where masks overlap, the lower label is written; other labels are kept unless the session's
    ``cover_others`` is set. The object under review is written as it is on screen.

    Parameters
    ----------
    session
        The session; a plane of the same image must be under review.

    Raises
    ------
    ImageError
        As `write_labels`.
    """
    layer, here = writable_annotation(session), under_review(session).plane.index
    by_plane: dict[PlaneIndex, list[PlaneObject]] = {}
    for one in objects:
        by_plane.setdefault(one.plane.index, []).append(one)
    changes = [_change_of_objects(session, layer, each) for each in by_plane.values()]
    with undoable(layer, changes):
        for group, change in zip(by_plane.values(), changes, strict=True):
            last = group[-1]
            proposal = proposal_of(last.plane, change.proposal, last.samples, last.domain_score)
            record_proposal(record_of(layer), proposal)
        count = paint(session, layer, changes)
    if here in by_plane:
        session.record_taken()
    session.taken.emit()
    return count


def _change_of_objects(
    session: ReviewSession, layer: Labels, objects: Sequence[PlaneObject]
) -> Change:
    """Return what writing objects changes on their plane."""
    reviewed, plane = under_review(session), objects[0].plane
    masks = {one.label: one.mask for one in objects}

    def change_to(masks: Mapping[int, Bool]) -> Change:
        values = np.zeros(plane.shape, np.uint8)
        for label in sorted(masks, reverse=True):
            values[masks[label]] = label
        return change_of(session, layer, plane, values, sorted(masks), "replace", True)

    label, proposed, shown = reviewed.label, change_to(masks), mean_mask_on_screen(session)
    is_here = reviewed.plane.index == plane.index
    if label not in masks or not is_here or shown is reviewed.result.summary.mean_mask:
        return proposed
    masks[label] = np.asarray(shown).astype(bool)
    return replace(change_to(masks), proposal=proposed.proposal)


def write_labels(
    session: ReviewSession,
    labels: NDArray[Any],
    how: How | str = "replace",
    region: NDArray[Any] | None = None,
    classes: Sequence[int] | None = None,
    origin: str | None = None,
    proposed: NDArray[Any] | None = None,
) -> int:
    """Write a mask or labels into the annotation of the plane under review, as one undo step.

    A prompted object is written with its own label, whatever value `labels` has inside, and does
    not overwrite other labels unless the session's ``cover_others`` is set.

    Parameters
    ----------
    labels
        ``(H, W)`` bool, or integers with 0 as background.
    how
        ``"replace"`` sets a label to its mask, ``"union"`` adds the mask to it, and
        ``"intersect"`` erases it outside the mask.
    region
        ``(H, W)`` bool, outside of which nothing changes; None for the whole plane.
    classes
        The labels concerned; others in the annotation are not erased. None for the object
        under review, else 1 to the number of classes of the model.
    origin
        Name of the mask for the provenance; None looks it up among the samples.
    proposed
        As `labels`, before the user painted on them; the difference counts as edited.

    Returns
    -------
    int
        Number of changed pixels. Protected labels do not change: those in the annotation's
        record, and with the layer's ``preserve_labels`` all others.

    Raises
    ------
    ImageError
        If nothing is under review, a shape is wrong or the annotation is locked.
    """
    reviewed = under_review(session)
    values, concerned = _values(reviewed, labels, classes)
    inside = None if region is None else np.asarray(region).astype(bool, copy=False)
    for array in (values, inside):
        if array is not None and array.shape != reviewed.plane.shape:
            raise ImageError(
                f"A mask of {array.shape} does not fit the plane of {reviewed.plane.shape} pixels."
            )
    layer = writable_annotation(session)
    is_object = reviewed.label is not None
    change = change_of(session, layer, reviewed.plane, values, concerned, how, is_object)
    if proposed is not None:
        unpainted, _ = _values(reviewed, proposed, classes)
        other = change_of(session, layer, reviewed.plane, unpainted, concerned, how, is_object)
        change = replace(change, proposal=other.proposal)
    if inside is not None:
        change = replace(change, where=change.where & inside[change.window])
    result = reviewed.result
    name = origin or name_of(reviewed, change.proposal)
    kept = kept_values(reviewed, change.proposal)
    score = result.summary.domain_score
    proposal = proposal_of(reviewed.plane, kept, result.samples, score, name, how)
    with undoable(layer, [change]):
        record_proposal(record_of(layer), proposal)
        count = paint(session, layer, [change])
    session.record_taken()
    if how == "replace" and region is None:
        session.taken.emit()
    return count


def _values(
    reviewed: Reviewed, labels: NDArray[Any], classes: Sequence[int] | None
) -> tuple[NDArray[np.uint8], Sequence[int]]:
    """Return the labels to write, and the labels that this concerns."""
    given = np.asarray(labels)
    values = given.view(np.uint8) if given.dtype == bool else given.astype(np.uint8, copy=False)
    if classes is not None:
        return values, classes
    if reviewed.label is not None:
        return (values > 0) * np.uint8(reviewed.label), (reviewed.label,)
    return values, range(1, len(reviewed.result.samples.classes) + 1)


def write_pixels(
    layer: Labels,
    plane: Plane,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    values: NDArray[Any],
) -> None:
    """Write labels into pixels of a plane of the annotation, as one undo step.

    Parameters
    ----------
    rows, columns, values
        ``(P,)``: the pixels and their new labels. Without pixels there is no undo step.
    """
    if not rows.size:
        return
    within = iter((rows, columns))
    indices = tuple(
        next(within) if position is None else np.full(rows.size, position)
        for position in plane.index
    )
    with layer.block_history():
        layer.data_setitem(indices, values)


def edited_pixels(layer: Labels) -> dict[tuple[int | None, ...], int]:
    """Return the number of pixels that differ from the proposal, for each plane with one."""
    counts = {}
    for index, proposal in record_of(layer).proposals.items():
        view = layer.data[index_slices(index)]
        counts[index] = int(np.count_nonzero(view != proposal.labels))
    return counts
