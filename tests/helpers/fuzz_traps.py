"""Targets with known defects, which the fuzzing harness must find."""

from __future__ import annotations

import os
from pathlib import Path

from latentfm_core.errors import ImageError, ResourceError
from robustness.fuzz.cases import Target


def _make(_rng: object) -> dict[str, bytes]:
    return {"a.txt": b"x"}


def _raise(_folder: Path) -> None:
    raise KeyError("a defect")


def _run_on(_folder: Path) -> None:
    while True:
        pass


def _write_outside(folder: Path) -> None:
    (folder.parent / "stray").write_text("x")
    (folder.parent / "stray").unlink()


def _read_outside(folder: Path) -> None:
    (folder / ".." / "outside" / "secret").read_text()


def _start(_folder: Path) -> None:
    os.system("true")


def _fill(_folder: Path) -> None:
    bytearray(8 * 2**30)


def _fill_quietly(_folder: Path) -> None:
    try:
        bytearray(8 * 2**30)
    except MemoryError:
        raise ResourceError("no memory") from None


def _crash(_folder: Path) -> None:
    os.abort()


def _reject(_folder: Path) -> None:
    raise ImageError("as it should be")


TARGETS = {
    function.__name__.strip("_"): Target(_make, function)
    for function in (
        _raise,
        _run_on,
        _write_outside,
        _read_outside,
        _start,
        _fill,
        _fill_quietly,
        _crash,
        _reject,
    )
}
