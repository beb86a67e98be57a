"""Run metadata in a checkpoint: commands, images, and the owner of the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import TypeAdapter

from latentfm_core.config import DataConfig
from latentfm_core.datasets.folds import training_split
from latentfm_core.datasets.in_memory import CanvasSet
from latentfm_core.datasets.object_set import ObjectSet
from latentfm_core.datasets.splits import Split, read_split
from latentfm_core.errors import CheckpointError
from latentfm_core.files.untrusted import parse_json
from latentfm_core.names import counted, name_some

ChangedData = Literal["reject", "keep", "redraw"]
"""Behaviour of a resumed run whose data have changed."""

MAX_CHARACTERS = 32_000_000
"""Maximum size of a record: about 300,000 names and fingerprints."""

DRAW = (
    "val_fraction",
    "test_fraction",
    "split_seed",
    "split_file",
    "group_file",
    "group_column",
    "folds",
    "fold",
)
CANVAS = ("size", "fit", "mask_threshold")
_ADVICE = (
    "Restore the original images, or use --changed-data: keep continues with the original "
    "parts (new images are not used), redraw draws them again (images that were trained on "
    "may then be in the test part). For other images, start a new run with another --out."
)


@dataclass(frozen=True)
class DataRecord:
    """The images of a run.

    Attributes
    ----------
    split
        The parts, without unusable images.
    fingerprints
        Hex digest of the network input of each training and validation image.
    left_out
        Images that could not be used.
    trained_on
        Images of other parts that were in the training part before it was drawn again.
    """

    split: Split
    fingerprints: dict[str, str]
    left_out: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = ()

    def names(self) -> set[str]:
        """Return the names of all images that the run knew."""
        return {*self.split.train, *self.split.val, *self.split.test, *self.left_out}


@dataclass(frozen=True)
class RunRecord:
    """Metadata of a run, stored in its checkpoint.

    Attributes
    ----------
    commands
        The commands that the run was started and resumed with, in their order.
    init
        Model that the run started from, empty without one; None if an older version wrote this.
    init_sha256
        Digest of its weights; empty without one, or if an older version wrote this.
    encoder
        Origin of the pretrained weights for the card; None if an older version wrote this.
    """

    commands: tuple[str, ...]
    data: DataRecord
    signature: str = ""
    card: dict[str, Any] = field(default_factory=dict)
    init: str | None = None
    encoder: dict[str, str] | None = None
    init_sha256: str = ""

    def to_text(self) -> str:
        """Return the record as text for `from_text`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> RunRecord:
        """Read a record; raise `ValueError` if `text` is not one, or too long."""
        if len(text) > MAX_CHARACTERS:
            raise ValueError("its record is too large")
        return _RECORD.validate_python(parse_json(text))


_RECORD = TypeAdapter(RunRecord)


def fingerprints(*sets: CanvasSet | ObjectSet | None) -> dict[str, str]:
    """Return a digest of image and masks by name; equal pixels have equal digests."""
    digests: dict[str, str] = {}
    for data in sets:
        if isinstance(data, ObjectSet):
            digests |= {image.name: _digest(image.rgb, image.masks) for image in data.images}
        elif data is not None:
            for row, name in enumerate(data.names):
                digests[name] = _digest(data.images[row], data.masks[row, : data.raters[row]])
    return digests


def _digest(image: NDArray[Any], masks: NDArray[Any]) -> str:
    digest = hashlib.blake2b(image.tobytes(), digest_size=8)
    digest.update(masks.tobytes())
    return digest.hexdigest()


def resumed_split(
    record: DataRecord,
    names: Collection[str],
    data: DataConfig,
    stored: DataConfig,
    changed: ChangedData,
) -> Split:
    """Return the split of a resumed run.

    Parameters
    ----------
    data, stored
        Current settings, and those in the checkpoint.

    Raises
    ------
    CheckpointError
        If images were added or are missing, or the split settings changed, and
        `changed` does not allow it.
    DatasetError
        If no training image is left, or the split file cannot be used.
    """
    if changed == "redraw":
        return training_split(names, data)
    there, known = set(names), record.names()
    if changed == "reject":
        _reject_other_draw(record, data, stored)
        _reject_other_canvas(data, stored)
        digests = [
            f"{counted(len(some), *what)} ({name_some(some)})"
            for some, *what in (
                (there - known, "was added", "were added"),
                (known - there, "is missing", "are missing"),
            )
            if some
        ]
        if digests:
            raise CheckpointError(
                f"The images have changed since the run began: {', '.join(digests)}. {_ADVICE}"
            )
    kept = record.split.restricted(there)
    if not kept.train:
        raise CheckpointError(
            "None of the run's training images was found. Name their folders with --images "
            "and --masks."
        )
    return kept


def _reject_other_draw(record: DataRecord, data: DataConfig, stored: DataConfig) -> None:
    differ = [name for name in DRAW if getattr(data, name) != getattr(stored, name)]
    if differ == ["split_file"] and data.split_file is not None:
        known = record.names()
        now = read_split(data.split_file, known).restricted(known - set(record.left_out))
        if now == record.split:
            return
    # A run with untrusted paths has its split in the checkpoint.
    gone = {name for name in differ if getattr(data, name) is None}
    differ = [name for name in differ if name not in gone]
    if differ:
        raise CheckpointError(
            f"A resumed run keeps its original parts, and "
            f"{', '.join(f'data.{name}' for name in differ)} would change them. Leave this out, "
            "or draw them again: --changed-data redraw."
        )


def _reject_other_canvas(data: DataConfig, stored: DataConfig) -> None:
    differ = [name for name in CANVAS if getattr(data, name) != getattr(stored, name)]
    if differ:
        raise CheckpointError(
            f"A resumed run keeps its preprocessing, and "
            f"{', '.join(f'data.{name}' for name in differ)} would change that. Leave it out, or "
            "add --changed-data keep."
        )


def reject_changed_pixels(record: DataRecord, digests: Mapping[str, str]) -> None:
    """Raise a `CheckpointError` that names images or masks changed since the run began."""
    known = record.fingerprints
    changed = {name for name, digest in digests.items() if known.get(name, digest) != digest}
    if changed:
        raise CheckpointError(
            f"{counted(len(changed), 'image or its masks have', 'images or their masks have')} "
            f"changed since the run began: {name_some(changed)}. {_ADVICE}"
        )


def data_record(
    before: DataRecord | None,
    split: Split,
    digests: dict[str, str],
    left_out: Collection[str],
) -> DataRecord:
    """Return the record of a run that continues from `before`."""
    trained: set[str] = set()
    if before is not None:
        trained = {*before.trained_on, *before.split.train} - set(split.train)
        left_out = {*left_out, *before.left_out}
    now_used = {*split.train, *split.val, *split.test}
    return DataRecord(
        split, digests, tuple(sorted(set(left_out) - now_used)), tuple(sorted(trained))
    )


def with_command(before: RunRecord | None, command: str, data: DataRecord) -> RunRecord:
    """Return the record of a run that was just started or resumed by `command`."""
    if before is None:
        before = RunRecord((), data)
    commands = (*before.commands, command) if command else before.commands
    return replace(before, commands=commands, data=data, signature="")


def signed_facts(out: Path, config: Mapping[str, Any], init: str | None = None) -> str:
    """Return the signed facts of a run in `out`: its location and all paths out of it."""
    facts = [str(out.resolve()), config["data"], *([init] if init else [])]
    return json.dumps(facts, sort_keys=True)
