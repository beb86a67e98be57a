"""Which results of a folder somebody should look at first."""

from __future__ import annotations

from collections.abc import Iterable

from latentfm_core.output.paths import printable
from latentfm_core.output.result import ResultPlan, read_sidecar

MOST = 5
"""Images that are named."""


def first_look(plans: Iterable[ResultPlan]) -> str | None:
    """Return a line that names the images with the least expected Dice, the least first.

    It is read from what lies on disk, so that results of other processes and of a run before
    count as well. None if there are not two images whose expected Dice is known.
    """
    known = []
    for plan in plans:
        sidecar = read_sidecar(plan.sidecar)
        if sidecar is not None and sidecar.expected_dice is not None:
            known.append((sidecar.expected_dice, printable(plan.name)))
    if len(known) < 2:
        return None
    least = ", ".join(f"{name} {expected:.2f}" for expected, name in sorted(known)[:MOST])
    return f"Look first at those of least expected Dice: {least}"
