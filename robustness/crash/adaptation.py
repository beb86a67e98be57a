"""Victim that stores one version of an adapted model after the other."""

from __future__ import annotations

from pathlib import Path

from latentfm_core.adaptation.record import KEPT_VERSIONS, AdaptationFolder, AdaptationRecord
from latentfm_core.adaptation.storing import store
from latentfm_core.model_io.card import ParentInfo, read_card
from latentfm_core.model_io.folder import load_model
from robustness.crash.fixtures import write_model
from robustness.crash.process import Progress
from robustness.crash.rounds import Victim

STATES = 25


def _prepare(folder: Path) -> None:
    write_model(folder)
    (folder / "list").mkdir()


def _work(folder: Path, reached: Progress) -> int:
    model, card = load_model(folder / "model")
    kept = AdaptationFolder(folder / "list")
    with kept.writing():
        while reached.value < STATES:
            state = reached.value + 1
            parent = ParentInfo(id=card.id, sha256=card.weights_sha256, n_images=state)
            fields = card.model_dump(mode="json", exclude={"weights"})
            record = AdaptationRecord(
                parent=card.id, parent_sha256=card.weights_sha256, used=True, seconds=state
            )
            store(kept, record, model, fields | {"parent": parent.model_dump()})
            reached.value = state
    return 0


def _look(folder: Path, reached: int) -> list[str]:
    kept = AdaptationFolder(folder / "list")
    record = kept.read()
    if not reached and not record.parent:
        return []
    found = []
    if record.seconds not in (reached, reached + 1):
        found.append(f"state {reached} was stored, and the record is of {record.seconds}")
    model = kept.in_use(record.parent_sha256)
    if model is None:
        return [*found, "the adapted model is lost"]
    load_model(model)
    parent = read_card(model).parent
    if parent is None or parent.n_images != record.seconds:
        found.append("record and model are of different states")
    return found


def _compare(folder: Path, whole: Path) -> list[str]:
    found = _look(folder, STATES)
    versions = list((folder / "list" / "adaptation").glob("model-*"))
    if len(versions) > KEPT_VERSIONS:
        found.append(f"{len(versions)} versions are kept")
    return found


ADAPTATION = Victim(_prepare, _work, _look, _compare)
