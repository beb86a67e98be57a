"""Victims that autosave and export annotations, and keep marks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latentfm_core.annotation.autosave import ROTATIONS, AutosaveStore
from latentfm_core.annotation.export import export_annotation
from latentfm_core.annotation.marks import MarkedObject, MarkStore, StoredMarks
from latentfm_core.annotation.provenance import AnnotationSidecar
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.worklist.state import WorkList
from robustness.crash.fixtures import write_images
from robustness.crash.process import Progress
from robustness.crash.rounds import Victim

SIGNATURE, OTHER = "ab" * 16, "cd" * 16
SHAPE = (300, 400)
STATES = 25
SUFFIXES = (".tif", ".png")


def labels_of(state: int) -> np.ndarray:
    """Return the labels of a state, all different and hard to compress."""
    return np.random.default_rng(state).integers(0, 3, SHAPE).astype(np.uint8)


def _info(state: int) -> AnnotationSidecar:
    return AnnotationSidecar(image="skin.png", shape=SHAPE, axes="YX", strokes=state)


def _nothing(folder: Path) -> None:
    """Start with an empty folder."""


def _autosave(folder: Path, reached: Progress) -> int:
    store = AutosaveStore(folder / "autosave")
    while reached.value < STATES:
        state = reached.value + 1
        store.save(SIGNATURE, labels_of(state), _info(state))
        reached.value = state
    store.save(SIGNATURE, labels_of(STATES), _info(STATES))
    return 0


def _look_at_autosave(folder: Path, reached: int) -> list[str]:
    store = AutosaveStore(folder / "autosave")
    found = []
    newest = store.newest(SIGNATURE)
    if newest is None:
        return [f"nothing is kept after {reached} states"] if reached else []
    if newest.info.strokes < reached:
        found.append(f"state {reached} was kept, and the newest is {newest.info.strokes}")
    for state in store.history(SIGNATURE):
        if not np.array_equal(state.labels(), labels_of(state.info.strokes)):
            found.append(f"{state.file.name} holds other labels")
    return found


def _compare_autosave(folder: Path, whole: Path) -> list[str]:
    found = _look_at_autosave(folder, STATES)
    states = AutosaveStore(folder / "autosave").history(SIGNATURE)
    if len(states) != ROTATIONS:
        found.append(f"{len(states)} states are kept")
    return found


def _marks_of(state: int) -> StoredMarks:
    """Return the marks of a state: a box for each state so far."""
    objects = [
        MarkedObject(number=n, index=(None, None), box=(n, 1.0, n + 5.0, 30.0))
        for n in range(1, state + 1)
    ]
    return StoredMarks(objects=tuple(objects))


def _mark(folder: Path, reached: Progress) -> int:
    store = MarkStore(folder / "marks")
    while reached.value < STATES:
        state = reached.value + 1
        store.save(SIGNATURE, _marks_of(state))
        store.save(OTHER, _marks_of(1))
        store.save(OTHER, StoredMarks())
        reached.value = state
    store.save(SIGNATURE, _marks_of(STATES))
    store.save(OTHER, StoredMarks())
    return 0


def _look_at_marks(folder: Path, reached: int) -> list[str]:
    marks = MarkStore(folder / "marks").read(SIGNATURE)
    if marks is None:
        return [f"no marks are kept after {reached} states"] if reached else []
    states = [n for n in (reached, reached + 1) if marks == _marks_of(n)]
    return [] if states else [f"the file holds {len(marks.objects)} objects in state {reached}"]


def _compare_marks(folder: Path, whole: Path) -> list[str]:
    ours, theirs = (
        {path.name: path.read_bytes() for path in (each / "marks").iterdir()}
        for each in (folder, whole)
    )
    return [] if ours == theirs else [f"files {sorted(ours)} instead of {sorted(theirs)}"]


def _export(folder: Path, reached: Progress) -> int:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    while reached.value < STATES:
        state = reached.value + 1
        for suffix in SUFFIXES:
            export_annotation(out / f"skin{suffix}", labels_of(state), _info(state))
        reached.value = state
    for suffix in SUFFIXES:
        export_annotation(out / f"skin{suffix}", labels_of(STATES), _info(STATES))
    return 0


def _look_at_export(folder: Path, reached: int) -> list[str]:
    found = []
    for suffix in SUFFIXES:
        path = folder / "out" / f"skin{suffix}"
        if not path.exists():
            found += [f"{path.name} is lost"] if reached else []
            continue
        labels, sidecar = read_annotation(path)
        states = [n for n in (reached, reached + 1) if np.array_equal(labels, labels_of(n))]
        if not states:
            found.append(f"{path.name} holds neither the old labels nor the new")
        elif sidecar is not None and sidecar.strokes != states[0]:
            found.append(f"{path.name} has the provenance of another state")
    return found


def _compare_export(folder: Path, whole: Path) -> list[str]:
    found = []
    for suffix in SUFFIXES:
        labels, sidecar = read_annotation(folder / "out" / f"skin{suffix}")
        if not np.array_equal(labels, labels_of(STATES)):
            found.append(f"skin{suffix} holds other labels than it should")
        if sidecar is None or sidecar.strokes != STATES:
            found.append(f"skin{suffix} has no provenance")
    return found


def _work_list(folder: Path, reached: Progress) -> int:
    work = WorkList(folder / "images")
    name = work.names[0]
    while reached.value < STATES:
        state = reached.value + 1
        export_annotation(work.unfinished(name), labels_of(state), _info(state))
        work.update(name, state="in progress", seconds=state, file=work.unfinished(name).name)
        reached.value = state
    work.update(name, state="completed")
    return 0


def _look_at_work_list(folder: Path, reached: int) -> list[str]:
    work = WorkList(folder / "images")
    if work.warning:
        return [work.warning]
    name, found = work.names[0], []
    if work.item(name).seconds < reached:
        found.append(f"state {reached} was noted, and the list knows {work.item(name).seconds}")
    kept = work.kept(name)
    if reached and kept is None:
        return [*found, "the annotation is lost"]
    if kept is not None:
        labels, _ = read_annotation(kept)
        if not any(np.array_equal(labels, labels_of(n)) for n in (reached, reached + 1)):
            found.append(f"{kept.name} holds neither the old labels nor the new")
    return found


def _compare_work_list(folder: Path, whole: Path) -> list[str]:
    found = _look_at_work_list(folder, STATES)
    items = [WorkList(each / "images").items() for each in (folder, whole)]
    states = [{name: item.state for name, item in each.items()} for each in items]
    return [*found, *(["the lists differ"] if states[0] != states[1] else [])]


def _images(folder: Path) -> None:
    write_images(folder, 2)


AUTOSAVE = Victim(_nothing, _autosave, _look_at_autosave, _compare_autosave, share=4)
MARKS = Victim(_nothing, _mark, _look_at_marks, _compare_marks, share=2)
EXPORT = Victim(_nothing, _export, _look_at_export, _compare_export, share=3)
WORKLIST = Victim(_images, _work_list, _look_at_work_list, _compare_work_list, share=2)
