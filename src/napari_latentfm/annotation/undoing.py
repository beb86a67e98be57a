"""Keep the record of an annotation consistent with Ctrl+Z: undone proposals do not count.

napari's undo history is private, and its events do not distinguish undo from other changes. The
labels that a proposal changed are therefore compared, by checksum, with those before and after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari.layers import Labels

from napari_latentfm.layers.annotation_record import PlaneIndex, Proposal, TakenStep, record_of
from napari_latentfm.layers.edits import checksum

if TYPE_CHECKING:
    from napari_latentfm.annotation.changes import Change
    from napari_latentfm.results.session import ReviewSession

MAX_BYTES = 2**28
"""Maximum size of kept earlier proposals; the oldest are dropped first."""


@contextmanager
def undoable(layer: Labels, changes: Sequence[Change]) -> Iterator[None]:
    """Note the proposals that are taken, by these changes, inside the block."""
    record, boxes = record_of(layer), tuple(tuple(each.box) for each in changes)
    indices = [each.plane.index for each in changes]
    old = {index: record.proposals.get(index) for index in indices}
    before = _labels(layer, boxes)
    yield
    after = _labels(layer, boxes)
    if before != after:
        new = {index: record.proposals.get(index) for index in indices}
        record.taken.append(TakenStep(boxes, before, after, old, new))
        record.undone.clear()
        _shrink(record.taken)


def follow_undo(session: ReviewSession, layer: Labels) -> None:
    """Compare the labels with the proposals taken last, after an edit that may be Undo or Redo."""
    record = record_of(layer)
    if record.writing:
        return
    last = record.taken[-1] if record.taken else None
    following = record.undone[-1] if record.undone else None
    if last is not None and _labels(layer, last.boxes) == last.before:
        record.undone.append(record.taken.pop())
        _put(layer, last.old)
        session.untaken.emit()
    elif following is not None and _labels(layer, following.boxes) == following.after:
        record.taken.append(record.undone.pop())
        _put(layer, following.new)
        session.taken.emit()


def _put(layer: Labels, proposals: dict[PlaneIndex, Proposal | None]) -> None:
    own = record_of(layer).proposals
    for index, proposal in proposals.items():
        if proposal is None:
            own.pop(index, None)
        else:
            own[index] = proposal


def _labels(layer: Labels, boxes: Sequence[tuple[slice, ...]]) -> tuple[str, ...]:
    return tuple(checksum(layer.data[box]) for box in boxes)


def _shrink(steps: list[TakenStep]) -> None:
    sizes = [sum(each.labels.nbytes for each in step.old.values() if each) for step in steps]
    while len(steps) > 1 and sum(sizes) > MAX_BYTES:
        del steps[0], sizes[0]
