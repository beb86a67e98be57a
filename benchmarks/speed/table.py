"""The Markdown page of a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.speed.contenders import ENSEMBLE, OWN, PLAIN, WITH_DROPOUT
from benchmarks.speed.floor import Floor
from benchmarks.speed.job import Job
from benchmarks.speed.measure import Measured
from benchmarks.speed.prompted import PROMPTED


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Return b of y = a x^b by least squares on logarithms."""
    slope, _ = np.polyfit(np.log(x), np.log(y), 1)
    return float(slope)


def page(cells: Sequence[Measured], parts: Sequence[Floor], device: str) -> str:
    """Return tables, ratios, exponents and floors."""
    prompted = [cell for cell in cells if cell.job.name in PROMPTED]
    cells = [cell for cell in cells if cell.job.name not in PROMPTED]
    found = {_key(cell.job): cell for cell in cells}
    samples = sorted({cell.job.samples_shown for cell in cells})
    lines = [f"{device}; seconds (peak memory in MB of the process).", ""]
    for size in sorted({cell.job.size for cell in cells}):
        lines += [f"| {size} x {size} px | " + " | ".join(f"N = {n}" for n in samples) + " |"]
        lines += ["| --- |" + " --- |" * len(samples)]
        for label in dict.fromkeys(cell.job.label for cell in cells):
            row = [_cell(found.get((label, size, n))) for n in samples]
            lines.append(f"| {label} | " + " | ".join(row) + " |")
        lines += ["", *_ratios(found, size), ""]
    lines += _prompted(prompted)
    lines += _exponents(cells)
    lines += ["", "| part | 10^9 multiply-adds | seconds | its convolutions alone | share |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {p.part} | {p.multiply_adds:.2f} | {p.seconds:.3f} | {p.floor_seconds:.3f} | "
        f"{p.share:.2f} |"
        for p in parts
    ]
    return "\n".join(lines) + "\n"


def _key(job: Job) -> tuple[str, int, int]:
    return job.label, job.size, job.samples_shown


def _cell(cell: Measured | None) -> str:
    return "" if cell is None else f"{cell.seconds:.2f} ({cell.megabytes:.0f})"


def _ratios(found: dict[tuple[str, int, int], Measured], size: int) -> list[str]:
    def ratio(a: tuple[str, int], b: tuple[str, int]) -> float | None:
        one, other = found.get((a[0], size, a[1])), found.get((b[0], size, b[1]))
        return None if one is None or other is None else one.seconds / other.seconds

    unet, pixel = WITH_DROPOUT[0], "pixel diffusion, 50 steps"
    wanted: dict[str, float | None] = {}
    for k in (1, 4):
        own = (f"{OWN}, K = {k}", 16)
        wanted |= {
            f"K = {k}, N = 16 over ONE plain pass of DynUNet": ratio(own, (PLAIN, 1)),
            f"K = {k}, N = 16 over an ensemble of 16": ratio(own, (ENSEMBLE, 16)),
            f"K = {k}, N = 16 over one pass with dropout": ratio(own, (unet, 1)),
            f"K = {k}, N = 16 over 16 passes with dropout": ratio(own, (unet, 16)),
        }
    wanted["K = 4, N = 16 over diffusion in pixels"] = ratio((f"{OWN}, K = 4", 16), (pixel, 16))
    wanted["one pass with dropout over one plain pass"] = ratio((unet, 1), (PLAIN, 1))
    return [f"- {name}: {value:.4f}" for name, value in wanted.items() if value is not None]


def _prompted(cells: Sequence[Measured]) -> list[str]:
    if not cells:
        return []
    sizes = sorted({cell.job.size for cell in cells})
    first = cells[0].job
    title = f"promptable model, N = {first.samples}, K = {first.steps}"
    lines = [f"| {title} | " + " | ".join(f"{size} px" for size in sizes) + " |"]
    lines += ["| --- |" + " --- |" * len(sizes)]
    for name in dict.fromkeys(cell.job.name for cell in cells):
        row = {cell.job.size: cell for cell in cells if cell.job.name == name}
        shown = name.removeprefix("promptable, ")
        lines.append(f"| {shown} | " + " | ".join(_cell(row.get(size)) for size in sizes) + " |")
    return [*lines, ""]


def _exponents(cells: Sequence[Measured]) -> list[str]:
    own = [cell for cell in cells if cell.job.name == OWN]
    lines = []
    for steps in sorted({cell.job.steps for cell in own}):
        for size in sorted({cell.job.size for cell in own}):
            line = [c for c in own if c.job.steps == steps and c.job.size == size]
            if len(line) > 1:
                b = exponent([c.job.samples for c in line], [c.seconds for c in line])
                lines.append(f"- time ~ N^{b:.2f} at {size} px, K = {steps}")
        for n in sorted({cell.job.samples for cell in own}):
            line = [c for c in own if c.job.steps == steps and c.job.samples == n]
            if len(line) > 1:
                b = exponent([c.job.size**2 for c in line], [c.seconds for c in line])
                lines.append(f"- time ~ pixels^{b:.2f} at N = {n}, K = {steps}")
    return lines
