"""The results of a folder that a person should check first."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from latentfm_core.output.paths import printable
from latentfm_core.output.result import read_sidecar
from latentfm_core.uncertainty.unlike import unlike_advice

MOST = 5
"""Most images to name."""


class Result(Protocol):
    """A result on disk."""

    @property
    def name(self) -> str:
        """Prefix of its file names."""
        ...

    @property
    def sidecar(self) -> Path:
        """Its JSON file."""
        ...


def first_look(plans: Iterable[Result]) -> str | None:
    """Return a line that names the images with the lowest expected Dice, lowest first.

    Lines before it name images that are unlike the training images, with and without a prompt. It
    is read from what lies on disk, so that results of other processes and of a run before count as
    well. None if no image is unlike them, and there are not two images whose expected Dice is
    known.
    """
    known = []
    unlike: dict[bool, list[str]] = {False: [], True: []}
    for plan in plans:
        sidecar = read_sidecar(plan.sidecar)
        if sidecar is None:
            continue
        if sidecar.out_of_domain:
            unlike[bool(sidecar.prompt)].append(printable(plan.name))
        if sidecar.expected_dice is not None:
            known.append((sidecar.expected_dice, printable(plan.name)))
    lines = []
    for prompted, names in unlike.items():
        if not names:
            continue
        more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
        lines.append(
            "Unlike the images that the model was trained on "
            f"({unlike_advice(prompted, several=True)}): {', '.join(sorted(names)[:MOST])}{more}"
        )
    if len(known) > 1:
        least = ", ".join(f"{name} {expected:.2f}" for expected, name in sorted(known)[:MOST])
        lines.append(f"Check these first (lowest expected Dice): {least}")
    return "\n".join(lines) or None
