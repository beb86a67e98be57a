"""The Markdown page of a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.speed.contenders import OWN, Job
from benchmarks.speed.floor import Floor
from benchmarks.speed.measure import Measured


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Return b of y = a x^b by least squares on logarithms."""
    slope, _ = np.polyfit(np.log(x), np.log(y), 1)
    return float(slope)


def page(cells: Sequence[Measured], parts: Sequence[Floor], device: str) -> str:
    """Return table, ratios, exponents and floors."""
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

    unet, pixel = "DynUNet, MC-dropout", "pixel diffusion, 50 steps"
    wanted = {
        "K = 1, N = 16 over one pass of DynUNet": ratio(("LatentFM, K = 1", 16), (unet, 1)),
        "K = 4, N = 16 over 16 passes of DynUNet": ratio(("LatentFM, K = 4", 16), (unet, 16)),
        "K = 4, N = 16 over diffusion in pixels": ratio(("LatentFM, K = 4", 16), (pixel, 16)),
    }
    return [f"- {name}: {value:.4f}" for name, value in wanted.items() if value is not None]


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
