"""List the results of a folder that should be checked first."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from latentfm_core.names import name_some, shown
from latentfm_core.output.paths import printable
from latentfm_core.output.result import read_sidecar
from latentfm_core.uncertainty.domain_advice import unlike_advice
from latentfm_core.uncertainty.expected_dice import NOT_CALIBRATED

MOST = 5
"""Most images to name."""


def first_look(results: Iterable[tuple[str, Path]]) -> str | None:
    """Return a line that names the images with the lowest expected Dice, lowest first.

    Lines before it name images that are unlike the training images, with and without a prompt.
    `results` are the names of results and their JSON files on disk: those of other processes and
    of a run before count as well. None if no image is unlike them, and there are not two images
    whose expected Dice is known. A line after it says if the values are not calibrated.
    """
    known = []
    raw = False
    unlike: dict[bool, list[str]] = {False: [], True: []}
    for name, file in results:
        sidecar = read_sidecar(file)
        if sidecar is None:
            continue
        if sidecar.out_of_domain:
            unlike[bool(sidecar.prompt)].append(printable(name))
        if sidecar.expected_dice is not None:
            known.append((sidecar.expected_dice, shown(printable(name))))
            raw |= sidecar.confidence == "raw"
    lines = []
    for prompted, names in unlike.items():
        if not names:
            continue
        lines.append(
            "Unlike the images that the model was trained on "
            f"({unlike_advice(prompted, several=True)}): {name_some(names, MOST)}"
        )
    if len(known) > 1:
        least = ", ".join(f"{name} {expected:.2f}" for expected, name in sorted(known)[:MOST])
        lines.append(f"Check these first (lowest expected Dice): {least}")
        if raw:
            lines.append(f"The expected Dice is {NOT_CALIBRATED}")
    return "\n".join(lines) or None
